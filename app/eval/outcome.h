#pragma once
// What became of one question under one setting.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/question_file.h"
#include "vlm/session.h"

namespace fovea::app {

struct Outcome {
  enum class State {
    skipped,  // the setting does not apply to this question
    answered,
    failed,  // counts as answered wrongly
  };
  State state = State::skipped;
  double score = 0;  // 1 right, 0 wrong, between them for descriptions
  std::string text;
  std::optional<Error> error;

  bool ran = false;  // the model gave the answer: what follows was measured
  std::vector<std::int32_t> token_ids;
  FinishReason finish_reason = FinishReason::stop;
  std::int64_t visual = 0;  // visual tokens of the prompt; 0 for a text question
  double equivalent = 0, entering_mean = 0, first_token_ms = 0, total_ms = 0;
  /// What a guide's work is worth, in visual tokens entering every layer; none without a guide.
  std::optional<double> guide_entering;
  bool exited = false;  // a guide's answer was taken
  /// What the answers file tells of a guide, so that other thresholds can be tried afterwards:
  /// {"text", "right", "answer_score" (0 to 1), "confidence", "consistency", "score", "exit_value",
  /// "first_token_ms", "total_ms", "consistency_ms"} and, where the large model ran, its
  /// {"model_text", "model_right", "model_answer_score", "model_first_token_ms", "model_total_ms"}
  /// without the guide; else null.
  Json guide;

  /// Share of the evidence that entered the layers behind the first cut, on average, and that was
  /// there after the last cut; 1 where nothing was cut. None without evidence.
  std::optional<double> evidence_kept, evidence_kept_last;
  /// Share of the tokens that entered the layers behind the first cut (all layers, where nothing
  /// was cut) that look at padding by more than half of their cell. None where there is no padding.
  std::optional<double> padding_share;

  bool counts() const { return state != State::skipped; }
};

/// Outcome of an answer that the model gave to the item.
Outcome outcome_of(const Answer& answer, const EvalItem& item, int layers);
Outcome failed_outcome(Error error);

/// The "metadata" of an answer line, and back. What an older line lacks stays at its default; the
/// score is taken from the text anew. None for a line that tells of no answer.
Json outcome_metadata(const Outcome& outcome);
std::optional<Outcome> outcome_from_line(const Json& line, const Label& label);

}  // namespace fovea::app
