// fovea ask: one question, one streamed answer.

#include <array>

#include "app/commands.h"
#include "app/compare.h"
#include "app/exit_code.h"
#include "app/question_run.h"
#include "app/report.h"
#include "app/score_dump.h"
#include "kernels/base/npy.h"

namespace fovea::app {
namespace {

Status write_logits(const std::string& path, const Answer& answer) {
  const auto steps = static_cast<std::int64_t>(answer.token_ids.size());
  const auto values = static_cast<std::int64_t>(answer.logits.size());
  const std::array<std::int64_t, 2> shape{steps, steps > 0 ? values / steps : 0};
  if (shape[0] * shape[1] != values) {
    return make_error(ErrorCode::internal, "logits do not match the answer's tokens");
  }
  return write_npy(path, shape, std::span<const float>(answer.logits));
}

}  // namespace

int run_ask(const AskOptions& options) {
  if (!options.compare.empty()) return run_compare(options);
  QuestionRun run;
  const Keep keep{.trace = false,
                  .logits = !options.dump_logits.empty(),
                  .scores = !options.dump_scores.empty()};
  if (const int code = run_question(options, keep, run); code != kExitOk) return code;
  if (keep.logits) {
    if (const auto written = write_logits(options.dump_logits, run.answer); !written) {
      return report_error(written.error());
    }
  }
  if (keep.scores) {
    const auto written = write_scores(options.dump_scores, *run.scores, run.answer);
    if (!written) return report_error(written.error());
  }
  if (options.output.json) {
    const Json json = answer_json(run.answer, run.prune.setting, *run.model, run.threads);
    if (const auto written = write_json(options.output, json); !written) {
      return report_error(written.error());
    }
  }
  if (!options.output.quiet && !options.output.json_on_stdout()) {
    print_summary(run.answer, run.prune.setting, *run.model, run.threads);
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return kExitOk;
}

}  // namespace fovea::app
