#pragma once
// What a model's own run says about the pictures and about its answer: which visual tokens its text
// looked at, how sure it was of each step, and whether it stands by the answer when it sees only
// the tokens that mattered (SGL, arXiv 2412.03324).

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pruning/methods/sgl.h"
#include "vlm/llava_model.h"

namespace fovea {

struct IntrospectionRequest {
  /// Prompt rows whose attention makes a token important: RowSet::text (the paper) or
  /// RowSet::from_last_visual (the released code).
  RowSet rows = RowSet::text;
  /// Share of the visual tokens that the consistency pass sees; none: no such pass.
  std::optional<double> consistency_ratio = 0.05;
};

struct Introspection {
  std::shared_ptr<const GuideRanking> ranking;
  std::vector<double> step_maxima;  // per answer token: probability of the likeliest one
  /// Per answer token: its probability when the answer is read again after a pruned prompt; empty
  /// without a consistency pass.
  std::vector<double> reread;
  double consistency_ms = 0;
  double consistency_flops = 0;
  std::uint64_t fingerprint = 0;  // of the prompt
};

/// What the two passes say together.
struct AnswerScores {
  double confidence = 0;
  std::optional<double> consistency, score;  // none without a consistency pass
};
AnswerScores score_answer(const Introspection& found);

/// Geometric mean of the step maxima; 0 for none.
double answer_confidence(std::span<const double> step_maxima);
/// Product of the probabilities, not normalised by length: long answers score low, as published.
double answer_consistency(std::span<const double> probabilities);
/// Mean of the two, from 0 to 1.
double exit_score(double confidence, double consistency);

/// Probability of the likeliest token, and of one token, under logits.
double largest_probability(std::span<const float> logits);
double probability_of(std::span<const float> logits, std::int32_t token);

struct Reread {
  std::vector<double> probabilities;  // of each answer token, after all before it
  double flops = 0;
};

/// Reads a prompt (`embeddings` f32 [prompt tokens, hidden]) and the answer to it in one pass, with
/// visual tokens pruned before layer 0 to int(ratio x visual tokens) by `ranking`, at their
/// original positions. Errors: cancelled, out_of_memory.
Result<Reread> reread_answer(Context& context, const LlavaModel& model,
                             const SequenceLayout& prompt, ConstTensorView embeddings,
                             std::span<const std::int32_t> answer,
                             std::shared_ptr<const GuideRanking> ranking, double ratio);

}  // namespace fovea
