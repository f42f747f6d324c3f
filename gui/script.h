#pragma once
// Drives the window from a text file and saves pictures of it, for the README and for looking at
// it critically. One command a line, # begins a comment:
//
//   size WIDTH HEIGHT            window size
//   appearance light|dark        colours of the window
//   open PATH                    picture or folder
//   model DIR                    loads another model
//   prune none|METHOD [PRESET|N] how the next question is pruned: a preset, or N tokens a layer
//   compare on|off               ask without pruning, too
//   follow on|off                questions go on after the answers before
//   ask TEXT                     asks and waits for the answer and its maps
//   type TEXT                    writes a question without asking it
//   run N                        the answer N (1: the first) of this session
//   word N|all                   which word of the answer
//   layer N|mean, head N|mean|max
//   lens attention|kept|none, stage N
//   patch ROW COLUMN|none
//   colors viridis|inferno|turbo|gray, range shared|own|clipped, smooth on|off, opacity 0..1
//   panel NAME [show|hide]       brings a panel to the front, or hides it
//   zoom fit|width|FACTOR
//   keys                         the page of shortcuts (the next shot is of it)
//   shot NAME                    saves DIR/NAME.png
//   answer                       prints question and answer on screen as one JSON object
//   measure                      prints time since start and memory as one JSON object

#include <QElapsedTimer>
#include <QObject>
#include <QStringList>

#include "gui/main_window.h"

namespace fovea::gui {

class Script : public QObject {
  Q_OBJECT

 public:
  /// `window` must outlive the script. `since_start` runs since the program began.
  Script(MainWindow& window, QString folder, QElapsedTimer since_start);

  /// Errors: io, not_found.
  Status load(const QString& file);
  /// Runs the commands one after the other, each when the one before has come to rest, then emits
  /// finished().
  void start();

 Q_SIGNALS:
  /// The first error that occurred, or success.
  void finished(const fovea::Status& status);

 private:
  void next();
  void wait_for_rest();
  bool resting() const;
  Status run(const QString& command, const QStringList& words, const QString& rest);
  Status shoot(const QString& name);

  MainWindow& window_;
  QString folder_;
  QElapsedTimer since_start_, waiting_;
  QStringList lines_;
  int line_ = 0;
  int calm_ = 0;  // looks in a row that found everything at rest
};

}  // namespace fovea::gui
