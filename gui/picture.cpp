#include "gui/picture.h"

#include <QElapsedTimer>
#include <QFile>
#include <QFileInfo>
#include <algorithm>
#include <utility>

namespace fovea::gui {
namespace {

constexpr int kSmallestLevel = 512;

}  // namespace

Picture::Picture(QString path, Image image, double decode_ms)
    : path_(std::move(path)),
      image_(std::make_shared<const Image>(std::move(image))),
      decode_ms_(decode_ms) {
  const QImage full(image_->rgb.data(), image_->width, image_->height,
                    static_cast<qsizetype>(image_->width) * 3, QImage::Format_RGB888);
  levels_.push_back(full);
  while (std::max(levels_.back().width(), levels_.back().height()) > 2 * kSmallestLevel) {
    const QSize half = (levels_.back().size() / 2).expandedTo(QSize(1, 1));
    levels_.push_back(levels_.back().scaled(half, Qt::IgnoreAspectRatio, Qt::SmoothTransformation));
  }
}

QString Picture::name() const {
  return QFileInfo(path_).fileName();
}

const QImage& Picture::level_for(double scale) const {
  std::size_t level = 0;
  while (level + 1 < levels_.size() &&
         static_cast<double>(levels_[level + 1].width()) >= scale * image_->width) {
    ++level;
  }
  return levels_[level];
}

QImage Picture::thumbnail(int side) const {
  return levels_.back().scaled(side, side, Qt::KeepAspectRatio, Qt::SmoothTransformation);
}

Result<PicturePtr> load_picture(const QString& path) {
  QElapsedTimer watch;
  watch.start();
  FOVEA_TRY(Image image, load_image(QFile::encodeName(path).toStdString()));
  const double decode_ms = static_cast<double>(watch.nsecsElapsed()) / 1e6;
  return std::make_shared<const Picture>(path, std::move(image), decode_ms);
}

}  // namespace fovea::gui
