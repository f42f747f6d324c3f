#include "app/exit_code.h"

#include <cstdio>
#include <string>

namespace fovea::app {

int exit_code(ErrorCode code, Blame blame) {
  switch (code) {
    case ErrorCode::cancelled:
      return kExitCancelled;
    case ErrorCode::bad_model:
    case ErrorCode::out_of_memory:
    case ErrorCode::device:
    case ErrorCode::internal:
      return kExitModel;
    case ErrorCode::usage:
      return kExitUsage;
    case ErrorCode::not_found:
    case ErrorCode::io:
    case ErrorCode::bad_input:
    case ErrorCode::unsupported:
    case ErrorCode::too_large:
      return blame == Blame::model ? kExitModel : kExitUsage;
  }
  return kExitModel;
}

int report_error(const Error& error, Blame blame) {
  // Names and messages may carry bytes of untrusted files: nothing may break the line or reach the
  // terminal as a control sequence.
  std::string line = error.to_string();
  for (char& c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = ' ';
  }
  std::fflush(stdout);
  std::fprintf(stderr, "fovea: %s\n", line.c_str());
  return exit_code(error.code, blame);
}

}  // namespace fovea::app
