#pragma once
// Lays widgets out in lines, as words of a text.

#include <QLayout>
#include <memory>
#include <vector>

namespace fovea::gui {

class FlowLayout : public QLayout {
 public:
  explicit FlowLayout(QWidget* parent = nullptr) : QLayout(parent) {}

  void addItem(QLayoutItem* item) override { items_.emplace_back(item); }
  int count() const override { return static_cast<int>(items_.size()); }
  QLayoutItem* itemAt(int index) const override;
  QLayoutItem* takeAt(int index) override;
  Qt::Orientations expandingDirections() const override { return {}; }
  bool hasHeightForWidth() const override { return true; }
  int heightForWidth(int width) const override { return arrange(QRect(0, 0, width, 0), false); }
  QSize sizeHint() const override { return minimumSize(); }
  QSize minimumSize() const override;
  void setGeometry(const QRect& rect) override;

 private:
  /// Height used; moves the widgets when `apply`.
  int arrange(const QRect& rect, bool apply) const;

  std::vector<std::unique_ptr<QLayoutItem>> items_;
};

}  // namespace fovea::gui
