// fovea calibrate fitprune: from the attention of sample prompts to a recipe of deletions that
// saves a wanted share of the prefill.

#include "app/calibrate_samples.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/report.h"
#include "app/text.h"
#include "pruning/fitprune_recipe.h"
#include "vlm/attention_profiles.h"
#include "vlm/model_shapes.h"

namespace fovea::app {
namespace {

std::string summary(const FitPruneRecipe& recipe, std::size_t samples) {
  std::string text = format("%zu questions; deletions after the attention of each layer:", samples);
  for (const double deletion : recipe.deletions) text += format(" %.6g", deletion);
  return text + "\n";
}

}  // namespace

int run_calibrate_fitprune(const CalibrateFitPruneOptions& options) {
  SampleRun run;
  if (const int code = prepare_samples(options, run); code != kExitOk) return code;
  std::vector<FitPruneSample> samples;
  const auto errors = for_each_sample(options, run, [&](Question& question) -> Status {
    if (question.images.empty()) return {};  // nothing to look at
    const std::vector<AttentionProfiles::Request> requests{
        {RowSet::text, Reduction::mean, Reduction::max},
        {RowSet::visual, Reduction::mean, Reduction::max}};
    std::optional<AttentionProfiles> profiles;
    question.observe = [&](const SequenceLayout& layout) {
      return &profiles.emplace(layout, requests);
    };
    FOVEA_TRY(const Answer answer, read_prompt(*run.session, question));
    const std::int64_t visual = answer.layout.visual_count();
    if (!samples.empty() && visual != std::int64_t(samples.front().cross.front().size())) {
      return make_error(
                 ErrorCode::usage,
                 format("a recipe is fitted to prompts of one size, and this one has %lld "
                        "visual tokens, the first %zu",
                        static_cast<long long>(visual), samples.front().cross.front().size()))
          .with_remedy("Leave such questions out");
    }
    samples.push_back(
        {profiles->profile(0), profiles->profile(1), answer.layout.tokens() - visual});
    return {};
  });
  if (!errors) return report_error(errors.error());

  const auto recipe =
      fit_recipe(samples, budget_shape(*run.model), run.model->config().model_id, options.target);
  if (!recipe) {
    for (const Error& error : *errors) report_error(error);
    return report_error(recipe.error());
  }
  return finish_calibration(options, to_json(*recipe), *errors, summary(*recipe, samples.size()));
}

}  // namespace fovea::app
