#pragma once
// The pictures that are open: which files, in which order, which one is looked at. Decoding runs on
// a thread pool; a file that cannot be read is an error as data, never a dialog.

#include <QHash>
#include <QObject>
#include <QStringList>
#include <QThreadPool>
#include <vector>

#include "gui/picture.h"

namespace fovea::gui {

class ImageSource : public QObject {
  Q_OBJECT

 public:
  explicit ImageSource(QObject* parent = nullptr);
  /// Waits for what is being decoded.
  ~ImageSource() override;

  /// Files become the list as they are; a folder stands for the pictures in it, by name with
  /// numbers counted as numbers; a single file brings its folder along, so that next and previous
  /// have somewhere to go. Looks at the first file (or the single one). Names what holds no picture
  /// through failed().
  void open(const QStringList& paths);

  const QStringList& files() const { return files_; }
  int index() const { return index_; }  // -1: none is open
  /// Nothing happens for an index that no file has.
  void select(int index);
  /// Wraps around at the ends.
  void next() { step(1); }
  void previous() { step(-1); }

  /// The picture at index(), null while it is being decoded and when it cannot be.
  PicturePtr current() const { return current_; }
  /// Why there is no current picture; empty while it is being decoded.
  const QString& current_error() const { return current_error_; }
  /// Null until thumbnail_changed(index), and for files that cannot be read.
  QImage thumbnail(int index) const { return thumbnails_.value(files_.value(index)); }
  bool broken(int index) const { return broken_.contains(files_.value(index)); }

 Q_SIGNALS:
  void list_changed();
  /// Another picture was chosen; it may still be on its way.
  void index_changed(int index);
  /// current() or current_error() has arrived.
  void current_changed();
  void thumbnail_changed(int index);
  void failed(const fovea::Error& error);

 private:
  void step(int by);
  void want(const QString& path);
  void arrived(const QString& path, const Result<PicturePtr>& loaded);
  void take_current(const Result<PicturePtr>& loaded);
  void make_thumbnails();
  void remember(PicturePtr picture);

  QStringList files_;
  int index_ = -1;
  PicturePtr current_;
  QString current_error_;
  QHash<QString, QImage> thumbnails_;
  QHash<QString, QString> broken_;  // path, reason
  QStringList wanted_;              // being decoded
  std::vector<PicturePtr> recent_;  // most recent first
  int list_number_ = 0;             // thumbnails of an older list are not taken
  int next_thumbnail_ = 0;
  QThreadPool pool_;
};

/// The pictures of a folder by name, numbers counted as numbers. Not recursive.
QStringList pictures_in_folder(const QString& folder);

}  // namespace fovea::gui
