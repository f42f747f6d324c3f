// Several prompts side by side through the layers: the rows of all of them in every product, each
// one's cuts by itself.

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "kernels/copy.h"
#include "vlm/batch_block.h"
#include "vlm/decoder_impl.h"
#include "vlm/prefill_run.h"

namespace fovea {

namespace {

// Larger products for larger batches, in scratch of a few hundred megabytes.
constexpr std::int64_t kBatchMlpRows = 4096;

/// The prompts of one pass. Their hidden states lie one after another in one of two blocks;
/// whenever a stage acts, all move to the other.
class JointRun {
 public:
  JointRun(Context& context, const DecoderConfig& config, std::span<const BatchPrompt> prompts)
      : context_(context), config_(config), attention_(prompts.size()) {
    for (const BatchPrompt& prompt : prompts) {
      runs_.emplace_back(context, config, prompt.input, *prompt.state, prompt.record);
      caches_.push_back(&prompt.state->cache);
    }
  }

  Status start(const Decoder& decoder, std::span<const BatchPrompt> prompts);
  /// The stages of all prompts that act at this moment.
  Status act(Moment moment, int layer, const DecoderBlock& block);
  void enter(int layer) {
    for (PrefillRun& run : runs_) run.enter(layer);
  }
  /// Room for the queries that stages will read of this layer, in the caller's workspace scope.
  Status reserve_attention(int layer);
  bool stages_after(int layer) const {
    return std::any_of(runs_.begin(), runs_.end(),
                       [&](const PrefillRun& run) { return run.stages_after(layer); });
  }
  Status settle();

  TensorView hidden() const { return blocks_[current_].slice(0, rows_); }
  Result<ConstTensorView> positions();
  std::vector<BatchPart> parts();

 private:
  Context& context_;
  const DecoderConfig& config_;
  std::deque<PrefillRun> runs_;
  std::vector<KvCache*> caches_;
  std::vector<BlockAttention> attention_;
  TensorView blocks_[2];
  int current_ = 0;
  std::int64_t rows_ = 0;
  TensorView positions_;
  bool moved_ = true;  // since positions_ were collected
};

Status JointRun::start(const Decoder& decoder, std::span<const BatchPrompt> prompts) {
  bool cuts = false;
  for (const BatchPrompt& prompt : prompts) {
    rows_ += prompt.input.layout->tokens();
    cuts = cuts || prompt.input.policy != nullptr;
  }
  const Shape shape{rows_, config_.hidden_size};
  FOVEA_TRY(blocks_[0], context_.workspace.take(shape, DType::f32));
  if (cuts) {
    FOVEA_TRY(blocks_[1], context_.workspace.take(shape, DType::f32));
  }
  FOVEA_TRY(positions_, context_.workspace.take({rows_}, DType::i32));
  std::int64_t first = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::int64_t tokens = prompts[i].input.layout->tokens();
    FOVEA_CHECK(
        runs_[i].start(decoder.boundary(prompts[i].input.plan), blocks_[0].slice(first, tokens)));
    first += tokens;
  }
  return {};
}

Status JointRun::act(Moment moment, int layer, const DecoderBlock& block) {
  std::vector<std::vector<std::size_t>> acting;
  std::size_t rounds = 0;
  for (const PrefillRun& run : runs_) {
    acting.push_back(run.acting(moment, layer));
    rounds = std::max(rounds, acting.back().size());
  }
  for (std::size_t round = 0; round < rounds; ++round) {
    const TensorView to = blocks_[1 - current_];
    rows_ = 0;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      PrefillRun& run = runs_[i];
      const std::int64_t before = run.sequence.hidden.rows();
      const TensorView target = to.slice(rows_, before);
      if (round < acting[i].size()) {
        run.move_to(target);
        const std::size_t stage = acting[i][round];
        FOVEA_CHECK(moment == Moment::before ? run.act_before(stage, block)
                                             : run.act(stage, layer, &attention_[i]));
      } else {
        FOVEA_CHECK(copy(context_, run.sequence.hidden, target));
        run.sequence.hidden = target;
      }
      rows_ += run.sequence.hidden.rows();
    }
    current_ = 1 - current_;
    moved_ = true;
  }
  return {};
}

Status JointRun::reserve_attention(int layer) {
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    attention_[i] = {};
    FOVEA_TRY(std::vector<std::int32_t> slots, runs_[i].wanted_slots(layer, false));
    if (slots.empty()) continue;
    FOVEA_TRY(attention_[i], BlockAttention::reserve(context_, config_, std::move(slots)));
  }
  return {};
}

Status JointRun::settle() {
  for (PrefillRun& run : runs_) FOVEA_CHECK(run.settle());
  return {};
}

Result<ConstTensorView> JointRun::positions() {
  const ConstTensorView all = positions_.slice(0, rows_);
  if (!std::exchange(moved_, false)) return all;
  std::int64_t first = 0;
  for (PrefillRun& run : runs_) {
    FOVEA_TRY(const ConstTensorView own, run.positions());
    FOVEA_CHECK(copy(context_, own, positions_.slice(first, own.rows())));
    first += own.rows();
  }
  return all;
}

std::vector<BatchPart> JointRun::parts() {
  std::vector<BatchPart> parts;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    const std::int64_t rows = runs_[i].sequence.hidden.rows();
    BlockAttention& attention = attention_[i];
    parts.push_back({caches_[i], first, rows, attention.slots.empty() ? nullptr : &attention});
    first += rows;
  }
  return parts;
}

Status check_prompt(const BatchPrompt& prompt, int layers) {
  const PrefillInput& input = prompt.input;
  if (input.prefix != nullptr || input.capture != nullptr || input.observer != nullptr ||
      !input.last_hidden.empty()) {
    return make_error(ErrorCode::internal,
                      "a prompt beside others can neither resume nor be watched");
  }
  if (input.plan != nullptr) FOVEA_CHECK(check_plan(*input.plan, layers));
  if (Decoder::reads_beside_others(input.plan)) return {};
  return make_error(ErrorCode::unsupported,
                    "a prompt whose tokens bypass a layer cannot be read beside others");
}

}  // namespace

bool Decoder::reads_beside_others(const PruningPlan* plan) {
  return plan == nullptr || std::none_of(plan->stages.begin(), plan->stages.end(),
                                         [](const Stage& stage) { return stage.bypass; });
}

Status Decoder::prefill_batch(Context& context, std::span<const BatchPrompt> prompts,
                              TensorView out) const {
  if (prompts.size() == 1) {
    const BatchPrompt& prompt = prompts.front();
    return prefill(context, prompt.input, *prompt.state, out, prompt.record, nullptr);
  }
  if (prompts.empty()) return {};
  const DecoderConfig& config = impl_->config;
  const int layers = static_cast<int>(impl_->blocks.size());
  for (const BatchPrompt& prompt : prompts) FOVEA_CHECK(check_prompt(prompt, layers));
  Workspace::Scope scope(context.workspace);
  JointRun run(context, config, prompts);
  FOVEA_CHECK(run.start(*this, prompts));
  FOVEA_TRY(const TensorView last,
            context.workspace.take(
                Shape{static_cast<std::int64_t>(prompts.size()), config.hidden_size}, DType::f32));
  for (int layer = 0; layer < layers; ++layer) {
    if (context.cancelled())
      return make_error(ErrorCode::cancelled, "stopped while reading the prompts");
    const DecoderBlock& block = impl_->blocks[static_cast<std::size_t>(layer)];
    FOVEA_CHECK(run.act(Moment::before, layer, block));
    run.enter(layer);
    Workspace::Scope layer_scope(context.workspace);
    FOVEA_CHECK(run.reserve_attention(layer));
    const bool ends = layer + 1 == layers && !run.stages_after(layer);
    const std::vector<BatchPart> parts = run.parts();
    if (ends) FOVEA_CHECK(gather_last_rows(context, run.hidden(), parts, last));
    {
      Workspace::Scope scratch(context.workspace);
      FOVEA_TRY(const ConstTensorView positions, run.positions());
      FOVEA_TRY(const BlockProjection projection,
                project_block(context, config, block, run.hidden(), positions));
      FOVEA_CHECK(attend_batch(context, config, block, projection, ends ? last : run.hidden(),
                               layer, parts, ends));
    }
    if (ends) {
      FOVEA_CHECK(run_mlp(context, config, block, last));
      break;
    }
    FOVEA_CHECK(run.act(Moment::after_attention, layer, block));
    FOVEA_CHECK(run_mlp(context, config, block, run.hidden(), kBatchMlpRows));
    FOVEA_CHECK(run.act(Moment::after, layer, block));
    if (layer + 1 == layers) {
      FOVEA_CHECK(gather_last_rows(context, run.hidden(), run.parts(), last));
    }
  }
  FOVEA_CHECK(logits(context, last, out));
  return run.settle();
}

}  // namespace fovea
