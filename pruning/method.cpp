#include "pruning/method.h"

#include <algorithm>

#include "pruning/methods/adaptinfer.h"
#include "pruning/methods/baselines.h"
#include "pruning/methods/divprune.h"
#include "pruning/methods/fastv.h"
#include "pruning/methods/fitprune.h"
#include "pruning/methods/given_scores.h"
#include "pruning/methods/given_tokens.h"
#include "pruning/methods/himap.h"
#include "pruning/methods/pyramiddrop.h"
#include "pruning/methods/sgl.h"
#include "pruning/methods/sparsevlm.h"
#include "pruning/methods/visionzip.h"
#include "pruning/methods/zipvl.h"

namespace fovea {

namespace {

/// The value of an option, or `fallback` where the user said nothing.
std::string option_or(const MethodRequest& request, const char* name, const char* fallback) {
  const auto found = request.options.find(name);
  return found == request.options.end() ? fallback : found->second;
}

/// A policy that ranks by a score, with the request's adjustments.
template <class P, class... Args>
std::shared_ptr<Policy> scoring(const MethodRequest& request, Args&&... args) {
  auto policy = std::make_shared<P>(std::forward<Args>(args)...);
  for (const auto& adjustment : request.adjustments) policy->add_adjustment(adjustment);
  return policy;
}

Result<std::shared_ptr<Policy>> make_adaptinfer(const MethodRequest& request) {
  FOVEA_TRY(std::shared_ptr<Policy> policy, AdaptInfer::make(request));
  return policy;
}

Result<std::shared_ptr<Policy>> make_fastv(const MethodRequest& request) {
  return scoring<FastV>(request, request.schedule);
}

Result<std::shared_ptr<Policy>> make_himap(const MethodRequest& request) {
  return scoring<HiMap>(request, request.schedule);
}

Result<std::shared_ptr<Policy>> make_pyramiddrop(const MethodRequest& request) {
  return scoring<PyramidDrop>(request, request.schedule);
}

/// Without a guided session, which makes its own, the policy has no ranking and says so.
Result<std::shared_ptr<Policy>> make_sgl(const MethodRequest& request) {
  FOVEA_TRY(std::shared_ptr<Policy> policy, Sgl::make(request));
  return policy;
}

Result<std::shared_ptr<Policy>> make_divprune(const MethodRequest& request) {
  return std::shared_ptr<Policy>(std::make_shared<DivPrune>(request.schedule));
}

Result<std::shared_ptr<Policy>> make_sparsevlm(const MethodRequest& request) {
  const bool v2 = option_or(request, "version", "1") == "2";
  return scoring<SparseVlm>(request, request.schedule,
                            v2 ? SparseVlmVersion::v2 : SparseVlmVersion::v1);
}

Result<std::shared_ptr<Policy>> make_fitprune(const MethodRequest& request) {
  FOVEA_TRY(std::shared_ptr<Policy> policy, FitPrune::make(request));
  return policy;
}

Result<std::shared_ptr<Policy>> make_zipvl(const MethodRequest& request) {
  FOVEA_TRY(std::shared_ptr<Policy> policy, ZipVl::make(request));
  return policy;
}

Result<std::shared_ptr<Policy>> make_random(const MethodRequest& request) {
  return scoring<RandomChoice>(request, request.schedule, request.seed);
}

Result<std::shared_ptr<Policy>> make_uniform(const MethodRequest& request) {
  return scoring<UniformChoice>(request, request.schedule);
}

const std::vector<Method>& table() {
  static const std::vector<Method> rows{
      {"adaptinfer",
       "2508.06084",
       "attention of the text, each word weighted by its ties to others",
       adaptinfer_presets,
       kAdaptInferDefaultPreset,
       CutSide::after,
       {{"weighting", "text_prior|uniform|last_row", "how text rows count (default text_prior)"},
        {"schedule", "calibrated|even",
         "cuts where preset or --prune-config have them (default), or at even distances"}},
       make_adaptinfer,
       true},
      {"fastv",
       "2403.06764",
       "attention of the last prompt token, one cut",
       fastv_presets,
       kFastVDefaultPreset,
       CutSide::before,
       {},
       make_fastv},
      {"himap",
       "2503.13108",
       "attention of the text, then of the picture itself",
       himap_presets,
       kHiMapDefaultPreset,
       CutSide::before,
       {},
       make_himap},
      {"pyramiddrop",
       "2410.17247",
       "attention of the last prompt token in the next layer, cut in steps",
       pyramiddrop_presets,
       kPyramidDropDefaultPreset,
       CutSide::before,
       {},
       make_pyramiddrop},
      {"sgl",
       "2412.03324",
       "attention of a small model that answers first (needs --guide)",
       sgl_presets,
       kSglDefaultPreset,
       CutSide::before,
       {{"guide-layer", "F", "cut before layer int(F x layers) (default 0.4)"},
        {"guide-ratio", "F", "keep int(F x visual tokens) (default 0.4)"},
        {"guide-rows", "text|from-last-visual",
         "rows of the guide that count: the paper's (default) or the released code's"},
        {"exit-threshold", "F", "take the guide's answer where its score is above (default never)"},
        {"exit-by", "score|confidence|random", "what is held against it (default score)"}},
       make_sgl,
       true},
      {"divprune",
       "2503.02175",
       "the tokens that are least alike, before the decoder",
       divprune_presets,
       kDivPruneDefaultPreset,
       CutSide::before,
       {},
       make_divprune},
      {"visionzip",
       "2412.04467",
       "in the vision tower: what the class token sees, and merged tokens for the rest",
       visionzip_presets,
       kVisionZipDefaultPreset,
       CutSide::before,
       {{"contextual", "N", "merged tokens among those kept (default 10 of 64)"}},
       VisionZip::make},
      {"sparsevlm",
       "2410.04417",
       "attention of the words that the picture is about; what is dropped is partly merged",
       sparsevlm_presets,
       kSparseVlmDefaultPreset,
       CutSide::after,
       {{"version", "1|2", "2 listens to fewer heads and merges nothing (default 1)"}},
       make_sparsevlm},
      {"fitprune",
       "2409.10197",
       "attention of text and picture, cut at many layers by a fitted recipe (--prune-config)",
       fitprune_presets,
       "",
       CutSide::after,
       {},
       make_fitprune,
       true},
      {"zipvl",
       "2410.08584",
       "tokens that carry little attention skip it; the sequence stays whole",
       zipvl_presets,
       kZipVlDefaultPreset,
       CutSide::before,
       {{"tau", "F", "share of attention that is kept, from 0 to 1 (default: the preset's)"}},
       make_zipvl},
      {"random",
       "",
       "drawn by lot: a yardstick",
       baseline_presets,
       kBaselineDefaultPreset,
       CutSide::before,
       {},
       make_random},
      {"uniform",
       "",
       "at even distances: a yardstick",
       baseline_presets,
       kBaselineDefaultPreset,
       CutSide::before,
       {},
       make_uniform},
      {"given_scores",
       "",
       "a ranking of your own: --scores FILE.npy",
       baseline_presets,
       kBaselineDefaultPreset,
       CutSide::before,
       {},
       GivenScores::make,
       true,
       true},
      {"given_tokens",
       "",
       "a choice of your own: --keep FILE",
       given_tokens_presets,
       "",
       CutSide::before,
       {},
       GivenTokens::make,
       true,
       true},
  };
  return rows;
}

bool takes_value(const MethodOption& option, const std::string& value) {
  const std::string values = "|" + std::string(option.values) + "|";
  // An option whose values are no list (a number, a file) is checked by the method itself.
  return values.find('|', 1) == values.size() - 1 ||
         (!value.empty() && values.find("|" + value + "|") != std::string::npos);
}

}  // namespace

std::span<const Method> methods() {
  return table();
}

const Method* find_method(const std::string& name) {
  const auto found = std::find_if(table().begin(), table().end(),
                                  [&](const Method& method) { return name == method.name; });
  return found == table().end() ? nullptr : &*found;
}

Result<std::shared_ptr<Policy>> make_policy(const MethodRequest& request) {
  const Method* method = find_method(request.name);
  if (method == nullptr) {
    std::string names;
    for (const Method& known : table())
      names += (names.empty() ? "" : ", ") + std::string(known.name);
    return make_error(ErrorCode::usage, "no pruning method is called \"" + request.name + "\"")
        .in_field("--prune")
        .with_remedy("There are: " + names);
  }
  for (const auto& [name, value] : request.options) {
    const auto option = std::find_if(method->options.begin(), method->options.end(),
                                     [&](const MethodOption& known) { return name == known.name; });
    if (option == method->options.end()) {
      return make_error(ErrorCode::usage,
                        std::string(method->name) + " has no option \"" + name + "\"")
          .in_field("--prune-option");
    }
    if (!takes_value(*option, value)) {
      return make_error(ErrorCode::usage, "option \"" + name + "\" of " + method->name +
                                              " does not take \"" + value + "\"")
          .in_field("--prune-option")
          .with_remedy("It takes " + std::string(option->values));
    }
  }
  if (!request.config.empty() && !method->reads_config) {
    return make_error(ErrorCode::usage, std::string(method->name) + " reads no calibration file")
        .in_field("--prune-config")
        .with_remedy("Leave out --prune-config, or choose another --prune");
  }
  FOVEA_TRY(auto policy, method->make(request));
  if (!request.adjustments.empty() && !policy->takes_adjustments()) {
    return make_error(ErrorCode::usage,
                      std::string(method->name) + " ranks by no score that could be debiased")
        .in_field("--debias")
        .with_remedy("Leave out --debias and --debias-padding, or choose another --prune");
  }
  return policy;
}

}  // namespace fovea
