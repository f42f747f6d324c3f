#include "gui/image_source.h"

#include <QDir>
#include <QFileInfo>
#include <algorithm>
#include <utility>

namespace fovea::gui {
namespace {

constexpr int kThumbnailSide = 160;
/// Decoded pictures kept besides the one looked at, in pixels.
constexpr qint64 kRememberedPixels = 50'000'000;
constexpr std::size_t kRememberedPictures = 8;

/// Digits from `at` on, without leading zeros.
QStringView digits_at(QStringView text, qsizetype at) {
  qsizetype end = at;
  while (end < text.size() && text[end].isDigit()) ++end;
  while (at + 1 < end && text[at] == QLatin1Char('0')) ++at;
  return text.sliced(at, end - at);
}

/// "p2" before "p10", capitals beside small letters. (QCollator counts only with ICU and outside
/// the C locale.)
bool counts_before(const QString& first, const QString& second) {
  const QString a = first.toCaseFolded(), b = second.toCaseFolded();
  qsizetype i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (a[i].isDigit() && b[j].isDigit()) {
      const QStringView left = digits_at(a, i), right = digits_at(b, j);
      if (left.size() != right.size()) return left.size() < right.size();
      if (const int order = left.compare(right); order != 0) return order < 0;
      while (i < a.size() && a[i].isDigit()) ++i;
      while (j < b.size() && b[j].isDigit()) ++j;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
    }
  }
  if ((i < a.size()) != (j < b.size())) return j < b.size();
  return first < second;
}

}  // namespace

QStringList pictures_in_folder(const QString& folder) {
  const QDir directory(folder);
  QStringList names = directory.entryList({"*.png", "*.jpg", "*.jpeg", "*.bmp"}, QDir::Files);
  std::sort(names.begin(), names.end(), counts_before);
  QStringList files;
  for (const QString& name : std::as_const(names)) files << directory.absoluteFilePath(name);
  return files;
}

ImageSource::ImageSource(QObject* parent) : QObject(parent) {
  // One decodes what is looked at while another makes thumbnails.
  pool_.setMaxThreadCount(2);
}

ImageSource::~ImageSource() {
  pool_.clear();
  pool_.waitForDone();
}

void ImageSource::open(const QStringList& paths) {
  QStringList files;
  QString looked_at;
  for (const QString& path : paths) {
    const QFileInfo info(path);
    if (!info.isDir()) {
      files << info.absoluteFilePath();
      continue;
    }
    const QStringList found = pictures_in_folder(info.absoluteFilePath());
    if (found.isEmpty()) {
      Q_EMIT failed(make_error(ErrorCode::not_found, "there is no picture in this folder")
                        .in_file(path.toStdString())
                        .with_remedy("Fovea reads JPEG, PNG and BMP"));
    }
    files << found;
  }
  if (files.isEmpty()) return;
  looked_at = files.front();
  if (files.size() == 1) {
    const QStringList neighbours = pictures_in_folder(QFileInfo(looked_at).absolutePath());
    if (neighbours.contains(looked_at)) files = neighbours;
  }
  files.removeDuplicates();
  ++list_number_;
  files_ = files;
  index_ = -1;
  thumbnails_.clear();
  broken_.clear();
  Q_EMIT list_changed();
  select(static_cast<int>(files_.indexOf(looked_at)));
  next_thumbnail_ = 0;
  make_thumbnails();
}

void ImageSource::select(int index) {
  if (index < 0 || index >= files_.size() || index == index_) return;
  index_ = index;
  current_.reset();
  current_error_.clear();
  Q_EMIT index_changed(index_);
  want(files_[index_]);
}

void ImageSource::step(int by) {
  if (files_.isEmpty()) return;
  const int count = static_cast<int>(files_.size());
  select((index_ + by + count) % count);
}

void ImageSource::want(const QString& path) {
  const auto known = std::find_if(recent_.begin(), recent_.end(), [&](const PicturePtr& picture) {
    return picture->path() == path;
  });
  if (known != recent_.end()) return arrived(path, *known);
  if (wanted_.contains(path)) return;
  wanted_ << path;
  pool_.start(
      [this, path] {
        const Result<PicturePtr> loaded = load_picture(path);
        QMetaObject::invokeMethod(this, [this, path, loaded] {
          wanted_.removeOne(path);
          arrived(path, loaded);
        });
      },
      1);
}

void ImageSource::arrived(const QString& path, const Result<PicturePtr>& loaded) {
  const bool looked_at = index_ >= 0 && files_[index_] == path;
  if (loaded) remember(*loaded);
  if (!loaded && !broken_.contains(path)) {
    broken_.insert(path, QString::fromStdString(loaded.error().message));
    Q_EMIT thumbnail_changed(static_cast<int>(files_.indexOf(path)));
  }
  if (!looked_at) return;
  if (loaded) {
    current_ = *loaded;
  } else {
    current_error_ = broken_.value(path);
    Q_EMIT failed(loaded.error());
  }
  Q_EMIT current_changed();
  // The neighbour in reading order is probably next.
  if (loaded && index_ + 1 < files_.size()) want(files_[index_ + 1]);
}

void ImageSource::remember(PicturePtr picture) {
  std::erase_if(recent_, [&](const PicturePtr& known) { return known->path() == picture->path(); });
  recent_.insert(recent_.begin(), std::move(picture));
  qint64 pixels = 0;
  std::size_t kept = 0;
  for (const PicturePtr& known : recent_) {
    pixels += static_cast<qint64>(known->width()) * known->height();
    if (kept > 0 && (pixels > kRememberedPixels || kept >= kRememberedPictures)) break;
    ++kept;
  }
  recent_.resize(kept);
}

void ImageSource::make_thumbnails() {
  const int number = list_number_;
  if (next_thumbnail_ >= files_.size()) return;
  const int index = next_thumbnail_++;
  const QString path = files_[index];
  pool_.start([this, number, index, path] {
    const Result<PicturePtr> loaded = load_picture(path);
    const QImage thumbnail = loaded ? (*loaded)->thumbnail(kThumbnailSide) : QImage();
    const QString reason = loaded ? QString() : QString::fromStdString(loaded.error().message);
    QMetaObject::invokeMethod(this, [this, number, index, path, thumbnail, reason] {
      if (number != list_number_) return;
      if (reason.isEmpty()) {
        thumbnails_.insert(path, thumbnail);
      } else {
        broken_.insert(path, reason);
      }
      Q_EMIT thumbnail_changed(index);
      make_thumbnails();
    });
  });
}

}  // namespace fovea::gui
