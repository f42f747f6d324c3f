#include "vlm/utf8.h"

#include <cstdint>

namespace fovea {

Utf8Step utf8_step(std::string_view text) {
  const auto byte_at = [text](std::size_t index) { return static_cast<std::uint8_t>(text[index]); };
  const std::uint8_t lead = byte_at(0);
  if (lead < 0x80) return {.bytes = 1, .valid = true};
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0) return {.bytes = 1};
  // The second byte decides whether the character is overlong, a surrogate or too large.
  const std::uint8_t lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const std::uint8_t highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t index = 1; index < length; ++index) {
    if (index == text.size()) return {.bytes = 1, .unfinished = true};
    const std::uint8_t low = index == 1 ? lowest : 0x80;
    const std::uint8_t high = index == 1 ? highest : 0xBF;
    if (byte_at(index) < low || byte_at(index) > high) return {.bytes = 1};
  }
  return {.bytes = length, .valid = true};
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (!step.valid) return false;
    text.remove_prefix(step.bytes);
  }
  return true;
}

}  // namespace fovea
