#include "app/line_reader.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace fovea::app {

Result<LineReader::Outcome> LineReader::fill() {
  std::array<char, 4096> chunk;
  const ssize_t got = ::read(descriptor_, chunk.data(), chunk.size());
  if (got < 0) {
    if (errno == EINTR) return Outcome::interrupted;
    return make_error(ErrorCode::io, std::string("reading stdin failed: ") + std::strerror(errno));
  }
  if (got == 0) {
    ended_ = true;
    return Outcome::end;
  }
  buffer_.append(chunk.data(), static_cast<std::size_t>(got));
  return Outcome::line;
}

Result<LineReader::Outcome> LineReader::next(std::string& line) {
  std::size_t searched = 0;
  while (true) {
    const std::size_t newline = buffer_.find('\n', searched);
    if (newline != std::string::npos) {
      line = buffer_.substr(0, newline);
      buffer_.erase(0, newline + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return Outcome::line;
    }
    if (ended_) {
      if (buffer_.empty()) return Outcome::end;
      line = std::move(buffer_);
      buffer_.clear();
      return Outcome::line;
    }
    if (buffer_.size() > kMaxLineBytes) {
      return make_error(ErrorCode::too_large, "a line of stdin is longer than 1 MiB");
    }
    searched = buffer_.size();
    FOVEA_TRY(const Outcome outcome, fill());
    if (outcome == Outcome::interrupted) return outcome;
  }
}

Result<std::string> LineReader::rest() {
  while (!ended_) {
    FOVEA_TRY(const Outcome outcome, fill());
    if (outcome == Outcome::interrupted) {
      return make_error(ErrorCode::cancelled, "stopped while reading stdin");
    }
    if (buffer_.size() > kMaxLineBytes) {
      return make_error(ErrorCode::too_large, "stdin holds more than 1 MiB of question");
    }
  }
  return std::move(buffer_);
}

}  // namespace fovea::app
