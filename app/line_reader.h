#pragma once
// Lines from a terminal or a pipe, with a cap, and with Ctrl-C noticed while waiting.

#include <cstddef>
#include <string>

#include "kernels/base/error.h"

namespace fovea::app {

class LineReader {
 public:
  static constexpr std::size_t kMaxLineBytes = 1 << 20;

  explicit LineReader(int descriptor) : descriptor_(descriptor) {}

  enum class Outcome { line, end, interrupted };
  /// Reads up to the next newline (not kept) or the end. A last line without newline counts.
  /// Errors: io, too_large.
  Result<Outcome> next(std::string& line);
  /// Everything up to the end. Errors: io, too_large, cancelled.
  Result<std::string> rest();

 private:
  Result<Outcome> fill();

  int descriptor_;
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace fovea::app
