#include "app/table.h"

#include <algorithm>

#include "app/text.h"

namespace fovea::app {
namespace {

bool starts_code_point(char c) {
  return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
}

std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_code_point));
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t widest = width(columns_[c].title);
    for (const auto& row : rows_) widest = std::max(widest, width(row[c]));
    widths.push_back(widest);
  }
  std::string out;
  const auto line = [&](auto&& cell) {
    std::string text;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string& content = cell(c);
      const std::string gap(widths[c] - width(content), ' ');
      if (c > 0) text += "  ";
      text += columns_[c].align == Align::left ? content + gap : gap + content;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  line([&](std::size_t c) -> const std::string& { return columns_[c].title; });
  for (const auto& row : rows_) {
    line([&](std::size_t c) -> const std::string& { return row[c]; });
  }
  return out;
}

std::string cell_text(const std::string& text, std::size_t limit) {
  std::string line;
  for (const char c : trimmed(text)) {
    const auto byte = static_cast<unsigned char>(c);
    line += byte < 0x20 || byte == 0x7f ? ' ' : c;
  }
  if (width(line) <= limit) return line;
  std::size_t end = 0;
  for (std::size_t points = 0; end < line.size(); ++end) {
    if (starts_code_point(line[end]) && ++points == limit) break;
  }
  return line.substr(0, end) + "…";
}

}  // namespace fovea::app
