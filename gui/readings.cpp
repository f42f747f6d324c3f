#include "gui/readings.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea::gui {
namespace {

double largest(const std::vector<float>& values) {
  float high = 0;
  for (const float value : values) {
    if (std::isfinite(value)) high = std::max(high, value);
  }
  return high;
}

}  // namespace

Readings::Readings(MapStore& maps, ViewState& view, QObject* parent)
    : QObject(parent), maps_(maps), view_(view), choice_(view.choice()) {
  connect(&maps_, &MapStore::ready, this, [this](int run_id, int token) {
    for (const RunPtr& run : {view_.run(), view_.reference()}) {
      if (run && run->id == run_id && read(*run, token)) {
        Q_EMIT changed(run_id);
        return;
      }
    }
  });
  connect(&view_, &ViewState::runs_changed, this, &Readings::forget_all);
  connect(&view_, &ViewState::selection_changed, this, [this] {
    if (view_.choice() == choice_) return;
    forget_all();
  });
}

void Readings::forget_all() {
  choice_ = view_.choice();
  answers_.clear();
}

const Reading* Readings::of(const Run& run, int token) {
  if (!run.has_trace() || run.words() == 0) return nullptr;
  // A view may ask before this object has heard of the other choice.
  if (!(view_.choice() == choice_)) forget_all();
  if (token == ViewState::kWholeAnswer) return whole_answer(run);
  return read(run, std::clamp(token, 0, run.words() - 1));
}

const Reading* Readings::read(const Run& run, int token) {
  auto& words = answers_[run.id].words;
  const auto known = words.find(token);
  if (known != words.end()) return &known->second;
  const auto maps = maps_.maps(run.id, token);
  if (!maps) return nullptr;
  Reading reading;
  reading.values = reduce_maps(*maps, choice_);
  reading.share = attention_share(*maps, choice_);
  reading.high = largest(reading.values);
  return &(words[token] = std::move(reading));
}

const Reading* Readings::whole_answer(const Run& run) {
  for (int token = 0; token < run.words(); ++token) read(run, token);
  Answer& answer = answers_[run.id];
  if (answer.words.empty()) return nullptr;
  if (answer.words_in_whole == answer.words.size()) return &answer.whole;
  Reading whole;
  whole.values.assign(answer.words.begin()->second.values.size(), 0.0F);
  for (const auto& [token, word] : answer.words) {
    for (std::size_t id = 0; id < whole.values.size(); ++id) whole.values[id] += word.values[id];
    whole.share += word.share;
  }
  // A token is pruned for every word of an answer or for none, so the sums are NaN where they are.
  const auto count = static_cast<float>(answer.words.size());
  for (float& value : whole.values) value /= count;
  whole.share /= count;
  whole.high = largest(whole.values);
  answer.whole = std::move(whole);
  answer.words_in_whole = answer.words.size();
  return &answer.whole;
}

double Readings::shared_high(const Run& run) {
  whole_answer(run);
  double high = 0;
  for (const auto& [token, word] : answers_[run.id].words) high = std::max(high, word.high);
  return high;
}

int Readings::count(const Run& run) const {
  const auto found = answers_.find(run.id);
  return found == answers_.end() ? 0 : static_cast<int>(found->second.words.size());
}

}  // namespace fovea::gui
