#include "app/bench_batch.h"

#include <algorithm>
#include <utility>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/ops/rows/rows.h"
#include "vision/preprocess.h"
#include "vlm/decoder_batch.h"
#include "vlm/model_shapes.h"
#include "vlm/picture_features.h"
#include "vlm/stopwatch.h"

namespace fovea::app {

Result<BatchBench> BatchBench::create(const LlavaModel& model, const BenchPlan& plan,
                                      const std::atomic<bool>* cancel) {
  BatchBench bench(model, plan);
  FOVEA_TRY(bench.context_, make_context(model.device(), plan.threads));
  bench.context_.cancel = cancel;
  FOVEA_TRY(bench.prompt_, make_bench_prompt(model, plan));
  for (int i = 0; i < plan.batch; ++i) {
    bench.pictures_.push_back(bench_picture(static_cast<std::uint32_t>(i) + 1));
  }
  const std::int64_t vocabulary = model.config().decoder.vocab_size;
  FOVEA_TRY(bench.logits_, Tensor::allocate({plan.batch, vocabulary}, DType::f32, model.device()));
  FOVEA_TRY(bench.choices_, Tensor::allocate({plan.batch}, DType::i32, model.device()));
  return bench;
}

Status BatchBench::see(std::vector<Tensor>& tokens) {
  if (!model_->has_vision()) return {};
  for (std::size_t first = 0, count = 0; first < pictures_.size(); first += count) {
    count = pictures_at_once(first, pictures_.size());
    std::vector<PreparedImage> prepared;
    std::vector<ConstTensorView> pixels;
    for (std::size_t i = first; i < first + count; ++i) {
      FOVEA_TRY(PreparedImage one, preprocess(context_, pictures_[i], model_->config().preprocess));
      prepared.push_back(std::move(one));
    }
    for (const PreparedImage& one : prepared) pixels.push_back(one.pixels.view());
    FOVEA_TRY(PicturesUnderWay encoded, encode_pictures(context_, *model_, pixels));
    for (EncodedPicture& one : encoded.pictures) tokens.push_back(std::move(one.tokens));
  }
  return synchronize(context_);
}

Status BatchBench::read_prompts(const std::vector<PruneSetup>& setups, std::vector<Tensor>& tokens,
                                std::vector<DecoderState>& states, DecoderBatch& batch) {
  const DecoderConfig& config = model_->config().decoder;
  const std::vector<std::int64_t> lengths(pictures_.size(), plan_.prompt_tokens);
  std::vector<PruningPlan> plans(pictures_.size());
  std::size_t first = 0;
  for (const std::size_t count : prefill_passes(lengths)) {
    Workspace::Scope scope(context_.workspace);
    std::vector<BatchPrompt> prompts(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t index = first + i;
      FOVEA_TRY(
          const TensorView embeddings,
          context_.workspace.take(Shape{plan_.prompt_tokens, config.hidden_size}, DType::f32));
      FOVEA_CHECK(model_->decoder().embed(context_, prompt_.ids, embeddings));
      if (model_->has_vision()) {
        FOVEA_CHECK(convert(context_, std::as_const(tokens[index]).view(),
                            embeddings.slice(prompt_.system, prompt_.visual)));
      }
      const PruneSetup& setup = setups[index];
      if (setup.policy != nullptr) {
        FOVEA_TRY(plans[index], setup.policy->plan(prompt_.layout, model_shape(config)));
        if (setup.positions) plans[index].positions = *setup.positions;
      }
      PrefillInput& input = prompts[i].input;
      input.embeddings = embeddings;
      input.layout = &prompt_.layout;
      input.policy = plans[index].stages.empty() ? nullptr : setup.policy.get();
      input.plan = &plans[index];
      states.push_back(model_->decoder().new_state());
      prompts[i].state = &states.back();
    }
    FOVEA_CHECK(model_->decoder().prefill_batch(
        context_, prompts,
        logits_.view().slice(static_cast<std::int64_t>(first), static_cast<std::int64_t>(count))));
    first += count;
  }
  FOVEA_CHECK(largest_index(context_, std::as_const(logits_).view(), choices_.view()));
  FOVEA_TRY(const Arriving arriving, Arriving::start(context_, std::as_const(choices_).view()));
  // Everything but the tokens, while the device still works on the prompts.
  for (DecoderState& state : states) FOVEA_CHECK(batch.enter(state, 0, plan_.new_tokens - 1));
  FOVEA_CHECK(batch.prepare());
  FOVEA_TRY(const auto chosen, arriving.wait());
  for (std::size_t i = 0; i < states.size(); ++i) {
    FOVEA_CHECK(batch.follow(i, std::max(chosen[i], std::int32_t{0})));
  }
  return {};
}

Status BatchBench::answer(DecoderBatch& batch) {
  const std::int64_t steps = plan_.new_tokens - 1;
  for (std::int64_t step = 0; step < steps; ++step) {
    FOVEA_CHECK(batch.step());
    // The next step is ordered before the choices of this one are asked for.
    if (batch.pending() > 1) FOVEA_CHECK(batch.chosen());
  }
  while (batch.pending() > 0) FOVEA_CHECK(batch.chosen());
  return {};
}

Status BatchBench::measure(const PruneSetting& setting, BatchTimes& times) {
  std::vector<PruneSetup> setups;
  for (int i = 0; i < plan_.batch; ++i) {
    FOVEA_TRY(PruneSetup setup, make_prune_setup(setting, *model_));
    setups.push_back(std::move(setup));
  }
  std::vector<Tensor> tokens;
  std::vector<DecoderState> states;
  states.reserve(pictures_.size());  // prompts keep their addresses
  FOVEA_CHECK(synchronize(context_));
  Stopwatch total, watch;
  FOVEA_CHECK(see(tokens));
  times.vision.ms.push_back(watch.lap_ms());
  DecoderBatch batch(context_, model_->decoder());
  FOVEA_CHECK(read_prompts(setups, tokens, states, batch));
  times.prefill.ms.push_back(watch.lap_ms());
  FOVEA_CHECK(answer(batch));
  times.decode.ms.push_back(watch.lap_ms());
  times.total.ms.push_back(total.elapsed_ms());
  return {};
}

}  // namespace fovea::app
