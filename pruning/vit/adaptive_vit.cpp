#include "pruning/vit/adaptive_vit.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/copy.h"
#include "kernels/fetch.h"
#include "kernels/ops/counts/counts.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/ratings/ratings.h"
#include "kernels/ops/reduce/reduce.h"
#include "kernels/ops/topk/topk.h"

namespace fovea {

namespace {

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

bool compares(VitKeepRule rule) {
  return rule == VitKeepRule::threshold || rule == VitKeepRule::batch_average;
}

}  // namespace

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
      present_(picture_keys.size(), patches),
      state_(picture_keys.size()) {}

int VitPruning::cut_before(int block) const {
  const auto found = std::ranges::find(settings_.cuts, block, &VitCut::block);
  return found == settings_.cuts.end() ? -1 : static_cast<int>(found - settings_.cuts.begin());
}

bool VitPruning::wants_scores(int block) const {
  if (block < kFirstScoredBlock || settings_.rule == VitKeepRule::random) return false;
  if (settings_.state == VitScoreState::last) return cut_before(block + 1) >= 0;
  return !settings_.cuts.empty() && block < settings_.cuts.back().block;
}

Status VitPruning::add_scores(Context& context, std::int64_t picture, ConstTensorView scores) {
  const auto p = static_cast<std::size_t>(picture);
  const bool first = state_[p].empty();
  if (scores.shape != Shape{present_[p]}) {
    return make_error(ErrorCode::usage, std::to_string(present_[p]) +
                                            " patches need as many scores, found " +
                                            scores.shape.to_string());
  }
  if (present_[p] == 0) return {};
  if (first) {
    FOVEA_TRY(state_[p], Tensor::allocate(scores.shape, DType::f32, context.device));
  }
  if (first || settings_.state == VitScoreState::last)
    return copy(context, scores, state_[p].view());
  if (settings_.state == VitScoreState::accu) {
    return blend_scores(context, state_[p].view(), 1.0F, scores, 1.0F);
  }
  return blend_scores(context, state_[p].view(), 1.0F - kEmaShare, scores, kEmaShare);
}

ConstTensorView VitPruning::scored(std::size_t picture) const {
  return state_[picture].view();
}

Result<std::vector<float>> VitPruning::state(Context& context, std::int64_t picture) const {
  const ConstTensorView there = scored(static_cast<std::size_t>(picture));
  std::vector<float> here(static_cast<std::size_t>(there.empty() ? 0 : there.shape[0]));
  if (!here.empty()) {
    FOVEA_CHECK(
        copy(context, there,
             TensorView(reinterpret_cast<std::byte*>(here.data()), DType::f32, there.shape)));
  }
  return here;
}

std::int64_t VitPruning::counted(const VitCut& cut) const {
  return std::lround(cut.keep_share * static_cast<double>(patches_));
}

std::vector<std::int32_t> VitPruning::draw(const VitCut& cut, std::size_t picture) const {
  std::vector<float> lots(static_cast<std::size_t>(present_[picture]));
  const std::uint64_t key = mix(settings_.seed * 0x9E3779B97F4A7C15ull +
                                mix(keys_[picture] + static_cast<std::uint64_t>(cut.block)));
  for (std::size_t i = 0; i < lots.size(); ++i) {
    lots[i] = static_cast<float>(mix(key + (i + 1) * 0x9E3779B97F4A7C15ull) >> 40);
  }
  return top_k_ascending(lots, counted(cut));
}

Result<VitPruning::Survivors> VitPruning::above(Context& context, float threshold) const {
  const auto pictures = static_cast<std::int64_t>(state_.size());
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView counts, context.workspace.take({pictures}, DType::i32));
  FOVEA_TRY(const TensorView indices, context.workspace.take({pictures * patches_}, DType::i32));
  for (std::int64_t p = 0; p < pictures; ++p) {
    if (present_[static_cast<std::size_t>(p)] == 0) continue;
    const ConstTensorView scores = scored(static_cast<std::size_t>(p));
    FOVEA_CHECK(indices_above(context, scores, threshold, counts.slice(p, 1),
                              indices.slice(p * patches_, scores.shape[0])));
  }
  FOVEA_TRY(const Arriving arriving_counts, Arriving::start(context, counts));
  FOVEA_TRY(const Arriving arriving, Arriving::start(context, indices));
  FOVEA_TRY(const auto numbers, arriving_counts.wait());
  FOVEA_TRY(const auto found, arriving.wait());
  Survivors survivors;
  for (std::size_t p = 0; p < state_.size(); ++p) {
    const auto begin = found.begin() + static_cast<std::ptrdiff_t>(p) * patches_;
    survivors.emplace_back(begin, begin + (present_[p] == 0 ? 0 : numbers[p]));
  }
  return survivors;
}

Result<VitPruning::Survivors> VitPruning::best(Context& context, std::int64_t count) const {
  const Workspace::Scope scope(context.workspace);
  std::vector<std::int64_t> counts;
  std::int64_t total = 0;
  for (const std::int64_t present : present_) {
    counts.push_back(std::clamp<std::int64_t>(count, 0, present));
    total += counts.back();
  }
  FOVEA_TRY(const TensorView indices, context.workspace.take({total}, DType::i32));
  std::int64_t filled = 0;
  for (std::size_t p = 0; p < state_.size(); ++p) {
    if (counts[p] == 0) continue;
    FOVEA_CHECK(top_k_indices(context, scored(p), indices.slice(filled, counts[p])));
    filled += counts[p];
  }
  FOVEA_TRY(const Arriving arriving, Arriving::start(context, indices));
  FOVEA_TRY(const auto found, arriving.wait());
  Survivors survivors;
  auto begin = found.begin();
  for (const std::int64_t kept : counts) {
    survivors.emplace_back(begin, begin + kept);
    begin += kept;
  }
  return survivors;
}

Result<std::vector<std::vector<std::int32_t>>> VitPruning::cut(Context& context, int index) {
  const VitCut& cut = settings_.cuts[static_cast<std::size_t>(index)];
  const bool by_lot = settings_.rule == VitKeepRule::random;
  for (std::size_t p = 0; p < state_.size() && !by_lot; ++p) {
    if (present_[p] > 0 && state_[p].empty()) {
      return make_error(ErrorCode::internal, "a cut of patches that nobody scored");
    }
  }
  Survivors survivors;
  if (by_lot) {
    for (std::size_t p = 0; p < state_.size(); ++p) survivors.push_back(draw(cut, p));
  } else if (settings_.rule == VitKeepRule::top_k) {
    FOVEA_TRY(survivors, best(context, counted(cut)));
  } else {
    FOVEA_TRY(survivors, above(context, cut.threshold));
  }
  if (settings_.rule == VitKeepRule::batch_average && !state_.empty()) {
    std::int64_t together = 0;
    for (const auto& of_picture : survivors) together += std::ssize(of_picture);
    FOVEA_TRY(survivors, best(context, together / std::ssize(state_)));
  }
  for (std::size_t p = 0; p < state_.size(); ++p) {
    present_[p] = std::ssize(survivors[p]);
    if (state_[p].empty()) continue;
    if (present_[p] == 0) {
      state_[p] = {};
      continue;
    }
    FOVEA_TRY(Tensor left, Tensor::allocate({present_[p]}, DType::f32, context.device));
    const auto column = [](auto view) {
      view.shape = Shape{view.shape[0], 1};
      view.row_stride = 1;
      return view;
    };
    FOVEA_CHECK(gather_rows(context, column(scored(p)), survivors[p], column(left.view())));
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
