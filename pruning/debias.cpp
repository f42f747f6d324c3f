#include "pruning/debias.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>

#include "kernels/base/npy.h"
#include "pruning/debias_calibration.h"

namespace fovea {

namespace {

constexpr double kLargestSigma = 50;

/// -ln of the last weight in each vector the authors shipped, by benchmark and method.
struct PublishedSigma {
  const char* benchmark;
  std::array<double, 4> sigma;  // in the order of kPublishedMethods
};
constexpr std::array<const char*, 4> kPublishedMethods{"himap", "pyramiddrop", "sparsevlm",
                                                       "tokencarve"};
constexpr std::array<PublishedSigma, 10> kPublishedSigmas{{
    {"gqa", {1.2490, 2.2938, 1.3232, 0.9593}},
    {"mmbench", {0.9254, 1.5248, 1.8375, 0.7447}},
    {"mmbench_cn", {0.8510, 1.4931, 1.4944, 0.6397}},
    {"mme", {1.1738, 1.8777, 2.1866, 0.8450}},
    {"mm-vet", {0.9791, 2.3768, 2.4293, 0.9755}},
    {"pope", {1.2955, 2.3291, 2.6663, 0.9860}},
    {"scienceqa", {0.9816, 1.5516, 1.7206, 0.6783}},
    {"textvqa", {0.8504, 1.8094, 1.8099, 0.6787}},
    {"vizwiz", {1.1334, 1.4484, 1.5767, 0.8227}},
    {"vqav2", {1.2732, 2.1597, 2.3696, 0.9755}},
}};

bool adjusted(AdjustedStages stages, int stage_index) {
  return stages == AdjustedStages::all || stage_index == 0;
}

}  // namespace

std::vector<std::int32_t> cell_indices(const SequenceLayout& layout) {
  std::vector<std::int32_t> indices;
  std::int32_t next = 0;
  for (const VisualToken& token : layout.visual) indices.push_back(token.row >= 0 ? next++ : -1);
  return indices;
}

Result<IndexWeights> IndexWeights::exponential(double sigma) {
  if (!(std::abs(sigma) <= kLargestSigma)) {
    return make_error(ErrorCode::usage, "sigma must be a number from -50 to 50")
        .in_field("--debias");
  }
  return IndexWeights(Exponential{sigma});
}

Result<IndexWeights> IndexWeights::table(std::vector<double> weights) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i]) || weights[i] < 0) {
      return make_error(ErrorCode::bad_input,
                        "weight " + std::to_string(i) + " is not a number of at least 0")
          .in_field("--debias");
    }
  }
  if (std::none_of(weights.begin(), weights.end(), [](double weight) { return weight > 0; })) {
    return make_error(ErrorCode::bad_input, "no weight is above 0").in_field("--debias");
  }
  return IndexWeights(Table{std::move(weights)});
}

Result<IndexWeights> IndexWeights::read_table(const std::string& path) {
  FOVEA_TRY(NpyDoubles array, read_npy_doubles(path));
  if (array.shape.size() != 1) {
    return make_error(ErrorCode::bad_input, "expected one axis, [visual tokens], found " +
                                                std::to_string(array.shape.size()) + " axes")
        .in_file(path)
        .in_field("--debias");
  }
  auto made = table(std::move(array.values));
  if (!made) return std::move(made.error().in_file(path));
  made->file_ = path;
  return made;
}

Result<IndexWeights> IndexWeights::read_calibration(const std::string& path) {
  FOVEA_TRY(const DebiasCalibration calibration, read_debias_calibration(path));
  FOVEA_TRY(IndexWeights weights, exponential(calibration.fit.sigma));
  weights.method_ = calibration.method;
  weights.file_ = path;
  return weights;
}

Result<IndexWeights> IndexWeights::preset(const std::string& name) {
  // The shipped FastV vector is no exponential; its inverse is a cubic to 2e-15.
  if (name == "fastv") return IndexWeights(Cubic{1.7337386, -4.8264334, 4.8841257});
  std::string benchmarks;
  for (const PublishedSigma& row : kPublishedSigmas) {
    benchmarks += (benchmarks.empty() ? "" : ", ") + std::string(row.benchmark);
    for (std::size_t method = 0; method < kPublishedMethods.size(); ++method) {
      if (name == std::string(row.benchmark) + "/" + kPublishedMethods[method]) {
        return IndexWeights(Exponential{row.sigma[method]});
      }
    }
  }
  return make_error(ErrorCode::usage, "no published weights are called \"" + name + "\"")
      .in_field("--debias")
      .with_remedy(
          "Give a sigma, a .npy or .json file, fastv, or BENCHMARK/METHOD with himap, "
          "pyramiddrop, sparsevlm or tokencarve and one of " +
          benchmarks);
}

Result<IndexWeights> IndexWeights::parse(const std::string& text) {
  double sigma = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, sigma);
  if (failure == std::errc() && stop == end) return exponential(sigma);
  if (text.ends_with(".npy")) return read_table(text);
  if (text.ends_with(".json")) return read_calibration(text);
  return preset(text);
}

Result<std::vector<double>> IndexWeights::weights(std::int64_t tokens) const {
  std::vector<double> weights(static_cast<std::size_t>(tokens), 1.0);
  if (const Table* table = std::get_if<Table>(&form_)) {
    if (table->weights.size() != weights.size()) {
      return make_error(ErrorCode::usage, "the table has " + std::to_string(table->weights.size()) +
                                              " weights, the prompt " + std::to_string(tokens) +
                                              " visual tokens")
          .in_file(file_)
          .in_field("--debias")
          .with_remedy("Write one weight for each visual token");
    }
    return table->weights;
  }
  for (std::int64_t i = 1; i < tokens; ++i) {
    const double x = static_cast<double>(i) / static_cast<double>(tokens - 1);
    double& weight = weights[static_cast<std::size_t>(i)];
    if (const Exponential* exponential = std::get_if<Exponential>(&form_)) {
      weight = std::exp(-exponential->sigma * x);
    } else {
      const Cubic& cubic = std::get<Cubic>(form_);
      weight = 1.0 / (1.0 + x * (cubic.a + x * (cubic.b + x * cubic.c)));
    }
  }
  return weights;
}

Result<FactorAdjustment::Factors> IndexDebias::factors(int stage_index,
                                                       const StageInput& input) const {
  const auto ids = input.visual_ids();
  Factors found;
  found.allowed = static_cast<std::int64_t>(ids.size());
  if (!adjusted(stages_, stage_index)) return found;
  const std::vector<std::int32_t> indices = cell_indices(input.layout());
  const auto cells =
      std::count_if(indices.begin(), indices.end(), [](std::int32_t index) { return index >= 0; });
  FOVEA_TRY(const std::vector<double> weights, weights_.weights(cells));
  for (const std::int32_t id : ids) {
    const std::int32_t index = indices[static_cast<std::size_t>(id)];
    found.factors.push_back(index < 0 ? 1.0 : weights[static_cast<std::size_t>(index)]);
  }
  return found;
}

namespace {

/// A picture and its grid along both axes, in pixels of the picture.
struct Extent {
  double cell_width = 0, cell_height = 0;
  std::int32_t rows = 0, cols = 0;
};

/// Length of what [begin, begin + cell) shares with a picture in the middle of a grid.
double shared(double begin, double cell, std::int32_t cells, double picture) {
  const double margin = (cell * cells - picture) / 2;
  return std::max(0.0, std::min(begin + cell, margin + picture) - std::max(begin, margin));
}

}  // namespace

Result<std::vector<bool>> tokens_in_picture(const SequenceLayout& layout, double theta) {
  // Cells lie on the picture in float32; a hair of padding is none.
  constexpr double kRounding = 1e-5;
  std::vector<Extent> extents(layout.pictures.size());
  for (const VisualToken& token : layout.visual) {
    const auto picture = static_cast<std::size_t>(token.image);
    if (picture >= extents.size()) {
      return make_error(ErrorCode::internal, "the size of a picture is unknown");
    }
    if (token.row < 0) continue;
    Extent& extent = extents[picture];
    extent.cell_width = token.width;
    extent.cell_height = token.height;
    extent.rows = std::max(extent.rows, token.row + 1);
    extent.cols = std::max(extent.cols, token.col + 1);
  }
  std::vector<bool> valid;
  std::vector<bool> any_valid(extents.size(), false);
  for (const VisualToken& token : layout.visual) {
    const auto picture = static_cast<std::size_t>(token.image);
    if (token.row < 0) {
      valid.push_back(true);
      continue;
    }
    const Extent& extent = extents[picture];
    const PictureSize& size = layout.pictures[picture];
    const double covered =
        shared(token.col * extent.cell_width, extent.cell_width, extent.cols, size.width) *
        shared(token.row * extent.cell_height, extent.cell_height, extent.rows, size.height);
    const double padding = 1.0 - covered / (extent.cell_width * extent.cell_height);
    valid.push_back(!(padding > theta + kRounding));
    if (valid.back()) any_valid[picture] = true;
  }
  for (std::size_t id = 0; id < valid.size(); ++id) {
    if (!any_valid[static_cast<std::size_t>(layout.visual[id].image)]) valid[id] = true;
  }
  return valid;
}

Result<FactorAdjustment::Factors> PaddingSuppression::factors(int stage_index,
                                                              const StageInput& input) const {
  const auto ids = input.visual_ids();
  Factors found;
  found.allowed = static_cast<std::int64_t>(ids.size());
  if (!adjusted(stages_, stage_index)) return found;
  FOVEA_TRY(const std::vector<bool> valid, tokens_in_picture(input.layout(), theta_));
  std::int64_t remaining = 0;
  for (const std::int32_t id : ids) {
    const bool inside = valid[static_cast<std::size_t>(id)];
    found.factors.push_back(inside ? 1.0 : 0.0);
    remaining += inside ? 1 : 0;
  }
  if (keep_valid_only_) found.allowed = remaining;
  return found;
}

double published_padding_theta(const std::string& method) {
  if (method == "fastv" || method == "himap") return 0.5;
  return method == "pyramiddrop" ? 0.01 : 0.3;
}

Result<std::vector<std::shared_ptr<const ScoreAdjustment>>> debias_adjustments(
    const DebiasRequest& request, const std::string& method) {
  std::vector<std::shared_ptr<const ScoreAdjustment>> adjustments;
  if (request.weights) {
    const std::string& made_for = request.weights->calibrated_for();
    if (!made_for.empty() && made_for != method) {
      return make_error(ErrorCode::usage,
                        "the trend was calibrated on the scores of " + made_for + ", not " + method)
          .in_file(request.weights->file())
          .in_field("--debias")
          .with_remedy("Calibrate one for this method, or give the sigma itself");
    }
    adjustments.push_back(std::make_shared<IndexDebias>(*request.weights, request.stages));
  }
  if (request.padding_theta) {
    if (!(*request.padding_theta >= 0 && *request.padding_theta < 1)) {
      return make_error(ErrorCode::usage, "the share of padding must be at least 0 and below 1")
          .in_field("--debias-padding");
    }
    adjustments.push_back(std::make_shared<PaddingSuppression>(*request.padding_theta,
                                                               method == "fastv", request.stages));
  }
  return adjustments;
}

}  // namespace fovea
