#pragma once
// Finding whole characters in bytes that may hold anything.

#include <cstddef>
#include <string_view>

namespace fovea {

struct Utf8Step {
  std::size_t bytes = 0;  // to move on by; 1 where the first byte starts no valid character
  bool valid = false;
  bool unfinished = false;  // not valid, but more bytes could make it so
};

/// The first character of a text that is not empty (RFC 3629: no surrogates, nothing overlong,
/// nothing above U+10FFFF).
Utf8Step utf8_step(std::string_view text);

bool is_utf8(std::string_view text);

}  // namespace fovea
