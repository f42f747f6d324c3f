#pragma once
// Small helpers for text that people read or type.

#include <string>
#include <vector>

namespace fovea::app {

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);
/// "456 kB", "1.23 GB" (powers of 1000).
std::string byte_text(double bytes);
/// The pieces between the characters of `dividers`, empty ones included.
std::vector<std::string> divided(const std::string& text, const char* dividers);
/// Without white space at either end.
std::string trimmed(const std::string& text);

}  // namespace fovea::app
