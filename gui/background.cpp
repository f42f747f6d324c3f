#include "gui/background.h"

#include <sys/resource.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace fovea::gui {
namespace {

constexpr int kNiceness = 5;

}  // namespace

void yield_to_the_window() {
  // On Linux niceness belongs to a thread. Where it cannot be set all threads stay equal.
  const auto thread = static_cast<id_t>(gettid());
  setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kNiceness);
}

void give_back_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace fovea::gui
