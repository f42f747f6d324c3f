#include "vlm/session.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/decoder_trace.h"
#include "vlm/importance.h"
#include "vlm/model_shapes.h"
#include "vlm/picture_features.h"
#include "vlm/prefix_store.h"
#include "vlm/prompt.h"
#include "vlm/stopwatch.h"
#include "vlm/tower_stages.h"

namespace fovea {

namespace {

/// Clips of eight frames under several ways of pruning the tower.
constexpr std::size_t kCachedPictures = 96;

/// Who looks on while an answer is made; null for nobody.
struct Watchers {
  DecoderTrace* trace = nullptr;
  AttentionObserver* observer = nullptr;
  std::vector<double>* step_maxima = nullptr;
};

bool blank(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' '; });
}

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
  Status embed_prompt(const EncodedPrompt& prompt, std::int64_t first,
                      const std::vector<std::shared_ptr<const PictureFeatures>>& features,
                      TensorView out);
  /// Whether the next token is found without its logits coming to the host.
  bool chosen_on_device(const Question& question, const Watchers& watchers,
                        std::int64_t step) const;
  Status generate(const Question& question, const TextCallback& on_text,
                  const Stopwatch& since_preprocess, std::int64_t next_position,
                  DecoderState& state, TensorView logits, const Watchers& watchers, Answer& answer);
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
    parts = raw_prompt(*question.raw_prompt);
    const auto marks = std::count_if(parts.begin(), parts.end(), [](const PromptPart& part) {
      return part.kind == PromptPart::Kind::image;
    });
    if (marks != static_cast<std::ptrdiff_t>(images.size())) {
      return make_error(ErrorCode::usage, "the raw prompt marks " + std::to_string(marks) +
                                              " pictures, but " + std::to_string(images.size()) +
                                              " were given")
          .with_remedy("Write <image> once for each picture");
    }
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
    const PictureFeatures& shown = *found.features;
    pictures_in_prompt.push_back({shown.content, shown.rect, shown.size,
                                  shown.tower_rows ? &*shown.tower_rows : nullptr, &shown.merged});
    features.push_back(std::move(found.features));
  }
  return encode_prompt(parts, pictures_in_prompt, model->tokenizer(), model->config());
}

Status Session::Impl::embed_prompt(
    const EncodedPrompt& prompt, std::int64_t first,
    const std::vector<std::shared_ptr<const PictureFeatures>>& features, TensorView out) {
  const auto total = static_cast<std::int64_t>(prompt.ids.size());
  const auto feature = [&](std::int64_t position) {
    return prompt.features[static_cast<std::size_t>(position)];
  };
  for (std::int64_t begin = first; begin < total;) {
    const FeatureRow start = feature(begin);
    std::int64_t end = begin + 1;
    if (start.picture >= 0) {  // the rest of one picture's tokens, as far as they are wanted
      while (end < total && feature(end).picture == start.picture &&
             feature(end).row == start.row + (end - begin)) {
        ++end;
      }
      const PictureFeatures& picture = *features[static_cast<std::size_t>(start.picture)];
      FOVEA_CHECK(convert(context, picture.tokens.view().slice(start.row, end - begin),
                          out.slice(begin - first, end - begin)));
    } else {
      while (end < total && feature(end).picture < 0) ++end;
      FOVEA_CHECK(model->decoder().embed(
          context,
          std::span(prompt.ids)
              .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
          out.slice(begin - first, end - begin)));
    }
    begin = end;
  }
  return {};
}

bool Session::Impl::chosen_on_device(const Question& question, const Watchers& watchers,
                                     std::int64_t step) const {
  return context.on_cuda() && question.sampling.temperature == 0.0 && !question.keep_logits &&
         watchers.step_maxima == nullptr && step >= question.sampling.min_new_tokens;
}

Status Session::Impl::generate(const Question& question, const TextCallback& on_text,
                               const Stopwatch& since_preprocess, std::int64_t next_position,
                               DecoderState& state, TensorView logits, const Watchers& watchers,
                               Answer& answer) {
  const LlavaConfig& config = model->config();
  FOVEA_TRY(Sampler sampler, Sampler::create(question.sampling));
  StreamDecoder stream(model->tokenizer());
  const auto vocabulary = static_cast<std::size_t>(config.decoder.vocab_size);
  const std::int64_t room = config.decoder.max_positions - next_position;
  const std::int64_t most = std::min<std::int64_t>(question.sampling.max_new_tokens, room);
  const auto emit = [&](const std::string& piece) {
    if (!piece.empty() && on_text) on_text(piece);
  };
  const auto& ends = config.eos_token_ids;
  std::vector<float> without_ends;
  constexpr std::int32_t kNone = -1;
  std::int32_t chosen = kNone;  // with the step before

  Stopwatch decode_watch;
  answer.finish_reason = FinishReason::length;
  for (std::int64_t step = 0; step < most; ++step) {
    Workspace::Scope host_scope(context.host().workspace);
    std::span<const float> row, allowed;
    std::int32_t token = 0;
    if (chosen != kNone) {
      token = std::exchange(chosen, kNone);
    } else if (chosen_on_device(question, watchers, step)) {
      FOVEA_TRY(token, largest_index(context, logits));
    } else {
      FOVEA_TRY(const ConstTensorView found, to_host(context, logits));
      row = allowed = std::span(found.as<float>(), vocabulary);
      if (step < question.sampling.min_new_tokens) {
        without_ends.assign(row.begin(), row.end());
        for (const std::int32_t end : ends) {
          if (end < config.decoder.vocab_size) {
            without_ends[static_cast<std::size_t>(end)] = -std::numeric_limits<float>::infinity();
          }
        }
        allowed = without_ends;
      }
      FOVEA_TRY(token, sampler.sample(allowed));
    }
    if (watchers.step_maxima != nullptr) {
      watchers.step_maxima->push_back(largest_probability(allowed));
    }
    if (step == 0) {
      answer.timings.first_token = since_preprocess.elapsed_ms();
      decode_watch.lap_ms();
    }
    if (question.keep_logits) answer.logits.insert(answer.logits.end(), row.begin(), row.end());
    answer.token_ids.push_back(token);
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
      answer.finish_reason = FinishReason::stop;
      break;
    }
    emit(stream.push(token));
    if (step + 1 == most) break;
    DecoderTrace* const trace = watchers.trace;
    const auto decode = [&]() -> Status {
      if (trace == nullptr && watchers.observer == nullptr &&
          chosen_on_device(question, watchers, step + 1)) {
        FOVEA_TRY(chosen, model->decoder().decode_greedy(context, token, state));
        return {};
      }
      return model->decoder().decode(context, token, state, logits,
                                     trace != nullptr ? &trace->add_row() : nullptr,
                                     watchers.observer);
    };
    const Status decoded = decode();
    if (!decoded) {
      if (trace != nullptr) trace->drop_row();
      if (decoded.error().code != ErrorCode::cancelled) return decoded.error();
      answer.finish_reason = FinishReason::cancelled;
      break;
    }
  }
  const auto produced = static_cast<double>(answer.token_ids.size());
  if (produced > 1) answer.timings.per_token = decode_watch.elapsed_ms() / (produced - 1);
  emit(stream.finish());
  answer.text = stream.text();
  return {};
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
    FOVEA_CHECK(embed_prompt(prompt, 0, features, embeddings));
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
    return make_error(ErrorCode::usage, "the question is empty")
        .in_field("question")
        .with_remedy("Type a question");
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
    if (next_position >= config.max_positions) {
      return make_error(ErrorCode::usage, "the prompt takes " + std::to_string(next_position) +
                                              " positions, the model's context holds " +
                                              std::to_string(config.max_positions) +
                                              " including the answer")
          .in_field("question")
          .with_remedy("Ask a shorter question or show fewer pictures");
    }

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
    FOVEA_CHECK(embed_prompt(prompt, first, features, embeddings));
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
    const Watchers watchers{trace.get(), input.observer, importance ? &step_maxima : nullptr};
    FOVEA_CHECK(generate(question, on_text, total, next_position, state, logits, watchers, answer));

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
