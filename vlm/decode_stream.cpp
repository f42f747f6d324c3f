#include "vlm/decode_stream.h"

#include <utility>

#include "kernels/ops/rows/rows.h"

namespace fovea {

namespace {

// Answers often end before so many tokens, and then a step ahead of the end costs more than waiting
// would have.
constexpr std::int64_t kShortAnswer = 4;

}  // namespace

Result<std::int32_t> DecodeStream::next_on_host(std::int32_t token) {
  Workspace::Scope scope(context_.workspace);
  FOVEA_TRY(const TensorView logits,
            context_.workspace.take(Shape{1, decoder_.config().vocab_size}, DType::f32));
  FOVEA_CHECK(decoder_.decode(context_, token, state_, logits, nullptr));
  if (sampler_ == nullptr) return largest_index(context_, logits);
  return sampler_->sample({logits.as<float>(), static_cast<std::size_t>(logits.shape[1])});
}

Result<DecodeStream::Ordered> DecodeStream::order(std::optional<std::int32_t> token,
                                                  std::int64_t after) {
  Ordered step;
  step.draw = std::exchange(undone_, std::nullopt);
  if (sampler_ != nullptr && !step.draw) step.draw = sampler_->next_draw();
  auto number = decoder_.order_step(context_, {token, after, step.draw}, state_);
  if (!number) {
    undone_ = step.draw;
    return std::move(number).error();
  }
  step.number = *number;
  auto done = Milestone::mark(context_);
  if (done) {
    step.done = *done;
    return step;
  }
  ahead_ = step;
  take_back();
  return std::move(done).error();
}

void DecodeStream::take_back() {
  if (!ahead_) return;
  undone_ = ahead_->draw;
  ahead_.reset();
  for (int layer = 0; layer < state_.cache.layers(); ++layer) {
    state_.cache.truncate(layer, state_.cache.length(layer) - 1);
  }
  for (std::int32_t& position : state_.next_position) --position;
}

Result<std::int32_t> DecodeStream::next(std::int32_t token, std::int64_t left) {
  if (!context_.on_cuda()) return next_on_host(token);
  FOVEA_CHECK(decoder_.check_step(context_, token));
  if (ahead_ && token != chosen_) take_back();
  if (!ahead_) {
    FOVEA_TRY(ahead_, order(token, 0));
  }
  const Ordered step = *std::exchange(ahead_, std::nullopt);
  if (left > 0 && (taken_ >= kShortAnswer || taken_ + 1 < certain_)) {
    // What goes wrong here does so again when the step is asked for, if it is.
    if (auto next = order(std::nullopt, step.number)) ahead_ = std::move(*next);
  }
  FOVEA_CHECK(step.done.wait());
  FOVEA_TRY(chosen_, decoder_.chosen_by(context_, step.number));
  ++taken_;
  if (chosen_ < 0) return no_largest_index();
  return chosen_;
}

}  // namespace fovea
