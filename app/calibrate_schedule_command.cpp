// fovea calibrate schedule: from the change points of attention over the layers to the layers after
// which AdaptInfer cuts.

#include "app/calibrate_samples.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/report.h"
#include "app/text.h"
#include "pruning/change_points.h"
#include "pruning/schedule_calibration.h"
#include "vlm/attention_profiles.h"

namespace fovea::app {
namespace {

std::string summary(const ScheduleCalibration& calibration) {
  std::string text = format("change points of %lld questions, layer by layer:",
                            static_cast<long long>(calibration.questions));
  for (const std::int64_t count : calibration.change_points) {
    text += format(" %lld", static_cast<long long>(count));
  }
  text += "\ncuts:";
  for (const ScheduleStage& stage : calibration.stages) {
    text += format(" after layer %d keep %lld;", stage.layer,
                   static_cast<long long>(stage.keep.tokens(calibration.visual)));
  }
  text.back() = '\n';
  return text + format("%.1f of %lld visual tokens enter a layer on average\n",
                       entering_mean(calibration.stages, CutSide::after, calibration.layers,
                                     calibration.visual),
                       static_cast<long long>(calibration.visual));
}

}  // namespace

int run_calibrate_schedule(const CalibrateScheduleOptions& options) {
  SampleRun run;
  if (const int code = prepare_samples(options, run); code != kExitOk) return code;
  const int layers = static_cast<int>(run.model->config().decoder.layers);
  ChangePoints points(layers);
  const auto errors = for_each_sample(options, run, [&](Question& question) -> Status {
    if (question.images.empty()) return {};  // nothing to look at
    std::optional<AttentionProfiles> profiles;
    question.observe = [&](const SequenceLayout& layout) {
      return &profiles.emplace(layout, std::vector<AttentionProfiles::Request>{{}});
    };
    FOVEA_CHECK(read_prompt(*run.session, question));
    return points.add(profiles->profile(0));
  });
  if (!errors) return report_error(errors.error());
  if (points.samples() == 0) {
    for (const Error& error : *errors) report_error(error);
    return report_error(make_error(ErrorCode::bad_input, "no question with a picture could be read")
                            .in_file(options.questions));
  }

  ScheduleCalibration calibration;
  calibration.layers = layers;
  calibration.visual = run.model->config().visual_tokens_per_image();
  calibration.change_points = points.histogram();
  calibration.questions = points.samples();
  calibration.model = {run.model->config().model_id, run.model->sha256()};
  auto stages = stages_at(densest_layers(points.histogram(), options.stages), layers,
                          calibration.visual, options.budget);
  if (!stages) return report_error(stages.error().in_field("--budget"));
  calibration.stages = std::move(*stages);
  return finish_calibration(options, to_json(calibration), *errors, summary(calibration));
}

}  // namespace fovea::app
