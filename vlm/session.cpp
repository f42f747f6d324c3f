#include "vlm/session.h"

#include <algorithm>
#include <utility>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "vlm/answer_loop.h"
#include "vlm/decoder_trace.h"
#include "vlm/importance.h"
#include "vlm/model_shapes.h"
#include "vlm/picture_features.h"
#include "vlm/prefix_store.h"
#include "vlm/prompt_embedding.h"
#include "vlm/stopwatch.h"
#include "vlm/tower_stages.h"

namespace fovea {

namespace {

/// Clips of eight frames under several ways of pruning the tower.
constexpr std::size_t kCachedPictures = 96;

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "stop";
}

struct Session::Impl {
  std::shared_ptr<const LlavaModel> model;
  SessionOptions options;
  ChatTemplate chat_template;
  AspectMode aspect = AspectMode::crop;
  Context context;
  PictureFeatureCache pictures{kCachedPictures};
  PrefixStore prefixes;
  std::shared_ptr<TowerPruner> policy_tower;  // runs options.policy when it acts in the tower
  // Of the last prompt, whose prefix may be kept.
  std::shared_ptr<TowerPruner> last_tower;
  std::optional<PositionMode> last_positions;

  Conversation conversation;

  void set_policy(std::shared_ptr<Policy> policy);
  /// The pruner of the vision tower; null: none. Errors: usage when there are two.
  Result<std::shared_ptr<TowerPruner>> tower() const;
  /// The policy of the decoder; null: none.
  Policy* decoder_policy() const {
    return policy_tower == nullptr ? options.policy.get() : nullptr;
  }

  Result<Answer> ask(const Question& question, const TextCallback& on_text);
  /// Adds to `spared_ms` what of the timings was not spent now (see Question::as_if_fresh).
  Result<EncodedPrompt> build_prompt(const Question& question, Timings& timings, double& spared_ms,
                                     std::vector<std::shared_ptr<const PictureFeatures>>& features);
  Status introspect(const IntrospectionRequest& request, const EncodedPrompt& prompt,
                    const std::vector<std::shared_ptr<const PictureFeatures>>& features,
                    Importance& importance, std::vector<double> step_maxima, Answer& answer);
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<const LlavaModel> model,
                                                 SessionOptions options) {
  auto impl = std::make_unique<Impl>();
  const LlavaConfig& config = model->config();
  if (options.chat_template.empty()) {
    FOVEA_TRY(impl->chat_template, ChatTemplate::recognise(config.chat_template));
  } else {
    FOVEA_TRY(impl->chat_template, ChatTemplate::by_name(options.chat_template));
  }
  impl->aspect = options.aspect.value_or(config.preprocess.aspect);
  FOVEA_TRY(impl->context, make_context(model->device(), options.threads));
  impl->model = std::move(model);
  impl->options = std::move(options);
  impl->set_policy(impl->options.policy);
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

const std::string& Session::template_name() const {
  return impl_->chat_template.name();
}
const LlavaModel& Session::model() const {
  return *impl_->model;
}

AspectMode Session::aspect() const {
  return impl_->aspect;
}

void Session::share_preprocessing(PreparedPictures* shared) {
  impl_->pictures.share_preprocessing(shared);
}

void Session::Impl::set_policy(std::shared_ptr<Policy> policy) {
  const bool in_tower = policy != nullptr && policy->in_vision_tower();
  policy_tower = in_tower ? tower_pruner(policy) : nullptr;
  options.policy = std::move(policy);
}

Result<std::shared_ptr<TowerPruner>> Session::Impl::tower() const {
  if (policy_tower != nullptr && options.tower != nullptr) {
    return make_error(ErrorCode::usage, policy_tower->name() + " and " + options.tower->name() +
                                            " both prune the vision tower")
        .in_field("--vit-prune")
        .with_remedy("Choose one of them");
  }
  return policy_tower != nullptr ? policy_tower : options.tower;
}

void Session::prune_with(std::shared_ptr<Policy> policy, std::optional<PositionMode> positions) {
  impl_->set_policy(std::move(policy));
  impl_->options.positions = positions;
}

void Session::prune_tower_with(std::shared_ptr<TowerPruner> tower) {
  impl_->options.tower = std::move(tower);
}

void Session::forget_last_turn() {
  auto& [turns, images] = impl_->conversation;
  if (turns.empty()) return;
  const auto shown = static_cast<std::size_t>(turns.back().images);
  turns.pop_back();
  images.resize(images.size() - std::min(shown, images.size()));
}

const Conversation& Session::conversation() const {
  return impl_->conversation;
}

void Session::continue_from(Conversation conversation) {
  impl_->conversation = std::move(conversation);
}

void Session::reset() {
  impl_->conversation = {};
  impl_->pictures.clear();
  impl_->prefixes.clear();
}

Result<Answer> Session::ask(const Question& question, const TextCallback& on_text,
                            const std::atomic<bool>* cancel) {
  impl_->context.cancel = cancel;
  Result<Answer> answer = impl_->ask(question, on_text);
  impl_->context.cancel = nullptr;
  return answer;
}

Result<EncodedPrompt> Session::Impl::build_prompt(
    const Question& question, Timings& timings, double& spared_ms,
    std::vector<std::shared_ptr<const PictureFeatures>>& features) {
  const auto& [turns, images] = conversation;
  std::vector<PromptPart> parts;
  if (question.raw_prompt) {
    FOVEA_TRY(parts, marked_prompt(*question.raw_prompt, images.size()));
  } else {
    parts = chat_template.render(turns);
  }

  FOVEA_TRY(const auto pruner, tower());
  // What was kept is made of other tokens, or stands at other positions.
  if (pruner != last_tower || (pruner != nullptr && options.positions != last_positions)) {
    prefixes.clear();
  }
  last_tower = pruner;
  last_positions = options.positions;
  std::vector<PromptPicture> pictures_in_prompt;
  for (const auto& image : images) {
    FOVEA_TRY(auto found, pictures.get(context, *model, *image, aspect, pruner));
    if (found.fresh || question.as_if_fresh) {
      timings.preprocess += found.features->preprocess_ms;
      timings.vision += found.features->vision_ms;
      timings.projector += found.features->projector_ms;
    }
    if (!found.fresh && question.as_if_fresh) {
      spared_ms +=
          found.features->preprocess_ms + found.features->vision_ms + found.features->projector_ms;
    }
    pictures_in_prompt.push_back(prompt_picture(*found.features));
    features.push_back(std::move(found.features));
  }
  return encode_prompt(parts, pictures_in_prompt, model->tokenizer(), model->config());
}

Status Session::Impl::introspect(
    const IntrospectionRequest& request, const EncodedPrompt& prompt,
    const std::vector<std::shared_ptr<const PictureFeatures>>& features,
    Importance& importance, std::vector<double> step_maxima, Answer& answer) {
  auto found = std::make_shared<Introspection>();
  FOVEA_TRY(std::vector<float> sums, importance.sums());
  found->ranking = std::make_shared<const GuideRanking>(
      GuideRanking{std::move(sums), prompt.layout.visual});
  found->step_maxima = std::move(step_maxima);
  found->fingerprint = prompt.layout.fingerprint;
  if (request.consistency_ratio) {
    Stopwatch watch;
    Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const TensorView embeddings,
              context.workspace.take(
                  Shape{prompt.layout.tokens(), model->config().decoder.hidden_size}, DType::f32));
    FOVEA_CHECK(embed_prompt(context, *model, prompt, 0, features, embeddings));
    FOVEA_TRY(Reread reread,
              reread_answer(context, *model, prompt.layout, embeddings, answer.token_ids,
                            found->ranking, *request.consistency_ratio));
    found->reread = std::move(reread.probabilities);
    found->consistency_flops = reread.flops;
    found->consistency_ms = watch.elapsed_ms();
  }
  answer.introspection = std::move(found);
  return {};
}

Result<Answer> Session::Impl::ask(const Question& question, const TextCallback& on_text) {
  if (!question.raw_prompt && blank(question.text)) {
    return empty_question();
  }
  FOVEA_CHECK(validate(question.sampling));
  if (!question.continue_conversation || question.raw_prompt) conversation = {};
  auto& [turns, images] = conversation;
  const std::size_t images_before = images.size();
  images.insert(images.end(), question.images.begin(), question.images.end());
  turns.push_back({question.text, static_cast<int>(question.images.size()), ""});
  // A turn that fails leaves the conversation as it was.
  const auto forget_turn = [&] {
    turns.pop_back();
    images.resize(images_before);
  };

  Workspace::Scope scope(context.workspace);
  Answer answer;
  Stopwatch total;
  double spared_ms = 0;
  std::vector<std::shared_ptr<const PictureFeatures>> features;
  Result<EncodedPrompt> built = build_prompt(question, answer.timings, spared_ms, features);
  const auto cancelled_answer = [&] {
    answer.finish_reason = FinishReason::cancelled;
    answer.timings.total = total.elapsed_ms();
    forget_turn();
    return std::move(answer);
  };
  if (!built) {
    if (built.error().code == ErrorCode::cancelled) return cancelled_answer();
    forget_turn();
    return std::move(built).error();
  }
  const EncodedPrompt& prompt = *built;
  const DecoderConfig& config = model->config().decoder;
  const std::int64_t tokens = prompt.layout.tokens();
  answer.prompt_token_ids = prompt.ids;
  const bool spread = options.positions == PositionMode::original;  // over the places as they were
  const std::int64_t next_position = spread
                                         ? 1 + *std::max_element(prompt.original_positions.begin(),
                                                                 prompt.original_positions.end())
                                         : tokens;
  const auto run = [&]() -> Status {
    FOVEA_CHECK(check_room(config, next_position));

    PruningPlan plan;
    Policy* const policy = decoder_policy();
    if (last_tower != nullptr) plan.positions = PositionMode::compact;
    if (policy != nullptr && prompt.layout.visual_count() > 0) {
      FOVEA_TRY(plan, policy->plan(prompt.layout, model_shape(config)));
    }
    if (options.positions) plan.positions = *options.positions;
    const int layers = static_cast<int>(config.layers);
    const int boundary = model->decoder().boundary(&plan);
    std::int64_t shareable = shareable_tokens(prompt.layout, &plan, boundary);
    std::optional<Importance> importance;
    if (question.introspect) {
      importance.emplace(prompt.layout, question.introspect->rows);
    }
    AttentionObserver* observer = importance ? &*importance : nullptr;
    if (question.observe && observer != nullptr) {
      return make_error(ErrorCode::internal, "two watch the attention of one question");
    }
    if (question.observe) observer = question.observe(prompt.layout);
    if (observer != nullptr && !observer->prompt_rows().empty()) {
      shareable = std::min<std::int64_t>(shareable, observer->prompt_rows().front());
    }

    PrefillInput input;
    input.layout = &prompt.layout;
    if (spread) input.positions = prompt.original_positions;
    input.observer = observer;
    input.policy = plan.stages.empty() ? nullptr : policy;
    input.plan = &plan;
    if (!question.as_if_fresh) input.prefix = prefixes.find(prompt.keys, shareable, boundary);
    const std::int64_t reused = input.prefix != nullptr ? input.prefix->tokens : 0;
    answer.prefix_reused = reused;
    DecoderPrefix captured;
    captured.tokens = shareable;
    const bool capture_here = boundary < layers && shareable > 0;
    if (capture_here) input.capture = &captured;

    const std::int64_t first = plan.reads_embeddings ? 0 : reused;
    FOVEA_TRY(const TensorView embeddings,
              context.workspace.take(Shape{tokens - first, config.hidden_size}, DType::f32));
    FOVEA_CHECK(embed_prompt(context, *model, prompt, first, features, embeddings));
    input.embeddings = embeddings;
    FOVEA_TRY(const TensorView logits,
              context.workspace.take(Shape{1, config.vocab_size}, DType::f32));

    std::shared_ptr<DecoderTrace> trace;
    if (question.trace) trace = std::make_shared<DecoderTrace>(model, prompt.layout);
    DecoderState state = model->decoder().new_state();
    answer.pruning.initial = prompt.unpruned_visual;
    answer.pruning.positions = plan.positions;
    FOVEA_CHECK(record_tower_stages(prompt, features, answer.pruning));
    Stopwatch prefill_watch;
    FOVEA_CHECK(model->decoder().prefill(context, input, state, logits, &answer.pruning,
                                         trace != nullptr ? &trace->add_row() : nullptr));
    FOVEA_CHECK(synchronize(context));
    answer.timings.prefill = prefill_watch.elapsed_ms();
    answer.budget =
        account(answer.pruning, budget_shape(*model), tokens - prompt.layout.visual_count());
    std::vector<double> step_maxima;
    const AnswerWatchers watchers{trace.get(), input.observer, importance ? &step_maxima : nullptr};
    FOVEA_CHECK(generate_answer(context, *model, question, on_text, total, next_position, state,
                                logits, watchers, answer));

    if (capture_here) {
      prefixes.keep(prompt.keys, std::move(captured), layers);
    } else if (boundary == layers) {
      // Nothing was pruned: prompt and answer together are the next turn's prefix.
      DecoderPrefix whole;
      whole.boundary = layers;
      whole.tokens = state.cache.length(0);
      whole.cache = state.cache;
      std::vector<std::uint64_t> keys = prompt.keys;
      for (const std::int32_t id : answer.token_ids) keys.push_back(static_cast<std::uint32_t>(id));
      if (answer.finish_reason == FinishReason::cancelled)
        prefixes.clear();
      else
        prefixes.keep(std::move(keys), std::move(whole), layers);
    }
    if (importance && answer.finish_reason != FinishReason::cancelled) {
      FOVEA_CHECK(introspect(*question.introspect, prompt, features, *importance,
                             std::move(step_maxima), answer));
    }
    if (trace != nullptr) {
      trace->finish(state);
      answer.trace = trace;
    }
    return {};
  };

  if (Status status = run(); !status) {
    if (status.error().code == ErrorCode::cancelled) return cancelled_answer();
    forget_turn();
    return std::move(status).error();
  }
  turns.back().answer = answer.text;
  answer.timings.first_token += spared_ms;
  answer.timings.total = total.elapsed_ms() + spared_ms;
  answer.layout = std::move(built->layout);
  return answer;
}

}  // namespace fovea
