#include "vlm/decoder_batch.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/batch_block.h"
#include "vlm/batch_replay.h"
#include "vlm/decoder_impl.h"

namespace fovea {

std::vector<std::size_t> prefill_passes(std::span<const std::int64_t> tokens) {
  // At 7B sizes and in 16 bits this many rows take about 0.8 GB; on an H100 twice as many were
  // slower.
  constexpr std::int64_t kMostRows = 6144;
  const std::int64_t all = std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0});
  const std::int64_t passes = (all + kMostRows - 1) / kMostRows;
  std::vector<std::size_t> counts;
  std::int64_t rows = 0, read = 0;
  for (const std::int64_t count : tokens) {
    const auto done = static_cast<std::int64_t>(counts.size());
    const bool full = read * passes >= all * done || rows + count > kMostRows;
    if (counts.empty() || full) {
      counts.push_back(0);
      rows = 0;
    }
    ++counts.back();
    rows += count;
    read += count;
  }
  return counts;
}

DecoderBatch::DecoderBatch(Context& context, const Decoder& decoder)
    : context_(context), decoder_(decoder) {}
DecoderBatch::~DecoderBatch() = default;

Status DecoderBatch::check_token(std::int32_t token) const {
  // Not Decoder::check_step(), which looks at the wish to stop too.
  if (token >= 0 && token < decoder_.config().vocab_size) return {};
  return make_error(ErrorCode::usage, "token id " + std::to_string(token) +
                                          " is outside the model's vocabulary of " +
                                          std::to_string(decoder_.config().vocab_size));
}

Status DecoderBatch::enter(DecoderState& state, std::int32_t token, std::int64_t most) {
  FOVEA_CHECK(check_token(token));
  sequences_.push_back({&state, most, token});
  changed_ = true;
  return {};
}

void DecoderBatch::leave(std::size_t place) {
  sequences_.erase(sequences_.begin() + static_cast<std::ptrdiff_t>(place));
  changed_ = true;
}

void DecoderBatch::clear() {
  sequences_.clear();
  pending_.clear();
  changed_ = true;
}

Status DecoderBatch::follow(std::size_t place, std::int32_t token) {
  FOVEA_CHECK(check_token(token));
  Sequence& sequence = sequences_[place];
  followed_ = followed_ || sequence.token != token;
  sequence.token = token;
  return {};
}

Status DecoderBatch::step(std::span<const Draw> draws) {
  if (sequences_.empty()) return {};
  if (!draws.empty() && draws.size() != size()) {
    return make_error(ErrorCode::usage, std::to_string(draws.size()) + " draws for " +
                                            std::to_string(size()) + " sequences");
  }
  if (context_.cancelled()) return make_error(ErrorCode::cancelled, "stopped while answering");
  FOVEA_CHECK(context_.on_cuda() ? step_on_gpu(draws) : step_on_cpu(draws));
  for (Sequence& sequence : sequences_) --sequence.most;
  return {};
}

Result<std::vector<std::int32_t>> DecoderBatch::chosen() {
  if (pending_.empty()) return make_error(ErrorCode::internal, "no step was ordered");
  FOVEA_TRY(const auto arrived, pending_.front().wait());
  std::vector<std::int32_t> tokens(arrived.begin(),
                                   arrived.begin() + static_cast<std::ptrdiff_t>(size()));
  pending_.pop_front();
  if (pending_.empty()) given_next(tokens);
  return tokens;
}

void DecoderBatch::given_next(std::span<const std::int32_t> choices) {
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    sequences_[i].token = std::max(choices[i], std::int32_t{0});
  }
}

ConstTensorView DecoderBatch::logits() const {
  const ConstTensorView all = replay_ != nullptr ? replay_->logits() : logits_.view();
  return all.slice(0, static_cast<std::int64_t>(size()));
}

Status DecoderBatch::step_on_cpu(std::span<const Draw> draws) {
  const DecoderConfig& config = decoder_.config();
  const auto count = static_cast<std::int64_t>(size());
  if (logits_.empty() || logits_.shape()[0] < count) {
    FOVEA_TRY(logits_, Tensor::allocate({count, config.vocab_size}, DType::f32));
    FOVEA_TRY(choices_, Tensor::allocate({count}, DType::i32));
  }
  Workspace::Scope scope(context_.workspace);
  FOVEA_TRY(const TensorView hidden,
            context_.workspace.take({count, config.hidden_size}, DType::f32));
  std::vector<std::int32_t> tokens;
  std::vector<BatchPart> parts;
  for (const Sequence& sequence : sequences_) {
    parts.push_back({&sequence.state->cache, static_cast<std::int64_t>(tokens.size()), 1, nullptr});
    tokens.push_back(sequence.token);
  }
  FOVEA_CHECK(decoder_.embed(context_, tokens, hidden));
  const auto& blocks = decoder_.impl_->blocks;
  for (std::size_t layer = 0; layer < blocks.size(); ++layer) {
    if (context_.cancelled()) return make_error(ErrorCode::cancelled, "stopped while answering");
    std::vector<std::int32_t> positions;
    for (const Sequence& sequence : sequences_) {
      positions.push_back(sequence.state->next_position[layer]++);
    }
    Workspace::Scope scratch(context_.workspace);
    FOVEA_TRY(const BlockProjection projection,
              project_block(context_, config, blocks[layer], hidden, i32_view(positions)));
    FOVEA_CHECK(attend_batch(context_, config, blocks[layer], projection, hidden,
                             static_cast<int>(layer), parts, false));
    FOVEA_CHECK(run_mlp(context_, config, blocks[layer], hidden));
  }
  const TensorView logits = logits_.view().slice(0, count);
  FOVEA_CHECK(decoder_.logits(context_, hidden, logits));
  const TensorView choices = choices_.view().slice(0, count);
  FOVEA_CHECK(draws.empty() ? largest_index(context_, logits, choices)
                            : draw_indices(context_, logits, draws_view(draws), choices));
  given_next({choices.as<std::int32_t>(), size()});
  FOVEA_TRY(Arriving arriving, Arriving::start(context_, choices));
  pending_.push_back(std::move(arriving));
  return {};
}

Status DecoderBatch::prepare() {
  return context_.on_cuda() && !sequences_.empty() ? seat(drawing_) : Status{};
}

/// The replay's tables are those of who sits there, with pages for the steps to come. draws: whether
/// these choose by draws.
Status DecoderBatch::seat(bool draws) {
  const Decoder::Impl& impl = *decoder_.impl_;
  if (replay_ == nullptr) {
    FOVEA_TRY(replay_, BatchReplay::of(context_, impl.config, &impl.blocks));
  }
  const bool pending = !pending_.empty();
  if (pending && (changed_ || followed_)) {
    return make_error(ErrorCode::internal, "a batch changed while a step was pending");
  }
  if (!changed_ && steps_left_ > 0 && draws == drawing_) return {};
  if (pending) {  // same people: they go on with what the last step chose
    FOVEA_TRY(const auto last, pending_.back().wait());
    given_next(last);
  }
  steps_left_ = KvCache::kPageTokens;
  std::vector<const DecoderState*> states;
  for (const Sequence& sequence : sequences_) {
    const std::int64_t steps = std::clamp<std::int64_t>(sequence.most, 1, steps_left_);
    FOVEA_CHECK(sequence.state->cache.reserve(context_, static_cast<std::int32_t>(steps)));
    states.push_back(sequence.state);
  }
  FOVEA_CHECK(replay_->seat(context_, {decoder_, impl.embeddings, impl.blocks}, states, draws));
  changed_ = false;
  drawing_ = draws;
  followed_ = true;
  return {};
}

Status DecoderBatch::step_on_gpu(std::span<const Draw> draws) {
  FOVEA_CHECK(seat(!draws.empty()));
  if (followed_) {
    std::vector<std::int32_t> tokens;
    for (const Sequence& sequence : sequences_) tokens.push_back(sequence.token);
    FOVEA_CHECK(replay_->tell(context_, tokens));
  }
  followed_ = false;
  if (!draws.empty()) FOVEA_CHECK(replay_->draw(context_, draws));
  FOVEA_CHECK(replay_->step(context_));
  --steps_left_;
  for (const Sequence& sequence : sequences_) {
    sequence.state->cache.advance(1);
    for (std::int32_t& position : sequence.state->next_position) ++position;
  }
  FOVEA_TRY(Arriving choices, Arriving::start(context_, replay_->choices()));
  pending_.push_back(std::move(choices));
  return {};
}

}  // namespace fovea
