#pragma once
// What BatchSession keeps, and one call of its answer(); seen by their own source files only.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "vlm/answer_writer.h"
#include "vlm/batch_session.h"
#include "vlm/decoder_batch.h"
#include "vlm/prompt_embedding.h"
#include "vlm/stopwatch.h"

namespace fovea {

/// One question under way.
struct Running {
  std::size_t index = 0;  // among the questions
  const Question* question = nullptr;
  std::vector<std::shared_ptr<const PictureFeatures>> features;
  EncodedPrompt prompt;
  std::int64_t next_position = 0;  // behind the prompt
  double bytes = 0;                // of keys and values, at most
  PruningPlan plan;
  DecoderState state;
  Answer answer;
  std::optional<AnswerWriter> writer;
  double first_token_ms = 0;  // since the call
};
using Runners = std::vector<std::unique_ptr<Running>>;

struct BatchSession::Impl {
  static constexpr std::size_t kCachedPictures = 96;  // as a session

  std::shared_ptr<const LlavaModel> model;
  BatchOptions options;
  ChatTemplate chat_template;
  AspectMode aspect = AspectMode::crop;
  Context context;
  PictureFeatureCache pictures{kCachedPictures};
  std::shared_ptr<TowerPruner> tower;
  std::vector<std::shared_ptr<Policy>> policies;  // of the decoder, made as they are needed
  double memory = 0;
  BatchTimings timings;

  bool prunes() const { return !policies.empty(); }
  Result<Policy*> policy(std::size_t place);
  Status prepare(Running& running, std::map<const Image*, PictureFeatureCache::Found>& seen);
  Status read(std::span<const std::unique_ptr<Running>> runners, TensorView logits);
};

/// One call of answer().
class BatchCall {
 public:
  BatchCall(BatchSession::Impl& session, std::span<const Question> questions,
            const BatchSession::Callback& on_answer)
      : session_(session),
        context_(session.context),
        questions_(questions),
        on_answer_(on_answer),
        results_(questions.size()),
        batch_(session.context, session.model->decoder()) {
    for (std::size_t i = 0; i < questions.size(); ++i) waiting_.push_back(i);
  }

  std::vector<Result<Answer>> run();

 private:
  Status admit();
  /// Looks at the pictures of the next questions, and takes as many of them as memory allows.
  Result<Runners> take_next(std::size_t most);
  Status see(const std::vector<std::size_t>& indices);
  Status read_prompts(Runners fresh);
  Status read_pass(Runners& pass);
  Status start(Runners& pass, TensorView logits);
  /// Those of a pass that have not gone on end with an error.
  void fail(Runners& pass, const Error& error);
  Status step();
  Status say(std::span<const std::int32_t> choices);
  Status drop_ended(bool drain);
  void finish(std::size_t index, Result<Answer> answer);
  void finish_answer(Running& running);
  void fail_all(const Error& error);
  void cancel_all();

  BatchSession::Impl& session_;
  Context& context_;
  std::span<const Question> questions_;
  const BatchSession::Callback& on_answer_;
  std::vector<std::optional<Result<Answer>>> results_;
  std::deque<std::size_t> waiting_;
  std::map<const Image*, PictureFeatureCache::Found> seen_;
  std::map<const Image*, Error> unseen_;
  Runners running_;  // by place in the batch
  double bytes_ = 0;
  bool blocked_ = false;  // by memory, until somebody is done
  DecoderBatch batch_;
  Stopwatch since_call_;
};

}  // namespace fovea
