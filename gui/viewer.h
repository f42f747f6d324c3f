#pragma once
// The program without its window: pictures, model, questions, answers and what is looked at, and
// the rules that tie them together.

#include <QObject>
#include <optional>

#include "gui/image_source.h"
#include "gui/inference.h"
#include "gui/map_store.h"
#include "gui/readings.h"
#include "gui/run_history.h"
#include "gui/settings.h"
#include "gui/view_state.h"

namespace fovea::gui {

class Viewer : public QObject {
  Q_OBJECT

 public:
  /// `settings` must outlive the viewer.
  explicit Viewer(Settings& settings, QObject* parent = nullptr);
  /// Stops what runs and waits for it.
  ~Viewer() override;

  Settings& settings() { return settings_; }
  ImageSource& pictures() { return pictures_; }
  Inference& inference() { return inference_; }
  MapStore& maps() { return maps_; }
  Readings& readings() { return readings_; }
  RunHistory& history() { return history_; }
  ViewState& view() { return view_; }

  /// How the next question is pruned, whether it goes on after the last answer, and whether it is
  /// asked without pruning, too.
  const PruneChoice& prune() const { return prune_; }
  void set_prune(const PruneChoice& prune);
  bool follow_up() const { return follow_up_; }
  void set_follow_up(bool follow_up);
  bool comparing() const { return comparing_; }
  /// Turned on with an answer on screen, its question is asked again for the missing half.
  void set_comparing(bool comparing);

  void load_model(const LoadRequest& request);
  /// About the picture that is looked at. What cannot be asked is said through notice().
  void ask(const QString& question);
  /// Asks the question of the run on screen again, as prune() says now.
  void ask_again();
  void stop() { inference_.stop(); }
  /// Forgets the conversation (the next question starts anew) and the list of answers.
  void forget();

  bool busy() const { return inference_.pending() > 0; }
  /// What has been said so far by the answer that is being given.
  const QString& streamed() const { return streamed_; }
  const QString& asked() const { return asked_; }

  /// Shows a run of the history, with its comparison if it has one.
  void show_run(int id);
  /// The picture under the run on screen (or the one chosen, where there is none), null if none.
  PicturePtr shown_picture() const;
  /// Its place among the pictures of a run's prompt.
  int picture_in(const Run& run) const;

 Q_SIGNALS:
  /// Something is being asked or loaded, or no longer.
  void busy_changed();
  void streamed_changed();
  void prune_changed();
  void shown_picture_changed();
  /// Something went wrong that the user should read.
  void notice(const fovea::Error& error);

 private:
  /// Asks; with `unpruned_too`, first without pruning and then, in the same place, as it says.
  void send(AskRequest request, bool unpruned_too);
  /// The question of a run once more in its place.
  void repeat(const Run& run, const PruneChoice& prune);
  void take(const RunPtr& run);
  void finish(int id);
  void follow_picture();
  /// The run, or the pair that it is part of while comparing.
  void show(const RunPtr& run);

  Settings& settings_;
  ImageSource pictures_;
  Inference inference_;
  MapStore maps_;
  ViewState view_;
  Readings readings_;
  RunHistory history_;
  PruneChoice prune_;
  bool follow_up_ = false, comparing_ = false;
  QString streamed_, asked_;
  int streaming_id_ = 0;
  int turns_ = 0;      // places given out so far
  int last_turn_ = 0;  // place of the conversation's last answer; 0: there is none
};

}  // namespace fovea::gui
