#include "app/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "app/exit_code.h"

namespace fovea::app {
namespace {

std::atomic<bool> flag{false};
static_assert(std::atomic<bool>::is_always_lock_free,
              "a signal handler may only touch such a flag");

void on_interrupt(int) {
  if (flag.exchange(true)) _exit(kExitCancelled);
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a waiting read returns
  sigaction(SIGINT, &action, nullptr);
}

const std::atomic<bool>& interrupted() {
  return flag;
}

void clear_interrupt() {
  flag = false;
}

}  // namespace fovea::app
