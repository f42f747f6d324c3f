#include "gui/background.h"

#include <sys/resource.h>
#include <unistd.h>

namespace fovea::gui {
namespace {

constexpr int kNiceness = 5;

}  // namespace

void yield_to_the_window() {
  // On Linux niceness belongs to a thread. Where it cannot be set all threads stay equal.
  const auto thread = static_cast<id_t>(gettid());
  setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kNiceness);
}

}  // namespace fovea::gui
