#include "pruning/fitprune_recipe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/base/file.h"
#include "kernels/base/json.h"

namespace fovea {

namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;
constexpr std::size_t kMaxLayers = 1024;

Error bad(const char* field, std::string message) {
  return make_error(ErrorCode::bad_input, std::move(message)).in_field(field);
}

bool is_whole(double value) {
  return value == std::floor(value);
}

}  // namespace

Result<FitPruneRecipe> parse_fitprune_recipe(std::string_view text) {
  FOVEA_TRY(const Json json, parse_json(text, {.max_bytes = kMaxFileBytes}));
  if (!json.is_object()) {
    return make_error(ErrorCode::bad_input, "a FitPrune recipe is an object")
        .with_remedy("Expected {\"model\": ..., \"target\": ..., \"deletions\": [...]}");
  }
  for (const auto& [name, value] : json.as_object()) {
    if (name != "model" && name != "target" && name != "deletions") {
      return bad(name.substr(0, 60).c_str(), "a FitPrune recipe has no such field")
          .with_remedy("It has model, target and deletions");
    }
  }
  const Json* model = json.find("model");
  const Json* target = json.find("target");
  const Json* deletions = json.find("deletions");
  if (model == nullptr || !model->is_string()) return bad("model", "expected a text");
  if (target == nullptr || !target->is_number() || !(target->as_double() >= 0) ||
      !(target->as_double() < 1)) {
    return bad("target", "expected the share of FLOPs saved, from 0 to below 1");
  }
  if (deletions == nullptr || !deletions->is_array() || deletions->as_array().empty() ||
      deletions->as_array().size() > kMaxLayers) {
    return bad("deletions", "expected a list with one number for each layer");
  }
  FitPruneRecipe recipe;
  recipe.model = model->as_string();
  recipe.target = target->as_double();
  double sum = 0;
  for (const Json& item : deletions->as_array()) {
    const double value = item.is_number() ? item.as_double() : -1;
    if (!(value >= 0) || !(value <= 1e6)) {
      return bad("deletions", "expected numbers of at least 0, found another value for layer " +
                                  std::to_string(recipe.deletions.size()));
    }
    recipe.deletions.push_back(value);
    recipe.shares = recipe.shares || !is_whole(value);
    sum += value;
  }
  if (recipe.shares && sum >= 1) {
    return bad("deletions", "the shares deleted add up to " + std::to_string(sum) +
                                ", which leaves no visual token")
        .with_remedy("Use whole numbers throughout for counts, or shares that add up to below 1");
  }
  return recipe;
}

Result<FitPruneRecipe> read_fitprune_recipe(const std::string& path) {
  FOVEA_TRY(const std::string text, read_file(path, kMaxFileBytes));
  Result<FitPruneRecipe> recipe = parse_fitprune_recipe(text);
  if (!recipe) recipe.error().in_file(path);
  return recipe;
}

std::string to_json(const FitPruneRecipe& recipe) {
  Json json = Json::object();
  json.set("model", recipe.model);
  json.set("target", recipe.target);
  Json deletions = Json::array();
  for (const double value : recipe.deletions) {
    if (recipe.shares) {
      deletions.push(value);
    } else {
      deletions.push(static_cast<std::int64_t>(value));
    }
  }
  json.set("deletions", std::move(deletions));
  return json.dump(2) + "\n";
}

Result<std::vector<ScheduleStage>> recipe_stages(const FitPruneRecipe& recipe, int layers,
                                                 std::int64_t visual) {
  if (recipe.deletions.size() != static_cast<std::size_t>(layers)) {
    return make_error(ErrorCode::usage, "the FitPrune recipe has deletions for " +
                                            std::to_string(recipe.deletions.size()) +
                                            " layers, the model has " + std::to_string(layers))
        .in_field("deletions")
        .with_remedy("Calibrate a recipe with this model");
  }
  const auto total = static_cast<double>(visual);
  std::vector<ScheduleStage> stages;
  double deleted = 0;
  std::int64_t present = visual;
  for (int layer = 0; layer < layers; ++layer) {
    const double here = recipe.deletions[static_cast<std::size_t>(layer)];
    deleted += recipe.shares ? here * total : here;
    const auto left = static_cast<std::int64_t>(std::llround(total - deleted));
    if (left >= present) continue;
    if (left < 1) {
      return make_error(ErrorCode::usage,
                        "the FitPrune recipe deletes all " + std::to_string(visual) +
                            " visual tokens of the prompt by layer " + std::to_string(layer))
          .in_field("deletions")
          .with_remedy("Calibrate a recipe with pictures of this size, or give shares");
    }
    stages.push_back({layer, {static_cast<double>(left), false}});
    present = left;
  }
  return stages;
}

namespace {

/// Whether each of the present tokens is among the lowest whose values add up to at most `alpha` of
/// the sum over all present ones.
std::vector<bool> lowest(const std::vector<float>& values, const std::vector<std::size_t>& present,
                         double alpha) {
  std::vector<std::size_t> order = present;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  double total = 0;
  for (const std::size_t token : present) total += values[token];
  std::vector<bool> low(values.size(), false);
  double sum = 0;
  for (const std::size_t token : order) {
    sum += values[token];
    if (sum > alpha * total) break;
    low[token] = true;
  }
  return low;
}

/// Deletions of one sample at every layer under an allowance.
std::vector<double> deletions_of(const FitPruneSample& sample, double alpha) {
  std::vector<std::size_t> present(sample.cross[0].size());
  std::iota(present.begin(), present.end(), std::size_t{0});
  std::vector<double> deletions;
  for (std::size_t layer = 0; layer < sample.cross.size(); ++layer) {
    const std::vector<bool> by_text = lowest(sample.cross[layer], present, alpha);
    const std::vector<bool> by_picture = lowest(sample.self[layer], present, alpha);
    const std::size_t before = present.size();
    std::vector<std::size_t> left;
    for (const std::size_t token : present) {
      if (!by_text[token] || !by_picture[token]) left.push_back(token);
    }
    if (left.empty()) left.push_back(present.front());
    present = std::move(left);
    deletions.push_back(static_cast<double>(before - present.size()));
  }
  return deletions;
}

/// Mean deletions, as whole tokens whose running sum is the rounded running mean.
FitPruneRecipe mean_recipe(std::span<const FitPruneSample> samples, double alpha) {
  FitPruneRecipe recipe;
  recipe.deletions.assign(samples[0].cross.size(), 0.0);
  for (const FitPruneSample& sample : samples) {
    const std::vector<double> own = deletions_of(sample, alpha);
    for (std::size_t layer = 0; layer < own.size(); ++layer) recipe.deletions[layer] += own[layer];
  }
  double exact = 0, whole = 0;
  for (double& deletion : recipe.deletions) {
    exact += deletion / static_cast<double>(samples.size());
    deletion = std::round(exact) - whole;
    whole += deletion;
  }
  return recipe;
}

double saved_flops(const FitPruneRecipe& recipe, const BudgetShape& shape, std::int64_t visual,
                   std::int64_t text) {
  PruningRecord record;
  record.initial = visual;
  std::int64_t present = visual;
  for (std::size_t layer = 0; layer < recipe.deletions.size(); ++layer) {
    present -= static_cast<std::int64_t>(recipe.deletions[layer]);
    StageRecord& stage = record.stages.emplace_back();
    stage.when = Hook::after_attention;
    stage.layer = static_cast<int>(layer);
    stage.kept.resize(static_cast<std::size_t>(present));
  }
  const BudgetReport report = account(record, shape, text);
  return 1 - report.prefill_flops / report.prefill_flops_unpruned;
}

Status check_samples(std::span<const FitPruneSample> samples, int layers) {
  const auto wrong = [](std::string message) {
    return make_error(ErrorCode::usage, std::move(message)).in_field("samples");
  };
  if (samples.empty()) return wrong("FitPrune is fitted to at least one sample");
  const std::size_t visual = samples[0].cross.empty() ? 0 : samples[0].cross[0].size();
  if (visual == 0) return wrong("the first sample has no visual tokens");
  for (std::size_t i = 0; i < samples.size(); ++i) {
    for (const auto* statistic : {&samples[i].cross, &samples[i].self}) {
      bool fits = statistic->size() == static_cast<std::size_t>(layers);
      for (const auto& values : *statistic) {
        fits = fits && values.size() == visual &&
               std::all_of(values.begin(), values.end(),
                           [](float v) { return std::isfinite(v) && v >= 0; });
      }
      if (fits) continue;
      return wrong("sample " + std::to_string(i) + " has not the attention of " +
                   std::to_string(visual) + " visual tokens at " + std::to_string(layers) +
                   " layers");
    }
  }
  return {};
}

}  // namespace

Result<FitPruneRecipe> fit_recipe(std::span<const FitPruneSample> samples, const BudgetShape& shape,
                                  const std::string& model, double target) {
  if (!(target >= 0 && target < 1)) {
    return make_error(ErrorCode::usage, "expected a share of FLOPs to save from 0 to below 1")
        .in_field("target");
  }
  FOVEA_CHECK(check_samples(samples, shape.layers));
  const auto visual = static_cast<std::int64_t>(samples[0].cross[0].size());
  std::int64_t text = 0;
  for (const FitPruneSample& sample : samples) text += sample.text_tokens;
  text /= static_cast<std::int64_t>(samples.size());

  const auto reached = [&](const FitPruneRecipe& recipe) {
    return saved_flops(recipe, shape, visual, text) >= target;
  };
  double low = 0, high = 1;
  FitPruneRecipe recipe = mean_recipe(samples, high);
  if (!reached(recipe)) {
    return make_error(ErrorCode::usage,
                      "a target of " + std::to_string(target) +
                          " is out of reach: deleting all "
                          "that the statistics allow saves " +
                          std::to_string(saved_flops(recipe, shape, visual, text)))
        .in_field("target")
        .with_remedy("Choose a lower target");
  }
  while (high - low > 0.01) {
    const double middle = 0.5 * (low + high);
    FitPruneRecipe tried = mean_recipe(samples, middle);
    if (reached(tried)) {
      high = middle;
      recipe = std::move(tried);
    } else {
      low = middle;
    }
  }
  recipe.model = model;
  recipe.target = target;
  return recipe;
}

}  // namespace fovea
