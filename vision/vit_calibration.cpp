#include "vision/vit_calibration.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

namespace fovea {

namespace {

constexpr int kTrials = 6;
constexpr double kNearEnough = 0.002;  // of the budget
constexpr float kKeepNothing = std::numeric_limits<float>::max();
constexpr float kKeepAll = -1.0F;  // scores are not negative

using Scores = std::vector<std::vector<float>>;  // per picture, of the patches present

/// Looks at the scores that the last cut is about to compare. That cut keeps nothing, so that the
/// blocks behind it cost next to nothing.
class ScoreProbe : public VitReducer {
 public:
  ScoreProbe(const VitPruneSettings& settings, const VitConfig& config, Scores& scores)
      : reducer_(settings, config), block_(settings.cuts.back().block), scores_(scores) {}

  Status before_block(Context& context, int layer, const VitRows& rows,
                      std::vector<std::int32_t>& keep) override {
    if (layer == block_) {
      for (std::int64_t picture = 0; picture < rows.pictures(); ++picture) {
        FOVEA_TRY(auto state, reducer_.state(context, picture));
        scores_.push_back(std::move(state));
      }
    }
    return reducer_.before_block(context, layer, rows, keep);
  }
  bool watches(int layer) const override { return reducer_.watches(layer); }
  Status after_block(Context& context, const VitBlockView& block) override {
    return reducer_.after_block(context, block);
  }

 private:
  VitPruneReducer reducer_;
  int block_;
  Scores& scores_;
};

/// A threshold that `share` of all the scores exceed.
float quantile(const Scores& scores, double share) {
  std::vector<float> pooled;
  for (const auto& picture : scores) pooled.insert(pooled.end(), picture.begin(), picture.end());
  const auto keep =
      static_cast<std::size_t>(std::lround(share * static_cast<double>(pooled.size())));
  if (keep >= pooled.size()) return kKeepAll;
  std::ranges::sort(pooled, std::greater<>());
  if (keep == 0) return pooled.front();
  // Half-way to the last that stays, unless rounding would lose it.
  const float above = pooled[keep - 1], below = pooled[keep];
  const auto middle = static_cast<float>((static_cast<double>(above) + below) / 2);
  return middle < above ? middle : below;
}

struct Trial {
  std::vector<float> thresholds;
  double gflops = 0;
  std::vector<double> survivors;
};

class Calibrator {
 public:
  Calibrator(Context& context, const VitEncoder& encoder, std::span<const Tensor> pixels,
             const VitCalibrationRequest& request, std::vector<int> blocks,
             const CalibrationProgress& progress)
      : context_(context),
        encoder_(encoder),
        pixels_(pixels),
        request_(request),
        blocks_(std::move(blocks)),
        progress_(progress),
        work_(vit_work(encoder.config())) {}

  /// Mean work of a picture that keeps this share at every cut, were all pictures alike.
  double even_gflops(double share) const {
    const VitConfig& config = encoder_.config();
    double patches = static_cast<double>(config.patches()), total = work_.embedding_gflops();
    for (int block = 0; block < encoder_.run_layers(); ++block) {
      if (std::ranges::find(blocks_, block) != blocks_.end()) patches *= share;
      total += work_.block_gflops(static_cast<double>(config.prefix_tokens()) + patches);
    }
    return total;
  }

  /// The share at which even_gflops() meets a target within its reach.
  double even_share(double gflops) const {
    double low = 0, high = 1;
    for (int step = 0; step < 60; ++step) {
      const double middle = (low + high) / 2;
      (even_gflops(middle) < gflops ? low : high) = middle;
    }
    return (low + high) / 2;
  }

  Result<Trial> run(double share) {
    Trial trial;
    std::vector<std::vector<std::int64_t>> entering(pixels_.size());
    const std::int64_t prefix = encoder_.config().prefix_tokens();
    for (std::size_t cut = 0; cut < blocks_.size(); ++cut) {
      FOVEA_TRY(const Scores scores, scores_before(cut, trial.thresholds));
      const float threshold = quantile(scores, share);
      trial.thresholds.push_back(threshold);
      double left = 0;
      for (std::size_t p = 0; p < scores.size(); ++p) {
        const auto kept = std::ranges::count_if(
            scores[p], [threshold](float score) { return score > threshold; });
        left += static_cast<double>(kept);
        extend(entering[p], blocks_[cut]);
        entering[p].push_back(prefix + kept);
      }
      trial.survivors.push_back(left / static_cast<double>(scores.size()));
    }
    for (auto& tokens : entering) {
      extend(tokens, encoder_.run_layers());
      trial.gflops += work_.gflops(tokens) / static_cast<double>(entering.size());
    }
    return trial;
  }

 private:
  /// Blocks up to `end` see what the one before them saw.
  void extend(std::vector<std::int64_t>& entering, int end) const {
    if (entering.empty()) entering.push_back(encoder_.config().tokens());
    entering.resize(static_cast<std::size_t>(end), entering.back());
  }

  Result<Scores> scores_before(std::size_t cut, const std::vector<float>& thresholds) {
    if (cut == 0 && !first_scores_.empty()) return first_scores_;  // no share changes these
    VitPruneSettings settings;
    settings.state = request_.state;
    for (std::size_t i = 0; i <= cut; ++i) {
      settings.cuts.push_back(
          {.block = blocks_[i], .threshold = i < cut ? thresholds[i] : kKeepNothing});
    }
    Scores scores;
    ScoreProbe probe(settings, encoder_.config(), scores);
    VitHooks hooks;
    hooks.reducer = &probe;
    const VitConfig& config = encoder_.config();
    const auto batch = static_cast<std::size_t>(std::max<std::int64_t>(request_.batch, 1));
    const auto most = static_cast<std::int64_t>(std::min(batch, pixels_.size()));
    const Workspace::Scope scope(context_.workspace);
    Workspace& host = context_.host().workspace;
    const Workspace::Scope host_scope(host);
    FOVEA_TRY(const TensorView input,
              host.take({most, config.channels, config.image_size, config.image_size}, DType::f32));
    FOVEA_TRY(const TensorView states,
              context_.workspace.take({most * config.tokens(), config.hidden_size}, DType::f32));
    for (std::size_t first = 0; first < pixels_.size(); first += batch) {
      const auto count = static_cast<std::int64_t>(std::min(batch, pixels_.size() - first));
      for (std::int64_t i = 0; i < count; ++i) {
        std::copy_n(pixels_[first + static_cast<std::size_t>(i)].as<float>(),
                    input.inner_elements(), input.row<float>(i));
      }
      FOVEA_CHECK(encoder_.forward_batch(context_, input.slice(0, count),
                                         states.slice(0, count * config.tokens()), hooks));
    }
    if (progress_) progress_(++passes_);
    if (cut == 0) first_scores_ = scores;
    return scores;
  }

  Context& context_;
  const VitEncoder& encoder_;
  std::span<const Tensor> pixels_;
  const VitCalibrationRequest& request_;
  std::vector<int> blocks_;
  const CalibrationProgress& progress_;
  VitWork work_;
  Scores first_scores_;
  int passes_ = 0;
};

Status check_request(const VitEncoder& encoder, std::span<const Tensor> pixels,
                     const VitCalibrationRequest& request, const std::vector<int>& blocks) {
  if (pixels.empty()) return make_error(ErrorCode::usage, "calibration needs pictures");
  if (blocks.empty()) {
    return make_error(ErrorCode::usage, "a tower of " + std::to_string(encoder.run_layers()) +
                                            " blocks is too shallow to prune");
  }
  VitPruneSettings settings;
  settings.state = request.state;
  for (const int block : blocks) settings.cuts.push_back({.block = block});
  FOVEA_CHECK(check_vit_prune(settings, encoder.run_layers()));
  const VitConfig& config = encoder.config();
  const Shape picture{config.channels, config.image_size, config.image_size};
  for (const Tensor& each : pixels) {
    if (each.shape() != picture || each.dtype() != DType::f32) {
      return make_error(ErrorCode::usage, "calibration reads pixels " + picture.to_string() +
                                              ", found " + each.shape().to_string());
    }
  }
  return {};
}

}  // namespace

Result<VitCalibration> calibrate_vit(Context& context, const VitEncoder& encoder,
                                     std::span<const Tensor> pixels,
                                     const VitCalibrationRequest& request,
                                     const CalibrationProgress& progress) {
  const std::vector<int> blocks =
      request.blocks.empty() ? default_vit_cuts(encoder.run_layers()) : request.blocks;
  FOVEA_CHECK(check_request(encoder, pixels, request, blocks));
  Calibrator calibrator(context, encoder, pixels, request, blocks, progress);
  const double whole = calibrator.even_gflops(1.0), least = calibrator.even_gflops(0.0);
  const double target = request.budget * whole;
  if (!(target >= least && request.budget <= 1.0)) {
    char range[96];
    std::snprintf(range, sizeof(range), "with these cuts the budget can lie from %.3f to 1",
                  least / whole);
    return make_error(ErrorCode::usage,
                      "the budget " + std::to_string(request.budget) + " cannot be met")
        .with_remedy(range);
  }

  // Pictures keep different numbers and attention costs their squares, so that the same share costs
  // a little more than were they alike: the aim is corrected by what a trial missed.
  Trial best;
  double aim = target, nearest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTrials && nearest > kNearEnough * target; ++i) {
    FOVEA_TRY(Trial trial, calibrator.run(calibrator.even_share(aim)));
    const double missed = trial.gflops - target;
    if (std::abs(missed) < nearest) {
      nearest = std::abs(missed);
      best = std::move(trial);
    }
    aim = std::clamp(aim - missed, least, whole);
  }

  VitCalibration calibration;
  calibration.thresholds.blocks = blocks;
  calibration.thresholds.thresholds.assign(best.thresholds.begin(), best.thresholds.end());
  calibration.thresholds.state = request.state;
  calibration.thresholds.patches = encoder.config().patches();
  calibration.thresholds.origin = "calibration (quantiles of scores, not the published training)";
  calibration.gflops = best.gflops;
  calibration.share = best.gflops / whole;
  calibration.survivors = std::move(best.survivors);
  calibration.pictures = std::ssize(pixels);
  return calibration;
}

}  // namespace fovea
