#pragma once
// A conversation with a loaded model: pictures and questions in, streamed text and everything that
// was measured or traced out.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pruning/accounting.h"
#include "pruning/policy.h"
#include "pruning/visual_token.h"
#include "vision/image.h"
#include "vision/tower_pruner.h"
#include "vlm/attention_observer.h"
#include "vlm/chat_template.h"
#include "vlm/introspection.h"
#include "vlm/llava_model.h"
#include "vlm/prepared_pictures.h"
#include "vlm/sampler.h"
#include "vlm/trace.h"

namespace fovea {

struct Question {
  std::string text;
  /// Pictures shown with this question, in order.
  std::vector<std::shared_ptr<const Image>> images;
  /// When set, this is the whole prompt: no template, `<image>` marks each picture.
  std::optional<std::string> raw_prompt;
  /// Goes on after the turns asked before in this session (chat), instead of starting anew.
  bool continue_conversation = false;

  SamplingOptions sampling;
  bool trace = false;        // keep what attention maps need (Answer::trace)
  bool keep_logits = false;  // fill Answer::logits
  /// For comparisons: nothing kept from earlier questions makes this one look cheaper. No prefix is
  /// resumed, and the times include what encoding each picture took when it was encoded.
  bool as_if_fresh = false;
  std::optional<IntrospectionRequest> introspect;  // fill Answer::introspection
  /// When set, called with the prompt's layout before it is read; what it returns watches the
  /// attention (see PrefillInput::observer), and must outlive the question. Not with `introspect`.
  std::function<AttentionObserver*(const SequenceLayout&)> observe;
};

struct Timings {  // milliseconds; `decode_image` and `load` are the caller's to fill
  double load = 0, decode_image = 0, preprocess = 0, vision = 0, projector = 0, prefill = 0;
  double first_token = 0;  // from the start of preprocessing to the first token
  double per_token = 0;    // mean over the tokens after the first; 0 with fewer than two
  double total = 0;        // of ask()
};

enum class FinishReason { stop, length, cancelled };
const char* finish_reason_name(FinishReason reason);

struct GuideReport;  // guided_session.h

struct Answer {
  std::string text;
  std::vector<std::int32_t> token_ids;         // the end token included when it ended the answer
  std::vector<std::int32_t> prompt_token_ids;  // the placeholder repeated once per visual token
  FinishReason finish_reason = FinishReason::stop;
  SequenceLayout layout;  // of the prompt
  PruningRecord pruning;
  BudgetReport budget;
  Timings timings;
  std::int64_t prefix_reused = 0;  // prompt tokens whose keys and values came from a snapshot
  std::vector<float> logits;       // [token_ids.size(), vocabulary] when asked for
  std::shared_ptr<const Trace> trace;
  std::shared_ptr<const Introspection> introspection;
  std::shared_ptr<const GuideReport> guide;  // of a guided session
};

/// Called with each piece of text as it becomes final, on the calling thread.
using TextCallback = std::function<void(const std::string& piece)>;

struct SessionOptions {
  int threads = 1;
  std::string chat_template;              // built-in name; empty: recognised from the model
  std::shared_ptr<Policy> policy;         // null: no pruning
  std::optional<PositionMode> positions;  // null: the policy's own choice
  std::shared_ptr<TowerPruner> tower;     // null: the vision tower runs whole
  std::optional<AspectMode> aspect;       // null: the model's own choice
};

/// The turns so far and the pictures shown in them.
struct Conversation {
  std::vector<ChatTurn> turns;
  std::vector<std::shared_ptr<const Image>> images;
};

class Session {
 public:
  /// Errors: usage or unsupported when no chat template fits.
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const LlavaModel> model,
                                                 SessionOptions options);
  ~Session();

  /// Errors: usage (an empty question, pictures that do not match the marks, a prompt longer than
  /// the model's context, two methods for the vision tower), bad_input, out_of_memory. A cancelled
  /// answer is no error: it comes back with finish_reason cancelled and the text so far. Setting
  /// *cancel from another thread stops the run between two operations.
  Result<Answer> ask(const Question& question, const TextCallback& on_text = {},
                     const std::atomic<bool>* cancel = nullptr);

  /// How the questions from now on are pruned; a null policy prunes nothing. A policy of the vision
  /// tower (VisionZip) acts there and leaves the decoder whole.
  void prune_with(std::shared_ptr<Policy> policy, std::optional<PositionMode> positions = {});
  /// Prunes in the vision tower, beside what the policy does in the decoder; null: the tower runs
  /// whole. Survivors' positions run on without gaps unless original ones were asked for.
  void prune_tower_with(std::shared_ptr<TowerPruner> tower);

  /// Forgets the last turn, so that its question can be asked again in the same place of the
  /// conversation (with other pruning, say). Without any turn nothing happens.
  void forget_last_turn();

  const Conversation& conversation() const;
  /// Goes on from another conversation, perhaps one that another model had.
  void continue_from(Conversation conversation);

  /// Forgets the conversation and the cached pictures.
  void reset();

  /// Lets another session, asked about the same pictures, use the pixels this one has prepared,
  /// and the other way round. Null ends that; it must be ended before *shared goes.
  void share_preprocessing(PreparedPictures* shared);

  const std::string& template_name() const;
  const LlavaModel& model() const;
  /// What happens to pictures that are not square.
  AspectMode aspect() const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
