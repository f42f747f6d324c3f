// fovea calibrate exit: from the scores of a guide's answers to the threshold at which it answers a
// wanted share of the questions itself.

#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/model_folder.h"
#include "app/question_file.h"
#include "app/question_run.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/base/file.h"
#include "pruning/exit_calibration_file.h"
#include "vlm/exit_calibration.h"

namespace fovea::app {
namespace {

Error stopped() {
  return make_error(ErrorCode::cancelled, "stopped; nothing was written");
}

/// What decides about the answer to one question.
Result<double> exit_value(const CalibrateExitOptions& options, Session& session,
                          const EvalItem& item, const std::filesystem::path& folder) {
  if (item.error) return *item.error;
  Question question;
  question.text = item.text;
  std::vector<std::string> files;
  for (const std::string& image : item.images) files.push_back((folder / image).string());
  FOVEA_TRY(question.images, load_pictures(files));
  question.sampling = sampling_options(options.generation);
  question.sampling.min_new_tokens = 1;  // as a guide is asked
  IntrospectionRequest request;
  const bool by_score = options.exit_by == "score";
  if (!by_score) request.consistency_ratio.reset();
  question.introspect = request;
  FOVEA_TRY(const Answer answer, session.ask(question, {}, &interrupted()));
  if (answer.finish_reason == FinishReason::cancelled) return stopped();
  const AnswerScores scores = score_answer(*answer.introspection);
  return by_score ? *scores.score : scores.confidence;
}

struct Scored {
  std::vector<double> values;
  std::vector<Error> errors;
};

/// Errors: cancelled only.
Result<Scored> score_all(const CalibrateExitOptions& options, Session& session,
                         const std::vector<EvalItem>& items) {
  const std::filesystem::path folder =
      options.image_folder.empty() ? default_image_folder(options.questions) : options.image_folder;
  const bool shown = !options.output.quiet && isatty(STDERR_FILENO) != 0;
  Scored scored;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (interrupted()) return stopped();
    auto value = exit_value(options, session, items[i], folder);
    if (value) {
      scored.values.push_back(*value);
    } else if (value.error().code == ErrorCode::cancelled) {
      return value.error();
    } else {
      scored.errors.push_back(std::move(value).error());
    }
    if (shown) std::fprintf(stderr, "\r%zu of %zu", i + 1, items.size());
  }
  if (shown) std::fputs("\r\033[K", stderr);
  return scored;
}

}  // namespace

int run_calibrate_exit(const CalibrateExitOptions& options) {
  const auto items = read_questions(options.questions, options.limit);
  if (!items) return report_error(items.error());
  const auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  const auto guide = load_model(options.model);
  if (!guide) return report_error(guide.error(), Blame::model);
  const auto session = create_session(*guide, load->threads, options.generation, {});
  if (!session) return report_error(session.error(), Blame::model);

  const auto scored = score_all(options, **session, *items);
  if (!scored) return report_error(scored.error());
  for (const Error& error : scored->errors) report_error(error);
  const auto found = calibrate_exit(scored->values, options.share);
  if (!found) return report_error(found.error());

  ExitCalibration calibration;
  calibration.exit_by = options.exit_by == "confidence" ? ExitBy::confidence : ExitBy::score;
  calibration.threshold = found->threshold;
  calibration.share_wanted = options.share;
  calibration.share = found->share;
  calibration.questions = scored->values.size();
  calibration.guide = (*guide)->config().model_id;
  calibration.guide_sha256 = (*guide)->sha256();
  const std::string text = to_json(calibration);
  if (const auto written = write_file_atomically(options.out, text); !written) {
    return report_error(written.error());
  }
  if (options.output.json) {
    auto json = parse_json(text);
    if (!json) return report_error(json.error());
    json->set("failed", static_cast<std::int64_t>(scored->errors.size()));
    json->set("version", version());
    if (const auto written = write_json(options.output, *json); !written) {
      return report_error(written.error());
    }
  }
  if (!options.output.json_on_stdout()) {
    print_text("wrote " + options.out + "\n");
    if (!options.output.quiet) {
      std::fprintf(stderr, "%zu of %zu answers have a %s above %.6g (%.1f %%, %.1f %% wanted)\n",
                   found->exits, scored->values.size(), options.exit_by.c_str(), found->threshold,
                   100 * found->share, 100 * options.share);
    }
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return scored->errors.empty() ? kExitOk : kExitSomeFailed;
}

}  // namespace fovea::app
