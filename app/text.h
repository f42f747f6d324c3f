#pragma once
// Small helpers for text that people read or type.

#include <string>

namespace fovea::app {

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);
/// "456 kB", "1.23 GB" (powers of 1000).
std::string byte_text(double bytes);
/// Without white space at either end.
std::string trimmed(const std::string& text);

}  // namespace fovea::app
