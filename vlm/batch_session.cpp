#include "vlm/batch_session.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <limits>
#include <utility>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/answer_writer.h"
#include "vlm/decoder_batch.h"
#include "vlm/model_memory.h"
#include "vlm/model_shapes.h"
#include "vlm/prompt_embedding.h"
#include "vlm/stopwatch.h"
#include "vlm/tower_stages.h"

namespace fovea {

namespace {

constexpr std::size_t kCachedPictures = 96;  // as a session

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

Status check_question(const Question& question) {
  if (!question.raw_prompt && blank(question.text)) return empty_question();
  FOVEA_CHECK(validate(question.sampling));
  const char* refused = question.continue_conversation ? "go on from earlier turns"
                        : question.trace               ? "be traced"
                        : question.introspect          ? "be looked into"
                        : question.observe             ? "be watched"
                                                       : nullptr;
  if (refused == nullptr) return {};
  return make_error(ErrorCode::unsupported,
                    std::string("a question that is answered beside others cannot ") + refused)
      .in_field("question")
      .with_remedy("Ask it by itself");
}

/// Of what is free, what keys and values may take: the rest is scratch, or other programs'.
Result<double> memory_for_answers(Device device) {
  FOVEA_TRY(const double available, available_memory(device));
  if (available < 0) return std::numeric_limits<double>::infinity();
  constexpr double kScratch = 2e9;
  if (device.kind == DeviceKind::cpu) return 0.5 * available;
  return available - std::min(kScratch, 0.25 * available);
}

Error too_long_for_memory(double needed, double given) {
  char text[160];
  std::snprintf(text, sizeof(text),
                "keys and values of the prompt and its longest answer take %.3f GB, %.3f GB are "
                "there for them",
                needed / 1e9, given / 1e9);
  return make_error(ErrorCode::out_of_memory, text)
      .in_field("question")
      .with_remedy("Ask for fewer new tokens, show fewer pictures, or give more memory");
}

}  // namespace

struct BatchSession::Impl {
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
  Status prepare(Running& running, const std::map<const Image*, PictureFeatureCache::Found>& seen);
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
  Status take_choices();
  Status say(const ConstTensorView& logits, std::span<const std::int32_t> choices);
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

Result<Policy*> BatchSession::Impl::policy(std::size_t place) {
  if (!prunes()) return nullptr;
  while (policies.size() <= place) {
    FOVEA_TRY(auto made, options.policy());
    policies.push_back(std::move(made));
  }
  return policies[place].get();
}

/// The prompt of a question whose pictures were seen.
Status BatchSession::Impl::prepare(Running& running,
                                   const std::map<const Image*, PictureFeatureCache::Found>& seen) {
  const Question& question = *running.question;
  const DecoderConfig& config = model->config().decoder;
  std::vector<PromptPart> parts;
  if (question.raw_prompt) {
    FOVEA_TRY(parts, marked_prompt(*question.raw_prompt, question.images.size()));
  } else {
    parts = chat_template.render({{question.text, static_cast<int>(question.images.size()), ""}});
  }
  std::vector<PromptPicture> shown;
  for (const auto& image : question.images) {
    const PictureFeatureCache::Found& found = seen.at(image.get());
    if (found.fresh) {
      running.answer.timings.preprocess += found.features->preprocess_ms;
      running.answer.timings.vision += found.features->vision_ms;
      running.answer.timings.projector += found.features->projector_ms;
    }
    shown.push_back(prompt_picture(*found.features));
    running.features.push_back(found.features);
  }
  FOVEA_TRY(running.prompt, encode_prompt(parts, shown, model->tokenizer(), model->config()));
  const EncodedPrompt& prompt = running.prompt;
  running.answer.prompt_token_ids = prompt.ids;
  const std::int64_t tokens = prompt.layout.tokens();
  const bool spread = options.positions == PositionMode::original;
  running.next_position = spread ? 1 + *std::max_element(prompt.original_positions.begin(),
                                                         prompt.original_positions.end())
                                 : tokens;
  FOVEA_CHECK(check_room(config, running.next_position));
  FOVEA_TRY(running.writer, AnswerWriter::create(*model, question, running.next_position));
  running.bytes = static_cast<double>(tokens + running.writer->most()) *
                  kv_memory_per_token(model->config(), model->dtype());
  return running.bytes > memory ? too_long_for_memory(running.bytes, memory) : Status{};
}

/// Runs prompts of one pass; each begins anew.
Status BatchSession::Impl::read(std::span<const std::unique_ptr<Running>> runners,
                                TensorView logits) {
  const DecoderConfig& config = model->config().decoder;
  Workspace::Scope scope(context.workspace);
  std::vector<BatchPrompt> prompts(runners.size());
  for (std::size_t i = 0; i < runners.size(); ++i) {
    Running& running = *runners[i];
    const SequenceLayout& layout = running.prompt.layout;
    FOVEA_TRY(Policy* const chooser, policy(i));
    running.plan = {};
    if (tower != nullptr) running.plan.positions = PositionMode::compact;
    if (chooser != nullptr && layout.visual_count() > 0) {
      FOVEA_TRY(running.plan, chooser->plan(layout, model_shape(config)));
    }
    if (options.positions) running.plan.positions = *options.positions;
    running.answer.pruning = {};
    running.answer.pruning.initial = running.prompt.unpruned_visual;
    running.answer.pruning.positions = running.plan.positions;
    FOVEA_CHECK(record_tower_stages(running.prompt, running.features, running.answer.pruning));
    running.state = model->decoder().new_state();

    FOVEA_TRY(const TensorView embeddings,
              context.workspace.take(Shape{layout.tokens(), config.hidden_size}, DType::f32));
    FOVEA_CHECK(embed_prompt(context, *model, running.prompt, 0, running.features, embeddings));
    PrefillInput& input = prompts[i].input;
    input.embeddings = embeddings;
    input.layout = &layout;
    if (options.positions == PositionMode::original) {
      input.positions = running.prompt.original_positions;
    }
    input.policy = running.plan.stages.empty() ? nullptr : chooser;
    input.plan = &running.plan;
    prompts[i].state = &running.state;
    prompts[i].record = &running.answer.pruning;
  }
  // Those whose tokens bypass a layer take their turn alone.
  std::vector<BatchPrompt> beside;
  for (const BatchPrompt& prompt : prompts) {
    if (Decoder::reads_beside_others(prompt.input.plan)) beside.push_back(prompt);
  }
  if (beside.size() == prompts.size()) {
    return model->decoder().prefill_batch(context, prompts, logits);
  }
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    FOVEA_CHECK(model->decoder().prefill_batch(context, std::span(prompts).subspan(i, 1),
                                               logits.slice(row, 1)));
  }
  return {};
}

std::vector<Result<Answer>> BatchCall::run() {
  session_.timings = {};
  while (!waiting_.empty() || !running_.empty()) {
    Status went = admit();
    if (went) went = step();
    if (went) continue;
    if (went.error().code == ErrorCode::cancelled) {
      cancel_all();
    } else {
      fail_all(went.error());
    }
  }
  session_.timings.total = since_call_.elapsed_ms();
  std::vector<Result<Answer>> answers;
  for (auto& result : results_) answers.push_back(std::move(*result));
  return answers;
}

/// New questions enter when a good part of the places is free: a pass of few rows reads all the
/// weights too.
Status BatchCall::admit() {
  const std::size_t most = session_.options.most;
  const std::size_t free = most - running_.size();
  const bool few = blocked_ || free < std::max<std::size_t>(1, most / 4);
  if (waiting_.empty() || (!running_.empty() && few)) return {};
  FOVEA_CHECK(drop_ended(true));
  FOVEA_TRY(Runners fresh, take_next(most - running_.size()));
  Stopwatch watch;
  const Status read = read_prompts(std::move(fresh));
  session_.timings.prefill += watch.elapsed_ms();
  return read;
}

Status BatchCall::see(const std::vector<std::size_t>& indices) {
  std::vector<const Image*> images;
  for (const std::size_t index : indices) {
    for (const auto& image : questions_[index].images) {
      const Image* one = image.get();
      const bool known = seen_.contains(one) || unseen_.contains(one) ||
                         std::find(images.begin(), images.end(), one) != images.end();
      if (!known) images.push_back(one);
    }
  }
  auto found =
      session_.pictures.get_all(context_, *session_.model, images, session_.aspect, session_.tower);
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (found[i]) {
      seen_.emplace(images[i], std::move(*found[i]));
    } else if (found[i].error().code == ErrorCode::cancelled) {
      return found[i].error();
    } else {
      unseen_.emplace(images[i], found[i].error());
    }
  }
  return {};
}

Result<Runners> BatchCall::take_next(std::size_t most) {
  if (running_.empty()) bytes_ = 0;
  blocked_ = false;
  std::vector<std::size_t> next;
  while (!waiting_.empty() && next.size() < most) {
    const std::size_t index = waiting_.front();
    waiting_.pop_front();
    if (const Status asked = check_question(questions_[index]); !asked) {
      finish(index, asked.error());
    } else {
      next.push_back(index);
    }
  }
  Stopwatch watch;
  const Status saw = see(next);
  session_.timings.vision += watch.elapsed_ms();
  if (!saw) {
    waiting_.insert(waiting_.begin(), next.begin(), next.end());
    return saw.error();
  }
  Runners fresh;
  for (std::size_t n = 0; n < next.size(); ++n) {
    auto running = std::make_unique<Running>();
    running->index = next[n];
    running->question = &questions_[next[n]];
    const auto bad =
        std::find_if(running->question->images.begin(), running->question->images.end(),
                     [&](const auto& image) { return unseen_.contains(image.get()); });
    if (bad != running->question->images.end()) {
      finish(next[n], unseen_.at(bad->get()));
      continue;
    }
    if (const Status prepared = session_.prepare(*running, seen_); !prepared) {
      finish(next[n], prepared.error());
      continue;
    }
    if (bytes_ + running->bytes > session_.memory) {
      // It waits until others are done; those behind it keep their order.
      blocked_ = true;
      waiting_.insert(waiting_.begin(), next.begin() + static_cast<std::ptrdiff_t>(n), next.end());
      break;
    }
    bytes_ += running->bytes;
    fresh.push_back(std::move(running));
  }
  // Another question about the same picture finds it in the cache; its time was counted.
  seen_.clear();
  return fresh;
}

Status BatchCall::read_prompts(Runners fresh) {
  std::vector<std::int64_t> lengths;
  for (const auto& running : fresh) lengths.push_back(running->prompt.layout.tokens());
  std::size_t first = 0;
  for (const std::size_t count : prefill_passes(lengths)) {
    Runners pass;
    for (std::size_t i = first; i < first + count; ++i) pass.push_back(std::move(fresh[i]));
    first += count;
    if (Status read = read_pass(pass); !read) {  // cancelled: all end as those under way do
      for (Runners* left : {&pass, &fresh}) {
        for (auto& running : *left) {
          if (running != nullptr) running_.push_back(std::move(running));
        }
      }
      return read;
    }
  }
  return {};
}

void BatchCall::fail(Runners& pass, const Error& error) {
  for (auto& running : pass) {
    if (running == nullptr) continue;
    bytes_ -= running->bytes;
    finish(running->index, error);
    running = nullptr;
  }
}

/// Errors: cancelled; others are those of the answers.
Status BatchCall::read_pass(Runners& pass) {
  const std::int64_t vocabulary = session_.model->config().decoder.vocab_size;
  Workspace::Scope scope(context_.workspace);
  Stopwatch watch;
  const Status read = [&]() -> Status {
    FOVEA_TRY(
        const TensorView logits,
        context_.workspace.take({static_cast<std::int64_t>(pass.size()), vocabulary}, DType::f32));
    FOVEA_CHECK(session_.read(pass, logits));
    // Pages for the answers, while the device still works on the prompts.
    for (auto& running : pass) {
      const std::int64_t tokens =
          std::min<std::int64_t>(running->writer->left() - 1, KvCache::kPageTokens);
      if (context_.on_cuda() && tokens > 0) {
        FOVEA_CHECK(running->state.cache.reserve(context_, static_cast<std::int32_t>(tokens)));
      }
    }
    FOVEA_CHECK(synchronize(context_));
    for (auto& running : pass) {
      running->answer.timings.prefill = watch.elapsed_ms() / static_cast<double>(pass.size());
    }
    return start(pass, logits);
  }();
  if (read || read.error().code == ErrorCode::cancelled) return read;
  if (pass.size() == 1) {
    fail(pass, read.error());
    return {};
  }
  // What is wrong with one must not be the others' error.
  for (auto& running : pass) {
    if (running == nullptr) continue;
    Runners alone;
    alone.push_back(std::move(running));
    if (const Status stopped = read_pass(alone); !stopped) {
      running = std::move(alone.front());
      return stopped;
    }
  }
  return {};
}

/// First tokens, and a place in the batch for each answer that goes on.
Status BatchCall::start(Runners& pass, TensorView logits) {
  Workspace::Scope host_scope(context_.host().workspace);
  const bool host = std::any_of(pass.begin(), pass.end(), [](const auto& running) {
    return running->writer->wants_logits();
  });
  ConstTensorView rows;
  std::vector<std::int32_t> choices(pass.size(), -1);
  if (host) {
    FOVEA_TRY(rows, to_host(context_, logits));
  } else {
    FOVEA_TRY(const TensorView there, context_.workspace.take({logits.rows()}, DType::i32));
    FOVEA_CHECK(largest_index(context_, logits, there));
    FOVEA_TRY(const Arriving arriving, Arriving::start(context_, there));
    FOVEA_TRY(const auto arrived, arriving.wait());
    choices.assign(arrived.begin(), arrived.end());
  }
  const double now = since_call_.elapsed_ms();
  for (std::size_t i = 0; i < pass.size(); ++i) {
    std::unique_ptr<Running> running = std::move(pass[i]);
    running->first_token_ms = now;
    running->answer.budget =
        account(running->answer.pruning, budget_shape(*session_.model),
                running->prompt.layout.tokens() - running->prompt.layout.visual_count());
    running->features.clear();
    const auto row = static_cast<std::int64_t>(i);
    const Status said = running->writer->say(host ? rows.slice(row, 1) : ConstTensorView{},
                                             choices[i], running->answer);
    if (!said) {
      bytes_ -= running->bytes;
      finish(running->index, said.error());
      continue;
    }
    if (running->writer->ended()) {
      bytes_ -= running->bytes;
      finish_answer(*running);
      continue;
    }
    const std::int32_t token = running->answer.token_ids.back();
    FOVEA_CHECK(batch_.enter(running->state, token, running->writer->left()));
    running_.push_back(std::move(running));
  }
  return {};
}

Status BatchCall::step() {
  if (running_.empty()) return {};
  Stopwatch watch;
  const Status stepped = [&]() -> Status {
    const bool host = std::any_of(running_.begin(), running_.end(), [](const auto& running) {
      return running->writer->wants_logits();
    });
    if (batch_.pending() == 0) FOVEA_CHECK(batch_.step());
    // On a GPU the next step is ordered before these choices are here; one token too many of an
    // answer that turns out to be at its end is not looked at.
    const bool all_go_on = std::all_of(running_.begin(), running_.end(), [](const auto& running) {
      return running->writer->left() >= 2;
    });
    if (context_.on_cuda() && !host && all_go_on && batch_.pending() == 1) {
      FOVEA_CHECK(batch_.step());
    }
    Workspace::Scope host_scope(context_.host().workspace);
    ConstTensorView rows;
    if (host) {
      FOVEA_TRY(rows, to_host(context_, batch_.logits()));
    }
    FOVEA_TRY(const auto choices, batch_.chosen());
    FOVEA_CHECK(say(rows, choices));
    return drop_ended(false);
  }();
  session_.timings.decode += watch.elapsed_ms();
  return stepped;
}

Status BatchCall::say(const ConstTensorView& logits, std::span<const std::int32_t> choices) {
  for (std::size_t place = 0; place < running_.size(); ++place) {
    Running& running = *running_[place];
    AnswerWriter& writer = *running.writer;
    if (writer.ended()) continue;
    const auto row = static_cast<std::int64_t>(place);
    const Status said =
        writer.say(logits.empty() ? logits : logits.slice(row, 1), choices[place], running.answer);
    if (!said) {
      writer.fail(said.error());
    } else if (!logits.empty() && !writer.ended()) {
      FOVEA_CHECK(batch_.follow(place, running.answer.token_ids.back()));
    }
  }
  return {};
}

/// Answers that are final leave the batch. drain: steps under way are waited for even if nobody
/// leaves.
Status BatchCall::drop_ended(bool drain) {
  const auto ended = [](const auto& running) { return running->writer->ended(); };
  if (!drain && std::none_of(running_.begin(), running_.end(), ended)) return {};
  while (batch_.pending() > 0) {
    FOVEA_TRY(const auto choices, batch_.chosen());
    FOVEA_CHECK(say({}, choices));
  }
  for (std::size_t place = running_.size(); place-- > 0;) {
    if (!running_[place]->writer->ended()) continue;
    const std::unique_ptr<Running> running = std::move(running_[place]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(place));
    batch_.leave(place);
    bytes_ -= running->bytes;
    finish_answer(*running);
  }
  return {};
}

void BatchCall::finish(std::size_t index, Result<Answer> answer) {
  blocked_ = false;
  results_[index] = std::move(answer);
  if (on_answer_) on_answer_(index, *results_[index]);
}

void BatchCall::finish_answer(Running& running) {
  if (running.writer->error()) {
    finish(running.index, *running.writer->error());
    return;
  }
  Answer& answer = running.answer;
  running.writer->finish(answer);
  const double now = since_call_.elapsed_ms();
  answer.timings.first_token = running.first_token_ms;
  answer.timings.total = now;
  const auto produced = static_cast<double>(answer.token_ids.size());
  if (produced > 1) answer.timings.per_token = (now - running.first_token_ms) / (produced - 1);
  answer.layout = std::move(running.prompt.layout);
  finish(running.index, std::move(answer));
}

/// Those under way end with this error; those that wait may have better luck.
void BatchCall::fail_all(const Error& error) {
  while (batch_.size() > 0) batch_.leave(batch_.size() - 1);
  for (const auto& running : std::exchange(running_, {})) finish(running->index, error);
  bytes_ = 0;
  if (error.code != ErrorCode::device) return;
  for (const std::size_t index : std::exchange(waiting_, {})) finish(index, error);
}

void BatchCall::cancel_all() {
  while (batch_.size() > 0) batch_.leave(batch_.size() - 1);
  for (const auto& running : std::exchange(running_, {})) {
    running->answer.finish_reason = FinishReason::cancelled;
    running->writer->cancel();
    finish_answer(*running);
  }
  for (const std::size_t index : std::exchange(waiting_, {})) {
    Answer answer;
    answer.finish_reason = FinishReason::cancelled;
    finish(index, std::move(answer));
  }
}

BatchSession::BatchSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BatchSession::~BatchSession() = default;

Result<std::unique_ptr<BatchSession>> BatchSession::create(std::shared_ptr<const LlavaModel> model,
                                                           BatchOptions options) {
  if (options.most < 1) {
    return make_error(ErrorCode::usage, "at least one answer must be under way")
        .in_field("--batch");
  }
  auto impl = std::make_unique<Impl>();
  const LlavaConfig& config = model->config();
  if (options.chat_template.empty()) {
    FOVEA_TRY(impl->chat_template, ChatTemplate::recognise(config.chat_template));
  } else {
    FOVEA_TRY(impl->chat_template, ChatTemplate::by_name(options.chat_template));
  }
  impl->aspect = options.aspect.value_or(config.preprocess.aspect);
  impl->tower = options.tower;
  if (options.policy) {
    FOVEA_TRY(auto policy, options.policy());
    if (policy != nullptr && policy->in_vision_tower()) {
      if (options.tower != nullptr) {
        return make_error(ErrorCode::usage, policy->name() + " and " + options.tower->name() +
                                                " both prune the vision tower")
            .in_field("--vit-prune")
            .with_remedy("Choose one of them");
      }
      impl->tower = tower_pruner(std::move(policy));
    } else if (policy != nullptr) {
      impl->policies.push_back(std::move(policy));
    }
  }
  FOVEA_TRY(impl->context, make_context(model->device(), options.threads));
  impl->memory = options.memory_bytes;
  if (impl->memory <= 0) {
    FOVEA_TRY(impl->memory, memory_for_answers(model->device()));
  }
  impl->model = std::move(model);
  impl->options = std::move(options);
  return std::unique_ptr<BatchSession>(new BatchSession(std::move(impl)));
}

const BatchTimings& BatchSession::timings() const {
  return impl_->timings;
}

const LlavaModel& BatchSession::model() const {
  return *impl_->model;
}

std::vector<Result<Answer>> BatchSession::answer(std::span<const Question> questions,
                                                 const Callback& on_answer,
                                                 const std::atomic<bool>* cancel) {
  impl_->context.cancel = cancel;
  std::vector<Result<Answer>> answers = BatchCall(*impl_, questions, on_answer).run();
  impl_->context.cancel = nullptr;
  return answers;
}

}  // namespace fovea
