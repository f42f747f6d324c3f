#pragma once
// The program without its window: pictures, model, questions, answers and what is looked at, and
// the rules that tie them together.

#include <QObject>
#include <optional>

#include "gui/encoder_reader.h"
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
  EncoderReader& encoder() { return encoder_; }
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
  /// What stands beside a pruned answer while comparing: the unpruned one, or (for a method that is
  /// debiased) the same method's without debiasing, or (for sgl) the guide's own.
  enum class Against { unpruned, biased, guide };
  Against against() const { return against_; }
  void set_against(Against against);
  /// "unpruned", "biased", "guide"; none for what names none of them.
  static std::optional<Against> find_against(const QString& name);

  void load_model(const LoadRequest& request);
  /// The model of the last session: where it cannot be loaded any more, that is said and the
  /// bundled one is loaded.
  void restore_model(const LoadRequest& request);
  /// Loads a model that the user chose: once it answers it is the one of the next start.
  void use_model(const LoadRequest& request);
  /// About the picture that is looked at. What cannot be asked is said through notice().
  void ask(const QString& question);
  /// Asks the question of the run on screen again, as prune() says now.
  void ask_again();
  /// Asks it again with only the painted patches left. Pictures of the conversation on which
  /// nothing was painted stay whole.
  void ask_with_painted();
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
  /// Asks; with `both`, first what stands beside it and then, in the same place, as it says.
  void send(AskRequest request, bool both);
  /// The question of a run once more in its place, and for the missing half of a comparison.
  void repeat(const Run& run, const PruneChoice& prune);
  /// How the answer is pruned that stands beside one pruned like this.
  PruneChoice beside(const PruneChoice& prune) const;
  /// Shows the pair of the run on screen, and asks for the half that is not there.
  void complete_comparison();
  void take(const RunPtr& run);
  void finish(int id);
  void follow_picture();
  void remember_model();
  /// The run, or the pair that it is part of while comparing.
  void show(const RunPtr& run);

  Settings& settings_;
  ImageSource pictures_;
  Inference inference_;
  MapStore maps_;
  EncoderReader encoder_;
  ViewState view_;
  Readings readings_;
  RunHistory history_;
  std::optional<LoadRequest> chosen_model_;  // being loaded
  bool restoring_model_ = false;
  PruneChoice prune_;
  bool follow_up_ = false, comparing_ = false;
  Against against_ = Against::unpruned;
  QString streamed_, asked_;
  int streaming_id_ = 0;
  int turns_ = 0;      // places given out so far
  int last_turn_ = 0;  // place of the conversation's last answer; 0: there is none
};

}  // namespace fovea::gui
