#pragma once
// How errors reach the user: one line on stderr and an exit code.

#include "kernels/base/error.h"

namespace fovea::app {

inline constexpr int kExitOk = 0;
inline constexpr int kExitSomeFailed = 1;  // some items of many failed
inline constexpr int kExitUsage = 2;       // the line, a picture, a question or an output file
inline constexpr int kExitModel = 3;       // the model or the device
inline constexpr int kExitCancelled = 130;

/// Whose files were being read when the error happened: a missing picture is the line's fault, a
/// missing weight file the model's.
enum class Blame { input, model };

int exit_code(ErrorCode code, Blame blame);

/// Prints "fovea: ..." on one line of stderr and returns the exit code.
int report_error(const Error& error, Blame blame = Blame::input);

}  // namespace fovea::app
