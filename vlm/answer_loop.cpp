#include "vlm/answer_loop.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/decode_stream.h"
#include "vlm/introspection.h"

namespace fovea {

Status generate_answer(Context& context, const LlavaModel& model, const Question& question,
                       const TextCallback& on_text, const Stopwatch& since_preprocess,
                       std::int64_t next_position, DecoderState& state, TensorView logits,
                       const AnswerWatchers& watchers, Answer& answer) {
  const LlavaConfig& config = model.config();
  FOVEA_TRY(Sampler sampler, Sampler::create(question.sampling));
  StreamDecoder text(model.tokenizer());
  const bool draws = question.sampling.temperature > 0.0;
  DecodeStream stream(model.decoder(), context, state, 0, draws ? &sampler : nullptr);
  const auto vocabulary = static_cast<std::size_t>(config.decoder.vocab_size);
  const std::int64_t room = config.decoder.max_positions - next_position;
  const std::int64_t most = std::min<std::int64_t>(question.sampling.max_new_tokens, room);
  const auto emit = [&](const std::string& piece) {
    if (!piece.empty() && on_text) on_text(piece);
  };
  // Whether a step's token is found without its logits coming to the host.
  const auto chosen_on_device = [&](std::int64_t step) {
    return context.on_cuda() && !question.keep_logits && watchers.step_maxima == nullptr &&
           step >= question.sampling.min_new_tokens;
  };
  const auto& ends = config.eos_token_ids;
  std::vector<float> without_ends;
  constexpr std::int32_t kNone = -1;
  std::int32_t chosen = kNone;  // with the step before
  DecoderTrace* const trace = watchers.trace;

  Stopwatch decode_watch;
  answer.finish_reason = FinishReason::length;
  for (std::int64_t step = 0; step < most; ++step) {
    Workspace::Scope host_scope(context.host().workspace);
    std::span<const float> row, allowed;
    std::int32_t token = 0;
    if (chosen != kNone) {
      token = std::exchange(chosen, kNone);
    } else if (!draws && chosen_on_device(step)) {
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
    emit(text.push(token));
    if (step + 1 == most) break;
    const auto decode = [&]() -> Status {
      if (trace == nullptr && watchers.observer == nullptr && chosen_on_device(step + 1)) {
        FOVEA_TRY(chosen, stream.next(token, most - step - 2));
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
      break;
    }
  }
  const auto produced = static_cast<double>(answer.token_ids.size());
  if (produced > 1) answer.timings.per_token = decode_watch.elapsed_ms() / (produced - 1);
  emit(text.finish());
  answer.text = text.text();
  return {};
}

}  // namespace fovea
