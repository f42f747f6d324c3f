#pragma once
// A small model that reads and answers first (SGL, arXiv 2412.03324): its attention tells a large
// model which visual tokens to keep, and where it is sure of its answer the large one never runs.

#include <atomic>
#include <memory>
#include <optional>

#include "pruning/methods/sgl.h"
#include "vlm/session.h"

namespace fovea {

struct GuideOptions {
  int threads = 1;
  std::string chat_template;  // built-in name; empty: recognised from the guide
  MethodRequest prune;        // sgl's schedule, own options and adjustments
  std::optional<PositionMode> positions;
  /// Runs the large model even where the guide's answer is taken, for GuideReport::model_answer.
  bool run_both = false;
};

/// What the guide did for one answer.
struct GuideReport {
  std::shared_ptr<const LlavaModel> model;
  Answer answer;  // the guide's own, with its own times and budget
  double confidence = 0;
  std::optional<double> consistency, score;  // none where nothing asked for the second pass
  double decisive = 0;                       // what was held against the threshold
  bool exited = false;
  std::int64_t kv_bytes = 0;
  double flops = 0;  // tower, prompt, answer and second pass
  /// Visual tokens entering every layer of the large model that would cost as much.
  double entering = 0;
  /// What the large model said and took by itself; none where it never ran. No logits, no trace.
  std::shared_ptr<const Answer> model_answer;
};

/// The guide's part of a conversation that a session of the large model owns: both are asked, and
/// the session's conversation goes on with the answer that was given. Other questions may be put
/// to the session itself in between; it is left pruning nothing.
class GuidedSession {
 public:
  /// `session` must outlive this. Errors: usage when the guide cuts pictures into another grid, or
  /// for options of sgl that make no sense; usage or unsupported when no chat template fits.
  static Result<std::unique_ptr<GuidedSession>> create(Session& session,
                                                       std::shared_ptr<const LlavaModel> guide,
                                                       GuideOptions options);

  /// As Session::ask. Answer::guide tells the guide's part, which every time and budget of the
  /// answer includes: the first token comes after the guide has finished, and keys, values and
  /// FLOPs of the guide are added. Where the guide's answer is taken no visual token enters the
  /// large model, and text, tokens, logits and trace are the guide's.
  Result<Answer> ask(const Question& question, const TextCallback& on_text = {},
                     const std::atomic<bool>* cancel = nullptr);

  const LlavaModel& guide() const { return *guide_model_; }

 private:
  GuidedSession(Session& session, std::shared_ptr<const LlavaModel> guide, GuideOptions options);

  Result<Answer> consult(const Question& question, const std::atomic<bool>* cancel);
  Result<Answer> ask_large(const Question& question, const TextCallback& on_text,
                           const std::atomic<bool>* cancel,
                           std::shared_ptr<const GuideRanking> ranking);
  /// The guide's answer as that of the pair, before the guide's cost is added.
  Answer take_guided(const Answer& guided) const;
  std::shared_ptr<GuideReport> report_on(Answer answer, const SamplingOptions& sampling) const;

  Session& session_;
  std::shared_ptr<const LlavaModel> guide_model_;
  GuideOptions options_;
  SglOptions sgl_;
  std::unique_ptr<Session> guide_;
  std::shared_ptr<Sgl> policy_;
};

}  // namespace fovea
