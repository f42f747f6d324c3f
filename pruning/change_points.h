#pragma once
// Where in a decoder the attention of text to picture changes (AdaptInfer, arXiv 2508.06084): the
// layers after which cuts cost least, from the unpruned runs of sample prompts.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

/// The b in [1, n - 1] that divides the curve into curve[0, b) and curve[b, n) with the least sum
/// of squared distances to each part's mean; the lowest among equals. Precondition: n >= 2, finite.
std::size_t break_point(std::span<const double> curve);

/// Counts change points layer by layer over samples; memory grows with the layers alone.
class ChangePoints {
 public:
  /// Of each sample one visual token in so many counts, rounded up: those with the most attention
  /// over all layers, the lower index first among equals.
  static constexpr std::size_t kTokensPerChosen = 10;

  explicit ChangePoints(int layers) : histogram_(static_cast<std::size_t>(layers), 0) {}

  /// attention[layer][token]: what the text paid each visual token. The curve of a token is its
  /// running sum over the layers, its change point the layer before the curve's break_point().
  /// Errors: usage for another number of layers or fewer than 2, no tokens, rows of differing
  /// length, numbers that are negative or not finite.
  Status add(const std::vector<std::vector<float>>& attention);

  /// Change points found at each layer; the last layer never has any.
  const std::vector<std::int64_t>& histogram() const { return histogram_; }
  std::int64_t samples() const { return samples_; }

 private:
  std::vector<std::int64_t> histogram_;
  std::int64_t samples_ = 0;
};

/// At most `count` layers after which to cut, ascending: the one with the most change points, then
/// again and again the best that lies more than layers / (4 count) from all chosen; the lower layer
/// among equals, none without change points.
std::vector<int> densest_layers(std::span<const std::int64_t> histogram, int count);

}  // namespace fovea
