#pragma once
// What is looked at and how: the one place that every view reads and every control changes.

#include <QObject>
#include <set>

#include "gui/token_maps.h"
#include "vision/attention_rollout.h"

namespace fovea::gui {

/// What is drawn over the picture.
enum class Lens {
  none,
  attention,  // of an answer token
  kept,       // which patches survived up to a pruning stage
  encoder,    // of the vision tower itself, whatever was asked
};

/// Which of the vision tower's maps.
struct EncoderChoice {
  enum class Map { class_token, received, rollout } map = Map::class_token;
  static constexpr int kMean = -1;
  int layer = kMean, head = kMean;  // of the first two
  RolloutOptions rollout;
  bool operator==(const EncoderChoice& other) const {
    return map == other.map && layer == other.layer && head == other.head &&
           rollout.fusion == other.rollout.fusion && rollout.discard == other.rollout.discard;
  }
};

/// What the top of the colour scale stands for.
enum class Range {
  shared,   // the largest value of any word of the answer: maps can be compared
  own,      // the largest value of this map
  clipped,  // this map's 99th percentile: one bright patch does not hide the rest
};

struct Display {
  ColorMap color_map = ColorMap::inferno;
  double opacity = 0.8;   // where the map is strongest
  bool reversed = false;  // the other end of the colours stands for high values
  bool fade = false;      // low values are transparent, else they darken the picture
  bool lift = true;       // colours follow the square root of the value: faint places show
  bool smooth = true;     // between cell centres, else flat cells
  Range range = Range::shared;
  bool operator==(const Display&) const = default;
};

class ViewState : public QObject {
  Q_OBJECT

 public:
  static constexpr int kWholeAnswer = -1;  // token: the mean over the answer's words
  static constexpr int kNoPatch = -1;

  using QObject::QObject;

  /// The run on screen (null before the first answer) and the one beside it (null: none).
  const RunPtr& run() const { return run_; }
  const RunPtr& reference() const { return reference_; }
  void show(RunPtr run, RunPtr reference);

  int token() const { return token_; }
  void select_token(int token);
  void step_token(int by);

  const MapChoice& choice() const { return choice_; }
  void choose(const MapChoice& choice);
  /// Through "mean of layers", 0, 1, ...; stays at the ends.
  void step_layer(int by);
  /// Through mean, max, head 0, 1, ...; stays at the ends.
  void step_head(int by);

  Lens lens() const { return lens_; }
  void set_lens(Lens lens);
  const EncoderChoice& encoder() const { return encoder_; }
  void choose_encoder(const EncoderChoice& choice);
  /// Pruning stages that have acted in the picture drawn by Lens::kept: 0 shows all patches.
  int stage() const { return stage_; }
  void set_stage(int stage);

  bool overlay_visible() const { return overlay_visible_ && !overlay_held_; }
  void set_overlay_visible(bool visible);
  /// Hides the overlay for as long as a key is held.
  void hold_overlay(bool held);

  const Display& display() const { return display_; }
  void set_display(const Display& display);

  /// A visual token's id, or kNoPatch.
  int patch() const { return patch_; }
  void select_patch(int patch);

  /// Patches to keep for the next question, chosen by hand: ids of the picture's visual tokens.
  bool painting() const { return painting_; }
  void set_painting(bool painting);
  const std::set<int>& painted() const { return painted_; }
  /// Ids below 0, which cells without a token have, are passed over.
  void paint(const std::vector<int>& patches, bool add);
  void clear_painted();

 Q_SIGNALS:
  /// Other runs are on screen; everything else may have changed with them.
  void runs_changed();
  /// Token, layer, head, lens, stage or patch.
  void selection_changed();
  /// Colours, opacity, visibility of the overlay.
  void display_changed();
  void painted_changed();

 private:
  RunPtr run_, reference_;
  int token_ = kWholeAnswer;
  MapChoice choice_;
  Lens lens_ = Lens::attention;
  EncoderChoice encoder_;
  int stage_ = 0;
  bool overlay_visible_ = true, overlay_held_ = false;
  Display display_;
  int patch_ = kNoPatch;
  bool painting_ = false;
  std::set<int> painted_;
};

}  // namespace fovea::gui
