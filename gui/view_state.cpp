#include "gui/view_state.h"

#include <algorithm>
#include <utility>

namespace fovea::gui {

void ViewState::show(RunPtr run, RunPtr reference) {
  if (run == run_ && reference == reference_) return;
  const bool other_run = run != run_;
  // What was painted belongs to the pictures of one prompt.
  const bool same_pictures = run && run_ && run->pictures == run_->pictures;
  run_ = std::move(run);
  reference_ = std::move(reference);
  if (other_run) {
    token_ = kWholeAnswer;
    stage_ = run_ ? static_cast<int>(run_->answer.pruning.stages.size()) : 0;
    if (run_ && patch_ >= static_cast<int>(run_->layout().visual.size())) patch_ = kNoPatch;
    if (run_ && run_->model) {
      const ModelFacts& model = *run_->model;
      choice_.layer = std::min(choice_.layer, model.layers - 1);
      choice_.heads.head = std::min(choice_.heads.head, model.heads - 1);
    }
  }
  if (!same_pictures) {
    painted_.clear();
    painting_ = painting_ && run_ != nullptr;
    Q_EMIT painted_changed();
  }
  Q_EMIT runs_changed();
}

void ViewState::select_token(int token) {
  const int words = run_ ? run_->words() : 0;
  token = std::clamp(token, kWholeAnswer, std::max(words - 1, kWholeAnswer));
  if (token == token_) return;
  token_ = token;
  Q_EMIT selection_changed();
}

void ViewState::step_token(int by) {
  select_token(token_ + by);
}

void ViewState::choose(const MapChoice& choice) {
  if (choice == choice_) return;
  choice_ = choice;
  Q_EMIT selection_changed();
}

void ViewState::step_layer(int by) {
  if (!run_ || !run_->model) return;
  MapChoice choice = choice_;
  choice.layer = std::clamp(choice.layer + by, MapChoice::kMeanOfLayers, run_->model->layers - 1);
  choose(choice);
}

void ViewState::step_head(int by) {
  if (!run_ || !run_->model) return;
  // 0 is the mean, 1 the largest, 2 head 0, ...
  const HeadChoice& now = choice_.heads;
  int place = now.kind == HeadChoice::Kind::mean  ? 0
              : now.kind == HeadChoice::Kind::max ? 1
                                                  : 2 + now.head;
  place = std::clamp(place + by, 0, run_->model->heads + 1);
  MapChoice choice = choice_;
  choice.heads = place == 0   ? HeadChoice{HeadChoice::Kind::mean, 0}
                 : place == 1 ? HeadChoice{HeadChoice::Kind::max, 0}
                              : HeadChoice{HeadChoice::Kind::one, place - 2};
  choose(choice);
}

void ViewState::set_lens(Lens lens) {
  if (lens == lens_) return;
  lens_ = lens;
  Q_EMIT selection_changed();
}

void ViewState::choose_encoder(const EncoderChoice& choice) {
  if (choice == encoder_) return;
  encoder_ = choice;
  Q_EMIT selection_changed();
}

void ViewState::set_stage(int stage) {
  const int stages = run_ ? static_cast<int>(run_->answer.pruning.stages.size()) : 0;
  stage = std::clamp(stage, 0, stages);
  if (stage == stage_) return;
  stage_ = stage;
  Q_EMIT selection_changed();
}

void ViewState::set_overlay_visible(bool visible) {
  if (visible == overlay_visible_) return;
  overlay_visible_ = visible;
  Q_EMIT display_changed();
}

void ViewState::hold_overlay(bool held) {
  if (held == overlay_held_) return;
  overlay_held_ = held;
  Q_EMIT display_changed();
}

void ViewState::set_display(const Display& display) {
  if (display == display_) return;
  display_ = display;
  Q_EMIT display_changed();
}

void ViewState::select_patch(int patch) {
  patch = std::max(patch, kNoPatch);
  if (patch == patch_) return;
  patch_ = patch;
  Q_EMIT selection_changed();
}

void ViewState::set_painting(bool painting) {
  if (painting == painting_) return;
  painting_ = painting;
  Q_EMIT painted_changed();
}

void ViewState::paint(const std::vector<int>& patches, bool add) {
  const std::size_t before = painted_.size();
  for (const int patch : patches) {
    if (patch < 0) continue;
    if (add) {
      painted_.insert(patch);
    } else {
      painted_.erase(patch);
    }
  }
  if (painted_.size() != before) Q_EMIT painted_changed();
}

void ViewState::clear_painted() {
  if (painted_.empty()) return;
  painted_.clear();
  Q_EMIT painted_changed();
}

}  // namespace fovea::gui
