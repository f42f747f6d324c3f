#pragma once
// What each pruning method keeps, written from its definition over whole attention maps in double.

#include <algorithm>
#include <numeric>

#include "support/eager_pruning.h"

namespace fovea::testing::eager {

using Scores = std::vector<double>;
using Score = std::function<Scores(const EagerView&)>;
using Choose = std::function<EagerChoice(const EagerView&)>;

inline double at(const EagerView& v, std::size_t head, int row, int column) {
  return v.maps[head][static_cast<std::size_t>(row)][static_cast<std::size_t>(column)];
}

/// Places of the k largest, ascending; the lower place first among equals.
inline std::vector<int> best(const Scores& scores, std::size_t k) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(std::min(k, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

inline Choose keep_best(std::size_t k, Score score) {
  return [=](const EagerView& v) { return EagerChoice{best(score(v), k), {}}; };
}

/// Two pictures of equal size share k equally, the first taking the odd one.
inline Choose keep_best_per_picture(std::size_t k, const SequenceLayout& layout, Score score) {
  return [=, &layout](const EagerView& v) {
    const std::size_t pictures = static_cast<std::size_t>(layout.visual.back().image) + 1;
    const Scores scores = score(v);
    EagerChoice choice;
    for (std::size_t picture = 0; picture < pictures; ++picture) {
      Scores own;
      std::vector<int> places;
      for (std::size_t i = 0; i < scores.size(); ++i) {
        const auto id = static_cast<std::size_t>(v.ids[i]);
        if (layout.visual[id].image != static_cast<int>(picture)) continue;
        own.push_back(scores[i]);
        places.push_back(static_cast<int>(i));
      }
      const std::size_t share = (k + pictures - 1 - picture) / pictures;
      for (const int place : best(own, share))
        choice.kept.push_back(places[static_cast<std::size_t>(place)]);
    }
    std::sort(choice.kept.begin(), choice.kept.end());
    return choice;
  };
}

inline Scores adaptinfer_score(const EagerView& v) {
  Scores s(v.visual.size(), 0.0);
  for (std::size_t h = 0; h < v.maps.size(); ++h) {
    for (const int j : v.text) {
      double w = -at(v, h, j, j);
      for (const int i : v.text) w += at(v, h, i, j) + at(v, h, j, i);
      for (std::size_t c = 0; c < s.size(); ++c) s[c] += w * at(v, h, j, v.visual[c]);
    }
  }
  return s;
}

inline Scores row_sum(const EagerView& v, const std::vector<int>& rows) {
  Scores s(v.visual.size(), 0.0);
  for (std::size_t h = 0; h < v.maps.size(); ++h) {
    for (const int row : rows) {
      for (std::size_t c = 0; c < s.size(); ++c) s[c] += at(v, h, row, v.visual[c]);
    }
  }
  return s;
}
inline Scores last_row_score(const EagerView& v) {
  return row_sum(v, {static_cast<int>(v.origin.size()) - 1});
}
inline Scores text_sum_score(const EagerView& v) {
  return row_sum(v, v.text);
}
inline Scores visual_sum_score(const EagerView& v) {
  return row_sum(v, v.visual);
}

inline EagerStage after(int layer, Choose choose) {
  return {Hook::after_layer, layer, AttentionSource::this_layer, false, std::move(choose)};
}
inline EagerStage after_attention(int layer, Choose choose) {
  return {Hook::after_attention, layer, AttentionSource::this_layer, false, std::move(choose)};
}
inline EagerStage before_by_previous(int layer, Choose choose) {
  return {Hook::before_layer, layer, AttentionSource::previous_layer, false, std::move(choose)};
}
inline EagerStage before_by_preview(int layer, Choose choose) {
  return {Hook::before_layer, layer, AttentionSource::preview, false, std::move(choose)};
}

}  // namespace fovea::testing::eager
