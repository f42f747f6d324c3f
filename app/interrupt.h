#pragma once
// Ctrl-C: the first asks the run to stop between two operations, the second ends the program.

#include <atomic>

namespace fovea::app {

/// Installs the handler. System calls that wait for input return early, so that a prompt notices.
void install_interrupt_handler();

/// Set by the first Ctrl-C; handed to Session::ask.
const std::atomic<bool>& interrupted();

/// Forgets a Ctrl-C that was acted upon, so that the next one again only asks.
void clear_interrupt();

}  // namespace fovea::app
