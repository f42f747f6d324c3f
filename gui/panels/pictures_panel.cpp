// The open pictures as thumbnails.

#include <QListWidget>

#include "gui/icons.h"
#include "gui/panels/panel_table.h"

namespace fovea::gui {
namespace {

class PicturesPanel final : public QListWidget {
 public:
  explicit PicturesPanel(Viewer& viewer) : source_(viewer.pictures()) {
    setViewMode(QListView::IconMode);
    setMovement(QListView::Static);
    setResizeMode(QListView::Adjust);
    setIconSize(QSize(96, 80));
    setUniformItemSizes(true);
    setSpacing(4);
    setWordWrap(false);
    setTextElideMode(Qt::ElideMiddle);
    setFrameShape(QFrame::NoFrame);
    setAccessibleName(QObject::tr("Pictures"));
    setMinimumWidth(120);
    connect(&source_, &ImageSource::list_changed, this, [this] { fill(); });
    connect(&source_, &ImageSource::thumbnail_changed, this, [this](int index) { show(index); });
    connect(&source_, &ImageSource::index_changed, this,
            [this](int index) { setCurrentRow(index); });
    connect(this, &QListWidget::currentRowChanged, this, [this](int row) {
      if (!filling_) source_.select(row);
    });
    fill();
  }

  QSize sizeHint() const override { return {132, 400}; }

 protected:
  // Letters are shortcuts of the window, not a search among the names.
  void keyboardSearch(const QString&) override {}

 private:
  void fill() {
    filling_ = true;
    clear();
    for (int i = 0; i < source_.files().size(); ++i) {
      auto* item = new QListWidgetItem(source_.files()[i].section(QLatin1Char('/'), -1));
      item->setSizeHint(QSize(108, 80 + fontMetrics().height() + 10));
      item->setToolTip(source_.files()[i]);
      addItem(item);
      show(i);
    }
    setCurrentRow(source_.index());
    filling_ = false;
  }

  void show(int index) {
    QListWidgetItem* entry = item(index);
    if (entry == nullptr) return;
    const QImage thumbnail = source_.thumbnail(index);
    entry->setIcon(thumbnail.isNull() ? icon(source_.broken(index) ? Glyph::warning : Glyph::open)
                                      : QIcon(QPixmap::fromImage(thumbnail)));
    if (source_.broken(index)) {
      entry->setToolTip(QObject::tr("%1\ncannot be read").arg(source_.files()[index]));
    }
  }

  ImageSource& source_;
  bool filling_ = false;
};

}  // namespace

QWidget* make_pictures_panel(Viewer& viewer) {
  return new PicturesPanel(viewer);
}

}  // namespace fovea::gui
