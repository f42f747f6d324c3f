#pragma once
// Asks every question under every setting and control.

#include <vector>

#include "app/eval/answer_file.h"
#include "app/eval/control.h"
#include "app/options.h"
#include "app/setting_runner.h"
#include "pruning/score_record.h"

namespace fovea::app {

/// One column of the result: a pruning setting or a control.
struct EvalColumn {
  std::string name;
  std::size_t setting = 0;         // among the runner's
  std::optional<Control> control;  // then it is no setting
  std::optional<AnswerFile> answers;
  std::shared_ptr<ScoreRecord> scores;  // null: nobody wants them, or it ranks by none
  std::vector<double> seed_accuracies;  // of a column that merge_seeds() made
};

struct EvalRun {
  std::vector<EvalItem> items;
  std::vector<EvalColumn> columns;
  std::vector<std::vector<Outcome>> outcomes;  // [column][item]
};

/// Questions with their labels: those of --limit, then those of the chunk. Errors: those of
/// read_questions() and read_labels().
Result<std::vector<EvalItem>> read_eval_items(const EvalOptions& options);

/// Fills run.outcomes. Questions about one picture come one after the other, so that it is encoded
/// once. What fails for one question stays in its outcome. Errors: cancelled; usage where a setting
/// fits no question; io where an answer could not be written.
Status ask_everything(const EvalOptions& options, SettingRunner& runner, EvalRun& run);

/// Settings that differ by their seed alone become one column, in the first one's place, whose
/// outcomes are the means over the seeds, question by question.
void merge_seeds(const std::vector<PruneSetting>& settings, EvalRun& run);

}  // namespace fovea::app
