#pragma once
// A list of labelled bars, longest at full width.

#include <QString>
#include <QWidget>
#include <vector>

namespace fovea::gui {

class BarList : public QWidget {
  Q_OBJECT

 public:
  struct Bar {
    QString label, value;
    double length = 0;  // 0 to 1
    bool marked = false;
  };

  explicit BarList(QWidget* parent = nullptr);
  void set_bars(std::vector<Bar> bars);
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override { return {100, sizeHint().height()}; }

 Q_SIGNALS:
  void clicked(int row);

 protected:
  void paintEvent(QPaintEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;

 private:
  int row_height() const { return fontMetrics().height() + 6; }
  std::vector<Bar> bars_;
};

}  // namespace fovea::gui
