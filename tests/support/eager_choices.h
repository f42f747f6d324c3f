#pragma once
// What each pruning method keeps, written from its definition over whole attention maps in double.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
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

/// SparseVLM: one weight per text token, chosen on the embeddings.
using Raters = std::shared_ptr<std::vector<double>>;

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

inline Choose choose_raters(const Raters& raters) {
  return [=](const EagerView& v) {
    std::vector<double> affinity(v.text.size(), 0.0);
    for (const int image : v.visual) {
      std::vector<double> e;
      for (const int word : v.text)
        e.push_back(std::exp(dot(v.hidden[static_cast<std::size_t>(image)],
                                 v.hidden[static_cast<std::size_t>(word)])));
      const double sum = std::accumulate(e.begin(), e.end(), 0.0);
      for (std::size_t t = 0; t < e.size(); ++t)
        affinity[t] += e[t] / sum / static_cast<double>(v.visual.size());
    }
    const double mean = std::accumulate(affinity.begin(), affinity.end(), 0.0) /
                        static_cast<double>(affinity.size());
    raters->clear();
    for (const double a : affinity) raters->push_back(a > mean ? 1.0 : 0.0);
    return EagerChoice{};
  };
}

inline Score rated_score(const Raters& raters) {
  return [=](const EagerView& v) {
    std::vector<int> rows;
    for (std::size_t t = 0; t < raters->size(); ++t)
      if ((*raters)[t] > 0) rows.push_back(v.text[t]);
    return row_sum(v, rows);
  };
}

/// Version 2: attention divided by what distance alone makes of it, over the heads with most of it.
inline Score corrected_score(const Raters& raters, const DecoderConfig& config, std::size_t heads) {
  return [=](const EagerView& v) {
    std::vector<Scores> by_head;
    Scores mass;
    for (std::size_t h = 0; h < v.maps.size(); ++h) {
      Scores s(v.visual.size(), 0.0);
      for (std::size_t t = 0; t < raters->size(); ++t) {
        if ((*raters)[t] == 0) continue;
        for (std::size_t c = 0; c < s.size(); ++c) {
          const int apart = v.positions[static_cast<std::size_t>(v.text[t])] -
                            v.positions[static_cast<std::size_t>(v.visual[c])];
          double weight = 0;
          for (std::int64_t i = 0; i < config.head_dim / 2; ++i)
            weight += 2 * std::cos(apart * std::pow(config.rope_theta,
                                                    -2.0 * static_cast<double>(i) /
                                                        static_cast<double>(config.head_dim)));
          weight = std::max(weight, static_cast<double>(config.head_dim) / 16);
          s[c] += at(v, h, v.text[t], v.visual[c]) / weight;
        }
      }
      mass.push_back(std::accumulate(s.begin(), s.end(), 0.0));
      by_head.push_back(s);
    }
    Scores total(v.visual.size(), 0.0);
    for (const int h : best(mass, heads)) {
      for (std::size_t c = 0; c < total.size(); ++c)
        total[c] += by_head[static_cast<std::size_t>(h)][c];
    }
    return total;
  };
}

/// Of what the cut drops the best 30 % and one more are gathered in floor(n / 10) + 1 groups; here,
/// with fewer than ten of them, that is one group around the token in the densest place.
inline Choose keep_best_and_recycle(std::size_t k, Score score) {
  return [=](const EagerView& v) {
    const Scores scores = score(v);
    EagerChoice choice{best(scores, k), {}};
    Scores dropped;
    std::vector<int> places;
    for (int i = 0; i < static_cast<int>(scores.size()); ++i) {
      if (std::count(choice.kept.begin(), choice.kept.end(), i) > 0) continue;
      dropped.push_back(scores[static_cast<std::size_t>(i)]);
      places.push_back(i);
    }
    std::vector<int> recycled = best(dropped, dropped.size() * 3 / 10 + 1);
    EXPECT_LT(recycled.size(), 10u);
    for (int& place : recycled) place = places[static_cast<std::size_t>(place)];
    // With one group each token's one nearest is itself: all are equally dense, and the first wins.
    choice.groups = {recycled};
    return choice;
  };
}

/// FitPrune: mean over text rows times mean over visual rows, of the largest over heads.
inline Scores fitprune_score(const EagerView& v) {
  const auto mean_of_largest = [&](const std::vector<int>& rows) {
    Scores s(v.visual.size(), 0.0);
    for (const int row : rows) {
      for (std::size_t c = 0; c < s.size(); ++c) {
        double largest = 0;
        for (std::size_t h = 0; h < v.maps.size(); ++h)
          largest = std::max(largest, at(v, h, row, v.visual[c]));
        s[c] += largest / static_cast<double>(rows.size());
      }
    }
    return s;
  };
  Scores s = mean_of_largest(v.text);
  const Scores self = mean_of_largest(v.visual);
  for (std::size_t c = 0; c < s.size(); ++c) s[c] *= self[c];
  return s;
}

/// ZipVL: as many tokens as carry tau of what the probes look at, those first that each probe that
/// can see them looks at most; the visual ones among them. Rows are prompt positions here.
inline Choose keep_carrying(double tau, std::vector<int> probes) {
  return [=](const EagerView& v) {
    Scores mass(v.origin.size(), 0.0), rank(v.origin.size(), 0.0);
    for (std::size_t c = 0; c < mass.size(); ++c) {
      int seeing = 0;
      for (const int row : probes) {
        seeing += row >= static_cast<int>(c);
        for (std::size_t h = 0; h < v.maps.size(); ++h)
          mass[c] += at(v, h, row, static_cast<int>(c));
      }
      if (seeing > 0) rank[c] = mass[c] / seeing;
    }
    Scores sorted = mass;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double wanted = tau * std::accumulate(mass.begin(), mass.end(), 0.0);
    std::size_t carrying = 0;
    for (double sum = 0; sum < wanted; ++carrying) sum += sorted[carrying];
    EagerChoice choice;
    for (const int row : best(rank, carrying)) {
      const auto place = std::find(v.visual.begin(), v.visual.end(), row);
      if (place != v.visual.end())
        choice.kept.push_back(static_cast<int>(place - v.visual.begin()));
    }
    return choice;
  };
}

inline EagerStage looking(Choose choose) {
  return {Hook::embeddings, 0, AttentionSource::none, false, std::move(choose), true};
}
inline EagerStage after(int layer, Choose choose) {
  return {Hook::after_layer, layer, AttentionSource::this_layer, false, std::move(choose)};
}
inline EagerStage after_attention(int layer, Choose choose) {
  return {Hook::after_attention, layer, AttentionSource::this_layer, false, std::move(choose)};
}
inline EagerStage bypass(int layer, Choose choose) {
  return {Hook::before_layer, layer, AttentionSource::preview, true, std::move(choose)};
}
inline EagerStage before_by_previous(int layer, Choose choose) {
  return {Hook::before_layer, layer, AttentionSource::previous_layer, false, std::move(choose)};
}
inline EagerStage before_by_preview(int layer, Choose choose) {
  return {Hook::before_layer, layer, AttentionSource::preview, false, std::move(choose)};
}

}  // namespace fovea::testing::eager
