// fovea calibrate exit: from the scores of a guide's answers to the threshold at which it answers a
// wanted share of the questions itself.

#include "app/calibrate_samples.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/report.h"
#include "app/text.h"
#include "pruning/exit_calibration_file.h"
#include "vlm/exit_calibration.h"

namespace fovea::app {
namespace {

/// What decides about the answer to one question.
Result<double> exit_value(const CalibrateExitOptions& options, Session& session,
                          Question& question) {
  question.sampling.min_new_tokens = 1;  // as a guide is asked
  IntrospectionRequest request;
  const bool by_score = options.exit_by == "score";
  if (!by_score) request.consistency_ratio.reset();
  question.introspect = request;
  FOVEA_TRY(const Answer answer, session.ask(question, {}, &interrupted()));
  if (answer.finish_reason == FinishReason::cancelled) {
    return make_error(ErrorCode::cancelled, "stopped while answering");
  }
  const AnswerScores scores = score_answer(*answer.introspection);
  return by_score ? *scores.score : scores.confidence;
}

}  // namespace

int run_calibrate_exit(const CalibrateExitOptions& options) {
  SampleRun run;
  if (const int code = prepare_samples(options, run); code != kExitOk) return code;
  std::vector<double> values;
  const auto errors = for_each_sample(options, run, [&](Question& question) -> Status {
    FOVEA_TRY(const double value, exit_value(options, *run.session, question));
    values.push_back(value);
    return {};
  });
  if (!errors) return report_error(errors.error());
  const auto found = calibrate_exit(values, options.share);
  if (!found) {
    for (const Error& error : *errors) report_error(error);
    return report_error(found.error());
  }

  ExitCalibration calibration;
  calibration.exit_by = options.exit_by == "confidence" ? ExitBy::confidence : ExitBy::score;
  calibration.threshold = found->threshold;
  calibration.share_wanted = options.share;
  calibration.share = found->share;
  calibration.questions = values.size();
  calibration.guide = run.model->config().model_id;
  calibration.guide_sha256 = run.model->sha256();
  return finish_calibration(
      options, to_json(calibration), *errors,
      format("%zu of %zu answers have a %s above %.6g (%.1f %%, %.1f %% wanted)\n", found->exits,
             values.size(), options.exit_by.c_str(), found->threshold, 100 * found->share,
             100 * options.share));
}

}  // namespace fovea::app
