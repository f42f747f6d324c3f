#pragma once
// Drives the window from a text file and saves pictures of it, for the README and for looking at
// it critically. One command a line, # begins a comment:
//
//   size WIDTH HEIGHT            window size
//   appearance light|dark        colours of the window
//   open PATH                    picture or folder
//   model DIR                    loads another model
//   prune none|METHOD [PRESET|N] how the next question is pruned: a preset, or N tokens a layer
//   debias SIGMA|off, padding on|off  how scores are debiased before a cut
//   tower whole|topk|random|tome [SHARE], tower adaptive [T T T]  which patches stay in the vision
//                                tower: a share, or those with scores above three thresholds
//   exit never|score|confidence [THRESHOLD]  when sgl takes its guide's answer
//   compare on|off [unpruned|biased|guide]  ask for what stands beside the answer, too
//   paint ROW COLUMN ROW COLUMN  keeps the patches of this rectangle, corners included
//   painting on|off, ask_painted
//   follow on|off                questions go on after the answers before
//   ask TEXT                     asks and waits for the answer and its maps
//   type TEXT                    writes a question without asking it
//   run N                        the answer N (1: the first) of this session
//   word N|all                   which word of the answer
//   layer N|mean, head N|mean|max
//   lens attention|kept|encoder|none, stage N
//   encoder class|received|rollout [LAYER]  of the vision tower
//   patch ROW COLUMN|none
//   colors viridis|inferno|turbo|gray, range shared|own|clipped, smooth on|off, opacity 0..1
//   panel NAME [show|hide]       brings a panel to the front, or hides it
//   zoom fit|width|FACTOR
//   choose_model                 the dialog that loads models (the next shot is of it)
//   keys                         the page of shortcuts (the next shot is of it)
//   export view|overlay|map|heads NAME  saves DIR/NAME.png with .npy and JSON
//   shot NAME                    saves DIR/NAME.png
//   answer                       prints question and answer on screen as one JSON object
//   measure                      prints as one JSON object when the window came to rest (in
//                                milliseconds since 1970) and how much memory it takes
//   probe on|off                 moves the mouse every 40 ms from another thread; off prints the
//                                milliseconds until each move was answered and redrawn
//   stop_after MS                stops the next answer after this time, and prints how long the
//                                window waited for it

#include <QElapsedTimer>
#include <QObject>
#include <QStringList>

#include "gui/input_probe.h"
#include "gui/main_window.h"

namespace fovea::gui {

class Script : public QObject {
  Q_OBJECT

 public:
  /// `window` must outlive the script.
  Script(MainWindow& window, QString folder);

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
  Status paint(const QStringList& words);
  void stop_later();
  void print_probe();

  MainWindow& window_;
  QString folder_;
  QElapsedTimer waiting_;
  qint64 at_rest_ = 0;  // milliseconds since 1970
  InputProbe probe_;
  std::optional<int> stop_after_;
  QStringList lines_;
  int line_ = 0;
  int calm_ = 0;  // looks in a row that found everything at rest
};

}  // namespace fovea::gui
