#pragma once
// Small helpers for text that people read or type.

#include <charconv>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace fovea::app {

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);
/// "456 kB", "1.23 GB" (powers of 1000).
std::string byte_text(double bytes);
/// The pieces between the characters of `dividers`, empty ones included.
std::vector<std::string> divided(const std::string& text, const char* dividers);
/// Whether the whole text is one number of this type (as std::from_chars reads them).
template <class Number>
bool read_number(std::string_view text, Number& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size();
}
/// Without white space at either end.
std::string trimmed(const std::string& text);

}  // namespace fovea::app
