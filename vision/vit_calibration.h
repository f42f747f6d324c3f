#pragma once
// Thresholds of Adaptive Sparse ViT without training: quantiles of the scores of sample pictures,
// chosen to meet a budget of work. This is not the published training (arXiv 2209.13802, section
// 5), which learns thresholds together with the weights; what it writes says so.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "vision/adaptive_vit.h"
#include "vision/vit.h"

namespace fovea {

struct VitCalibrationRequest {
  std::vector<int> blocks;  // cuts; empty: default_vit_cuts()
  double budget = 0.65;     // share of the whole tower's GFLOPs, as VitWork counts
  VitScoreState state = VitScoreState::last;
  std::int64_t batch = 16;
};

struct VitCalibration {
  VitThresholds thresholds;
  double share = 0;               // of the GFLOPs that the sample pictures then cost
  double gflops = 0;              // mean of a picture
  std::vector<double> survivors;  // mean patches left after each cut
  std::int64_t pictures = 0;
};

/// Called with the number of passes over the pictures that are done.
using CalibrationProgress = std::function<void(int passes)>;

/// Every cut keeps the same share of the patches that reach it, over all pictures together: what a
/// picture keeps of its own depends on its scores. pixels: one [channels, side, side] f32 per
/// picture. Each trial share costs one pass per cut after the first; at most six are tried, and the
/// nearest is taken. Errors: usage (no pictures, impossible cuts, a budget outside what these cuts
/// can reach, with the range), those of the encoder.
Result<VitCalibration> calibrate_vit(Context& context, const VitEncoder& encoder,
                                     std::span<const Tensor> pixels,
                                     const VitCalibrationRequest& request,
                                     const CalibrationProgress& progress = {});

}  // namespace fovea
