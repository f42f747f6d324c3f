#include "vlm/answer_loop.h"

#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/answer_writer.h"
#include "vlm/decode_stream.h"

namespace fovea {

Status generate_answer(Context& context, const LlavaModel& model, const Question& question,
                       const TextCallback& on_text, const Stopwatch& since_preprocess,
                       std::int64_t next_position, DecoderState& state, TensorView logits,
                       const AnswerWatchers& watchers, Answer& answer) {
  FOVEA_TRY(AnswerWriter writer, AnswerWriter::create(model, question, next_position));
  DecodeStream stream(model.decoder(), context, state, 0,
                      writer.draws() ? &writer.sampler() : nullptr);
  const auto emit = [&](const std::string& piece) {
    if (!piece.empty() && on_text) on_text(piece);
  };
  // Whether the next token is found without its logits coming to the host.
  const auto chosen_on_device = [&] {
    return context.on_cuda() && watchers.step_maxima == nullptr && !writer.looks_at_logits();
  };
  constexpr std::int32_t kNone = -1;
  std::int32_t chosen = kNone;  // with the step before
  DecoderTrace* const trace = watchers.trace;

  Stopwatch decode_watch;
  while (!writer.ended()) {
    Workspace::Scope host_scope(context.host().workspace);
    std::int32_t token = 0;
    if (chosen != kNone) {
      token = std::exchange(chosen, kNone);
    } else if (!writer.draws() && chosen_on_device()) {
      FOVEA_TRY(token, largest_index(context, logits));
    } else {
      FOVEA_TRY(const ConstTensorView found, to_host(context, logits));
      FOVEA_TRY(token, writer.choose(found, answer, watchers.step_maxima));
    }
    if (answer.token_ids.empty()) {
      answer.timings.first_token = since_preprocess.elapsed_ms();
      decode_watch.lap_ms();
    }
    emit(writer.add(token, answer));
    if (writer.ended()) break;
    const auto decode = [&]() -> Status {
      if (trace == nullptr && watchers.observer == nullptr && chosen_on_device()) {
        FOVEA_TRY(chosen, stream.next(token, writer.left() - 1));
        return {};
      }
      return model.decoder().decode(context, token, state, logits,
                                    trace != nullptr ? &trace->add_row() : nullptr,
                                    watchers.observer);
    };
    const Status decoded = decode();
    if (!decoded) {
      if (trace != nullptr) trace->drop_row();
      if (decoded.error().code != ErrorCode::cancelled) return decoded.error();
      answer.finish_reason = FinishReason::cancelled;
      writer.cancel();
    }
  }
  const auto produced = static_cast<double>(answer.token_ids.size());
  if (produced > 1) answer.timings.per_token = decode_watch.elapsed_ms() / (produced - 1);
  emit(writer.finish(answer));
  return {};
}

}  // namespace fovea
