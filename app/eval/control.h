#pragma once
// What an accuracy must be read beside: answers that need no picture, or the wrong one, or only the
// part of it that holds the answer.

#include <optional>
#include <string>
#include <vector>

#include "app/prune_setup.h"
#include "app/question_file.h"

namespace fovea::app {

struct Control {
  enum class Kind {
    majority,       // the most frequent right answer among questions of the same form; no model
    shuffled,       // the pictures of another question
    no_visual,      // no visual token passes the cut
    evidence_only,  // only the evidence passes the cut; asked where a question has evidence
    drop_evidence,  // all but the evidence passes the cut; asked where a question has evidence
  };
  std::string name;  // as it was written
  Kind kind = Kind::majority;
  int layer = 0;  // the cut lies before it
  /// Mean number of visual tokens that enter a layer. Beside the evidence (or in its absence) as
  /// many others are drawn by lot, or of the evidence as many as fit; no_visual cuts so much later.
  std::optional<double> budget;
  bool budget_is_share = false;  // of the prompt's visual tokens
  std::optional<PositionMode> positions;  // none: original
};

/// NAME[:layers=L][:budget=N][:positions=original|compact]; the keys only where tokens are cut, and
/// no_visual takes layers or a budget. Errors: usage, naming what there is.
Result<Control> read_control(const std::string& written);

/// A question's prompt, as far as a control must know it.
struct ControlPrompt {
  std::int64_t visual = 0;  // visual tokens
  int layers = 0;           // of the model
};

/// The cut of a control for one question, through the selection path of every pruner; nothing for
/// controls that cut nothing, and none where the question lacks the evidence that is asked for.
/// Errors: usage for a budget that the cut's layer cannot reach.
Result<std::optional<PruneSetup>> control_setup(const Control& control, const EvalItem& item,
                                                const ControlPrompt& prompt);

/// For each question the pictures it is shown when pictures are shuffled: those of another
/// question with as many, by a fixed seed. Empty where there are no others (or no pictures).
std::vector<std::vector<std::string>> shuffled_pictures(const std::vector<EvalItem>& items);

/// For each question the most frequent right answer of its form. A form is the category and the
/// words of the question that at least one question of twenty in the category has, the others left
/// out; forms of fewer than ten questions count as one with the rest of their category. The answers
/// are counted on the very questions they are then judged by: no constant answer can do better.
std::vector<std::string> majority_answers(const std::vector<EvalItem>& items);

}  // namespace fovea::app
