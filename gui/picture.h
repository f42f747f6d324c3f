#pragma once
// A decoded picture, shared read-only by the views and the model.

#include <QImage>
#include <QString>
#include <memory>
#include <vector>

#include "vision/image.h"

namespace fovea::gui {

class Picture {
 public:
  /// Builds the smaller levels too, so call it off the GUI thread. Precondition: not empty.
  Picture(QString path, Image image, double decode_ms);

  const QString& path() const { return path_; }
  QString name() const;  // without folders
  int width() const { return image_->width; }
  int height() const { return image_->height; }
  double decode_ms() const { return decode_ms_; }
  const std::shared_ptr<const Image>& image() const { return image_; }

  /// The smallest level that has at least `scale` times the full resolution; level 0, the picture
  /// itself, shares the pixels of image().
  const QImage& level_for(double scale) const;
  QImage thumbnail(int side) const;

 private:
  QString path_;
  std::shared_ptr<const Image> image_;
  double decode_ms_;
  std::vector<QImage> levels_;  // each half the one before, down to 512 pixels
};

using PicturePtr = std::shared_ptr<const Picture>;

/// Errors: those of load_image, naming the file.
Result<PicturePtr> load_picture(const QString& path);

}  // namespace fovea::gui
