#include "pruning/methods/given_scores.h"

#include <algorithm>

#include "kernels/base/npy.h"
#include "pruning/methods/baselines.h"
#include "pruning/placed.h"

namespace fovea {

Result<std::shared_ptr<Policy>> GivenScores::make(const MethodRequest& request) {
  std::vector<float> scores;
  if (!request.config.empty()) {
    FOVEA_TRY(NpyArray array, read_npy(request.config));
    if (array.shape.size() != 1) {
      return make_error(ErrorCode::bad_input, "expected one axis, [visual tokens], found " +
                                                  std::to_string(array.shape.size()) + " axes")
          .in_file(request.config)
          .in_field("--scores");
    }
    scores = std::move(array.values);
  }
  auto policy = std::make_shared<GivenScores>(request.schedule, std::move(scores));
  for (const auto& adjustment : request.adjustments) policy->add_adjustment(adjustment);
  return std::shared_ptr<Policy>(std::move(policy));
}

Result<PruningPlan> GivenScores::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  const auto given = static_cast<std::int64_t>(scores_.size());
  if (given != layout.id_count()) {
    return make_error(ErrorCode::usage, std::to_string(given) +
                                            " scores were given, and the prompt has " +
                                            std::to_string(layout.id_count()) + " visual tokens")
        .with_remedy("Give one score for each, in the order of their ids");
  }
  const auto odd = std::find_if(scores_.begin(), scores_.end(), [](float s) { return s != s; });
  if (odd != scores_.end()) {
    return make_error(ErrorCode::usage,
                      "score " + std::to_string(odd - scores_.begin()) + " is not a number");
  }
  return baseline_plan(request_, layout, shape);
}

Result<TensorView> GivenScores::score(Context& context, int, StageInput& input) {
  std::vector<float> scores;
  for (const std::int32_t id : input.visual_ids()) {
    scores.push_back(scores_[static_cast<std::size_t>(id)]);
  }
  return placed(context, scores);
}

}  // namespace fovea
