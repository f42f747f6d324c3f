#include "vlm/batch_session.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include "kernels/device.h"
#include "vlm/batch_call.h"
#include "vlm/model_memory.h"
#include "vlm/model_shapes.h"
#include "vlm/tower_stages.h"

namespace fovea {

namespace {

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

Result<Policy*> BatchSession::Impl::policy(std::size_t place) {
  if (!prunes()) return nullptr;
  while (policies.size() <= place) {
    FOVEA_TRY(auto made, options.policy());
    policies.push_back(std::move(made));
  }
  return policies[place].get();
}

/// The prompt of a question whose pictures were seen: it counts the times of those that nobody did.
Status BatchSession::Impl::prepare(Running& running,
                                   std::map<const Image*, PictureFeatureCache::Found>& seen) {
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
    PictureFeatureCache::Found& found = seen.at(image.get());
    if (std::exchange(found.fresh, false)) {
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
    FOVEA_TRY(running.writer,
              AnswerWriter::create(*model, *running.question, running.next_position));

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
