#pragma once
// Pruned runs in double precision that know nothing of the engine: whole attention maps at every
// stage, a choice made from them by the test, rows dropped, merged or left out of one attention,
// and answer rows that follow the prompt without having a say in any choice.

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "pruning/policy.h"
#include "support/reference_decoder.h"

namespace fovea::testing {

/// What a stage sees; all row numbers count the prompt rows present.
struct EagerView {
  ReferenceDecoder::Maps maps;  // [head][row][row]; empty for stages that read no attention
  ReferenceDecoder::Rows hidden;
  std::vector<int> origin;        // prompt position of each row
  std::vector<int> positions;     // rotary
  std::vector<int> visual, text;  // rows
  std::vector<int> ids;           // of `visual`
};

/// Places in EagerView::visual; of each group the first is the token whose place and id the merged
/// one takes.
struct EagerChoice {
  std::vector<int> kept;
  std::vector<std::vector<int>> groups;
};

struct EagerStage {
  Hook when = Hook::before_layer;
  int layer = 0;
  AttentionSource attention = AttentionSource::none;
  bool bypass = false;
  std::function<EagerChoice(const EagerView&)> choose;
  bool looks_only = false;  // what it chooses is ignored
};

struct EagerOutcome {
  std::vector<std::vector<int>> kept;                  // per stage: ids, ascending
  std::vector<std::vector<std::vector<int>>> sources;  // per stage: ids in each merged token
  std::vector<double> logits;                          // of the last row
};

class EagerPruning {
 public:
  EagerPruning(const ReferenceDecoder& decoder, const SequenceLayout& layout,
               std::vector<EagerStage> stages, PositionMode mode)
      : decoder_(decoder), layout_(layout), stages_(std::move(stages)), mode_(mode) {}

  /// `hidden`: the prompt's embeddings, then those of answer tokens.
  EagerOutcome run(ReferenceDecoder::Rows hidden) {
    outcome_ = {};
    hidden_ = std::move(hidden);
    origin_.resize(hidden_.size());
    for (std::size_t i = 0; i < origin_.size(); ++i) origin_[i] = static_cast<int>(i);
    positions_ = origin_;
    merged_.clear();
    for (int layer = 0; layer < static_cast<int>(decoder_.config().layers); ++layer) run(layer);
    outcome_.logits = decoder_.logits(hidden_.back());
    return outcome_;
  }

 private:
  using Maps = ReferenceDecoder::Maps;

  static bool all(std::size_t, std::size_t) { return true; }

  void run(int layer) {
    std::vector<bool> skips(hidden_.size(), false);
    const auto ahead = [&] { return decoder_.attention_maps(layer, hidden_, positions_, all); };
    for (const EagerStage& stage : stages_) {
      if (stage.layer != layer) continue;
      const bool preview = stage.attention == AttentionSource::preview;
      const bool before = stage.when == Hook::before_layer || stage.when == Hook::embeddings;
      if (!before) continue;
      if (stage.looks_only) {
        stage.choose(view({}));
      } else if (stage.bypass) {
        skips = bypass(stage, ahead());
      } else {
        const bool previous = stage.attention == AttentionSource::previous_layer;
        cut(stage, previous ? last_maps_ : preview ? ahead() : Maps{});
        skips.assign(hidden_.size(), false);
      }
    }
    // Prompt rows neither see nor are rows that skip; answer rows find all keys in the cache.
    const auto prompt = static_cast<std::size_t>(layout_.tokens());
    const auto sees = [&](std::size_t query, std::size_t key) {
      return static_cast<std::size_t>(origin_[query]) >= prompt || (!skips[query] && !skips[key]);
    };
    const Maps maps = decoder_.attention_maps(layer, hidden_, positions_, sees);
    decoder_.attend(layer, hidden_, positions_, sees);
    for (const EagerStage& stage : stages_) {
      if (stage.layer == layer && stage.when == Hook::after_attention) cut(stage, maps);
    }
    decoder_.add_mlp(layer, hidden_);
    for (const EagerStage& stage : stages_) {
      if (stage.layer == layer && stage.when == Hook::after_layer) cut(stage, maps);
    }
    last_maps_ = maps;
  }

  EagerView view(const Maps& maps) const {
    EagerView v;
    for (std::size_t row = 0; row < origin_.size(); ++row) {
      if (origin_[row] >= layout_.tokens()) break;  // answer rows come last
      const auto position = static_cast<std::size_t>(origin_[row]);
      v.origin.push_back(origin_[row]);
      v.positions.push_back(positions_[row]);
      v.hidden.push_back(hidden_[row]);
      if (layout_.kinds[position] == TokenKind::visual) {
        v.visual.push_back(static_cast<int>(row));
        v.ids.push_back(layout_.visual_ids[position]);
      } else if (layout_.kinds[position] == TokenKind::text) {
        v.text.push_back(static_cast<int>(row));
      }
    }
    const std::size_t n = v.origin.size();
    for (const auto& head : maps) {
      v.maps.emplace_back(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(n));
      for (auto& row : v.maps.back()) row.resize(n);
    }
    return v;
  }

  void record() {
    auto& kept = outcome_.kept.emplace_back();
    auto& sources = outcome_.sources.emplace_back();
    for (const int origin : origin_) {
      if (origin >= layout_.tokens()) continue;
      const int id = layout_.visual_ids[static_cast<std::size_t>(origin)];
      if (id < 0) continue;
      if (const auto found = merged_.find(origin); found != merged_.end()) {
        sources.push_back(found->second);
      } else {
        kept.push_back(id);
      }
    }
  }

  std::vector<bool> bypass(const EagerStage& stage, const Maps& maps) {
    const EagerView v = view(maps);
    const EagerChoice choice = stage.choose(v);
    std::vector<bool> skips(hidden_.size(), false);
    for (const int row : v.visual) skips[static_cast<std::size_t>(row)] = true;
    for (const int place : choice.kept)
      skips[static_cast<std::size_t>(v.visual[static_cast<std::size_t>(place)])] = false;
    skips[v.origin.size() - 1] = false;  // the last prompt row
    auto& kept = outcome_.kept.emplace_back();
    outcome_.sources.emplace_back();
    for (std::size_t i = 0; i < v.visual.size(); ++i)
      if (!skips[static_cast<std::size_t>(v.visual[i])]) kept.push_back(v.ids[i]);
    return skips;
  }

  void cut(const EagerStage& stage, const Maps& maps) {
    const EagerView v = view(maps);
    const EagerChoice choice = stage.choose(v);
    const auto row_of = [&](int place) {
      return static_cast<std::size_t>(v.visual[static_cast<std::size_t>(place)]);
    };
    ReferenceDecoder::Rows hidden;
    std::vector<int> origin, positions;
    const auto push = [&](std::size_t row, std::vector<double> state) {
      hidden.push_back(std::move(state));
      origin.push_back(origin_[row]);
      positions.push_back(positions_[row]);
    };
    for (std::size_t row = 0; row < hidden_.size(); ++row) {
      const auto found = std::find(v.visual.begin(), v.visual.end(), static_cast<int>(row));
      if (found == v.visual.end()) {
        push(row, hidden_[row]);
        continue;
      }
      const int place = static_cast<int>(found - v.visual.begin());
      if (std::count(choice.kept.begin(), choice.kept.end(), place) > 0) push(row, hidden_[row]);
      if (found + 1 != v.visual.end()) continue;
      for (const auto& group : choice.groups) {  // behind the last visual row
        std::vector<double> mean(hidden_[row].size(), 0.0);
        std::vector<int> ids;
        for (const int member : group) {
          for (std::size_t c = 0; c < mean.size(); ++c)
            mean[c] += hidden_[row_of(member)][c] / static_cast<double>(group.size());
          const int position = origin_[row_of(member)];
          const auto earlier = merged_.find(position);
          if (earlier != merged_.end()) {
            ids.insert(ids.end(), earlier->second.begin(), earlier->second.end());
          } else {
            ids.push_back(v.ids[static_cast<std::size_t>(member)]);
          }
        }
        std::sort(ids.begin(), ids.end());
        push(row_of(group[0]), mean);
        merged_[origin.back()] = ids;
      }
    }
    hidden_ = std::move(hidden);
    origin_ = std::move(origin);
    positions_ = std::move(positions);
    if (mode_ == PositionMode::compact) {
      for (std::size_t i = 0; i < positions_.size(); ++i) positions_[i] = static_cast<int>(i);
    }
    record();
  }

  const ReferenceDecoder& decoder_;
  const SequenceLayout& layout_;
  std::vector<EagerStage> stages_;
  PositionMode mode_;

  ReferenceDecoder::Rows hidden_;
  std::vector<int> origin_, positions_;
  std::map<int, std::vector<int>> merged_;  // by origin: ids in a merged token
  Maps last_maps_;
  EagerOutcome outcome_;
};

}  // namespace fovea::testing
