#include "pruning/vit/adaptive_vit.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/ops/topk/topk.h"

namespace fovea {

namespace {

constexpr double kNormEpsilon = 1e-8;
constexpr float kEmaShare = 0.01F;
constexpr int kPublishedDepth = 12;
constexpr int kPublishedCuts[] = {4, 7, 10};

Error cut_error(std::size_t index, const std::string& message) {
  return make_error(ErrorCode::usage, "cut " + std::to_string(index + 1) + ": " + message);
}

std::uint64_t mix(std::uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

std::int64_t above(std::span<const float> scores, float threshold) {
  return std::ranges::count_if(scores, [threshold](float score) { return score > threshold; });
}

bool compares(VitKeepRule rule) {
  return rule == VitKeepRule::threshold || rule == VitKeepRule::batch_average;
}

}  // namespace

Status adaptive_vit_scores(ConstTensorView class_rows, ConstTensorView norms,
                           std::span<float> scores) {
  const auto patches = static_cast<std::int64_t>(scores.size());
  if (class_rows.dtype != DType::f32 || norms.dtype != DType::f32 || class_rows.shape.rank() != 2 ||
      !(class_rows.shape == norms.shape) || class_rows.shape[1] != patches) {
    return make_error(ErrorCode::usage, "scores of " + std::to_string(patches) +
                                            " patches need as many of each head, found " +
                                            class_rows.shape.to_string() + " and " +
                                            norms.shape.to_string());
  }
  const std::int64_t heads = class_rows.shape[0];
  for (std::int64_t i = 0; i < patches; ++i) {
    double total = kNormEpsilon, weighted = 0;
    for (std::int64_t head = 0; head < heads; ++head) {
      const double norm = norms.row<float>(head)[i];
      total += norm;
      weighted += norm * class_rows.row<float>(head)[i];
    }
    scores[static_cast<std::size_t>(i)] = static_cast<float>(weighted / total);
  }
  return {};
}

Status check_vit_prune(const VitPruneSettings& settings, int layers) {
  int before = kFirstScoredBlock;
  double share = 1.0;
  for (std::size_t i = 0; i < settings.cuts.size(); ++i) {
    const VitCut& cut = settings.cuts[i];
    if (cut.block <= before || cut.block >= layers) {
      return cut_error(i, "block " + std::to_string(cut.block) + " must lie from " +
                              std::to_string(before + 1) + " to " + std::to_string(layers - 1))
          .with_remedy("Scores start with block " + std::to_string(kFirstScoredBlock) +
                       " and blocks must ascend");
    }
    before = cut.block;
    if (compares(settings.rule) && !std::isfinite(cut.threshold)) {
      return cut_error(i, "the threshold must be a finite number");
    }
    if (!compares(settings.rule) && !(cut.keep_share >= 0 && cut.keep_share <= share)) {
      return cut_error(i, "the share of patches kept must lie from 0 to 1 and not rise");
    }
    share = cut.keep_share;
  }
  return {};
}

std::vector<int> default_vit_cuts(int layers) {
  std::vector<int> blocks;
  int before = kFirstScoredBlock;
  for (const int published : kPublishedCuts) {
    const auto moved =
        static_cast<int>(std::lround(static_cast<double>(published) * layers / kPublishedDepth));
    before = std::max(moved, before + 1);
    if (before < layers) blocks.push_back(before);
  }
  return blocks;
}

VitPruning::VitPruning(VitPruneSettings settings, std::span<const std::uint64_t> picture_keys,
                       std::int64_t patches)
    : settings_(std::move(settings)),
      keys_(picture_keys.begin(), picture_keys.end()),
      patches_(patches),
      state_(picture_keys.size(), std::vector<float>(static_cast<std::size_t>(patches), 0.0F)),
      scored_(picture_keys.size(), false) {}

int VitPruning::cut_before(int block) const {
  const auto found = std::ranges::find(settings_.cuts, block, &VitCut::block);
  return found == settings_.cuts.end() ? -1 : static_cast<int>(found - settings_.cuts.begin());
}

bool VitPruning::wants_scores(int block) const {
  if (block < kFirstScoredBlock || settings_.rule == VitKeepRule::random) return false;
  if (settings_.state == VitScoreState::last) return cut_before(block + 1) >= 0;
  return !settings_.cuts.empty() && block < settings_.cuts.back().block;
}

void VitPruning::add_scores(std::int64_t picture, std::span<const float> scores) {
  const auto p = static_cast<std::size_t>(picture);
  std::vector<float>& state = state_[p];
  const bool first = !scored_[p] || settings_.state == VitScoreState::last;
  scored_[p] = true;
  for (std::size_t i = 0; i < state.size(); ++i) {
    if (first) {
      state[i] = scores[i];
    } else if (settings_.state == VitScoreState::accu) {
      state[i] += scores[i];
    } else {
      state[i] = (1.0F - kEmaShare) * state[i] + kEmaShare * scores[i];
    }
  }
}

std::span<const float> VitPruning::state(std::int64_t picture) const {
  return state_[static_cast<std::size_t>(picture)];
}

std::vector<std::int32_t> VitPruning::choose(const VitCut& cut, std::int64_t batch_k,
                                             std::int64_t picture) const {
  const std::span<const float> scores = state(picture);
  const auto count =
      static_cast<std::int64_t>(std::lround(cut.keep_share * static_cast<double>(patches_)));
  std::vector<std::int32_t> survivors;
  switch (settings_.rule) {
    case VitKeepRule::threshold:
      for (std::size_t i = 0; i < scores.size(); ++i) {
        if (scores[i] > cut.threshold) survivors.push_back(static_cast<std::int32_t>(i));
      }
      return survivors;
    case VitKeepRule::batch_average:
      return top_k_ascending(scores, batch_k);
    case VitKeepRule::top_k:
      return top_k_ascending(scores, count);
    case VitKeepRule::random:
      break;
  }
  std::vector<float> lots(scores.size());
  const std::uint64_t key =
      mix(settings_.seed * 0x9E3779B97F4A7C15ull +
          mix(keys_[static_cast<std::size_t>(picture)] + static_cast<std::uint64_t>(cut.block)));
  for (std::size_t i = 0; i < lots.size(); ++i) {
    lots[i] = static_cast<float>(mix(key + (i + 1) * 0x9E3779B97F4A7C15ull) >> 40);
  }
  return top_k_ascending(lots, count);
}

std::vector<std::vector<std::int32_t>> VitPruning::cut(int index) {
  const VitCut& cut = settings_.cuts[static_cast<std::size_t>(index)];
  std::int64_t batch_k = 0;
  if (settings_.rule == VitKeepRule::batch_average && !state_.empty()) {
    for (const auto& scores : state_) batch_k += above(scores, cut.threshold);
    batch_k /= static_cast<std::int64_t>(state_.size());
  }
  std::vector<std::vector<std::int32_t>> survivors;
  for (std::size_t p = 0; p < state_.size(); ++p) {
    survivors.push_back(choose(cut, batch_k, static_cast<std::int64_t>(p)));
    std::vector<float> left;
    for (const std::int32_t i : survivors.back()) {
      left.push_back(state_[p][static_cast<std::size_t>(i)]);
    }
    state_[p] = std::move(left);
  }
  return survivors;
}

double VitWork::block_gflops(double tokens, double mlp_tokens) const {
  const auto d = static_cast<double>(hidden), m = static_cast<double>(intermediate);
  return (4 * d * d * tokens + 2 * d * tokens * tokens + 2 * m * d * mlp_tokens) / 1e9;
}

double VitWork::embedding_gflops() const {
  return static_cast<double>(patches) * static_cast<double>(patch_inputs) *
         static_cast<double>(hidden) / 1e9;
}

double VitWork::gflops(std::span<const std::int64_t> tokens_entering) const {
  return gflops(tokens_entering, {});
}

double VitWork::gflops(std::span<const std::int64_t> tokens_entering,
                       std::span<const std::int64_t> tokens_after_attention) const {
  double total = embedding_gflops();
  for (std::size_t block = 0; block < tokens_entering.size(); ++block) {
    const auto entering = static_cast<double>(tokens_entering[block]);
    total += block_gflops(entering, tokens_after_attention.empty()
                                        ? entering
                                        : static_cast<double>(tokens_after_attention[block]));
  }
  return total;
}

Result<std::vector<double>> keep_for_work(const VitWork& work, std::span<const int> cuts,
                                          int layers, std::int64_t special, double share) {
  const auto shares_at = [&](double s) {
    std::vector<double> shares;
    double product = 1;
    for (std::size_t i = 0; i < cuts.size(); ++i) shares.push_back(product *= s);
    return shares;
  };
  const auto cost = [&](double s) {
    const std::vector<double> shares = shares_at(s);
    double total = work.embedding_gflops();
    auto tokens = static_cast<double>(work.patches + special);
    std::size_t next = 0;
    for (int block = 0; block < layers; ++block) {
      for (; next < cuts.size() && cuts[next] == block; ++next) {
        tokens = static_cast<double>(special) +
                 std::round(shares[next] * static_cast<double>(work.patches));
      }
      total += work.block_gflops(tokens);
    }
    return total;
  };
  const double whole = cost(1), least = cost(0), wanted = share * whole;
  if (!(wanted >= least) || !(share <= 1)) {
    return make_error(ErrorCode::usage, "a share of " + std::to_string(share) +
                                            " of the work is out of reach: with these cuts it lies "
                                            "between " +
                                            std::to_string(least / whole) + " and 1");
  }
  double low = 0, high = 1;
  for (int step = 0; step < 60; ++step) {
    const double middle = 0.5 * (low + high);
    (cost(middle) < wanted ? low : high) = middle;
  }
  const bool low_is_nearer = wanted - cost(low) < cost(high) - wanted;
  return shares_at(low_is_nearer ? low : high);
}

}  // namespace fovea
