#pragma once
// Attention debiasing (arXiv 2508.17807): attention used as a ranking grows with a token's index,
// and padding draws attention of its own. Both are taken out of the scores before a cut; the method
// that ranks stays as it is. Scores are attention, that is, not negative.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "pruning/scoring_policy.h"

namespace fovea {

/// A weight for every visual token by its index among all L of the prompt that have a grid cell,
/// dropped ones included: with one picture the raster index. With several pictures the index runs
/// on through all of them (the trend is that of the whole visual span; the paper does not say).
class IndexWeights {
 public:
  /// exp(-sigma i / (L - 1)). The paper's f(x) = mu exp(sigma x) has x = i / L: multiply its sigma
  /// by (L - 1) / L. Errors: usage unless |sigma| <= 50.
  static Result<IndexWeights> exponential(double sigma);
  /// weight i of the list. Errors: bad_input unless all are finite, none is negative and one is
  /// above 0.
  static Result<IndexWeights> table(std::vector<double> weights);
  /// A .npy file of float32 or float64 [L]. Errors: those of table() and read_npy_doubles().
  static Result<IndexWeights> read_table(const std::string& path);
  /// What the paper's authors shipped: "fastv" (one cubic), or "BENCHMARK/METHOD" such as
  /// "gqa/himap". Errors: usage, with the names there are.
  static Result<IndexWeights> preset(const std::string& name);
  /// The sigma of a file that `fovea calibrate debias` made. Errors: those of
  /// read_debias_calibration().
  static Result<IndexWeights> read_calibration(const std::string& path);
  /// A sigma, a file that ends in .npy or .json, or a preset.
  static Result<IndexWeights> parse(const std::string& text);

  /// Errors: usage when a table has another length than `tokens`.
  Result<std::vector<double>> weights(std::int64_t tokens) const;

  /// The method whose scores they were calibrated on; empty where that is not known.
  const std::string& calibrated_for() const { return method_; }
  const std::string& file() const { return file_; }

 private:
  struct Exponential {
    double sigma;
  };
  struct Cubic {  // 1 / w = 1 + a x + b x^2 + c x^3
    double a, b, c;
  };
  struct Table {
    std::vector<double> weights;
  };
  using Form = std::variant<Exponential, Cubic, Table>;
  explicit IndexWeights(Form form) : form_(std::move(form)) {}
  Form form_;
  std::string method_, file_;
};

/// Index of each visual token by id among those that have a cell; -1 for one that has none.
std::vector<std::int32_t> cell_indices(const SequenceLayout& layout);

/// Where in a method's run scores are adjusted. The authors do it at a method's first stage only.
enum class AdjustedStages { first, all };

/// Multiplies scores by their tokens' weights. A token without a cell has weight 1; a merged one
/// that of the token it stands for.
class IndexDebias final : public FactorAdjustment {
 public:
  IndexDebias(IndexWeights weights, AdjustedStages stages)
      : weights_(std::move(weights)), stages_(stages) {}
  Result<Factors> factors(int stage_index, const StageInput& input) const override;

 private:
  IndexWeights weights_;
  AdjustedStages stages_;
};

/// By token id: whether less than (or just) `theta` of its cell is padding. The picture lies in the
/// middle of its grid; what the grid covers beyond it is padding (section 5 of the method page has
/// the released rule: left and right pad of equal width). A picture that is thinner than a cell, so
/// that every token is padding, has no padding. Errors: internal when a picture's size is unknown.
Result<std::vector<bool>> tokens_in_picture(const SequenceLayout& layout, double theta);

/// Sets the scores of padding to 0.
class PaddingSuppression final : public FactorAdjustment {
 public:
  /// theta: in [0, 1). keep_valid_only: lower the number of tokens kept to those that are no
  /// padding, as the released FastV does; other methods then fill up with padding by index.
  PaddingSuppression(double theta, bool keep_valid_only, AdjustedStages stages)
      : theta_(theta), keep_valid_only_(keep_valid_only), stages_(stages) {}
  Result<Factors> factors(int stage_index, const StageInput& input) const override;

 private:
  double theta_;
  bool keep_valid_only_;
  AdjustedStages stages_;
};

struct DebiasRequest {
  std::optional<IndexWeights> weights;
  std::optional<double> padding_theta;  // none: padding counts like anything else
  AdjustedStages stages = AdjustedStages::first;
};

/// As released for each method: 0.5 for FastV and HiMAP, 0.01 for PyramidDrop, else 0.3.
double published_padding_theta(const std::string& method);

/// What a MethodRequest for `method` takes. Errors: usage for a theta outside [0, 1), and for
/// weights that were calibrated on another method's scores.
Result<std::vector<std::shared_ptr<const ScoreAdjustment>>> debias_adjustments(
    const DebiasRequest& request, const std::string& method);

}  // namespace fovea
