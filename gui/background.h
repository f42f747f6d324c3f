#pragma once
// Threads that compute must not keep the window waiting.

namespace fovea::gui {

/// The system prefers the window's thread to the calling one, and to the threads that it starts
/// from now on, where both want a core; on an idle machine nothing slows down.
void yield_to_the_window();

/// Gives memory that is free back to the system. Questions come and go in megabytes and leave a few
/// kilobytes of history behind, between which the allocator would keep what was freed.
void give_back_memory();

}  // namespace fovea::gui
