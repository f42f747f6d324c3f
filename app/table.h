#pragma once
// Text in columns.

#include <string>
#include <vector>

namespace fovea::app {

class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::right;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// One cell a column.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// Titles and rows, one a line; columns as wide as their longest cell, counted in code points.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// On one line, without control characters, and no longer than `limit` code points.
std::string cell_text(const std::string& text, std::size_t limit);

}  // namespace fovea::app
