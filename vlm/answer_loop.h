#pragma once
// From a read prompt to its answer: token by token, until one ends it, there is no room or nobody
// wants more.

#include <vector>

#include "vlm/decoder_trace.h"
#include "vlm/session.h"
#include "vlm/stopwatch.h"

namespace fovea {

/// Who looks on while an answer is made; null for nobody.
struct AnswerWatchers {
  DecoderTrace* trace = nullptr;
  AttentionObserver* observer = nullptr;
  std::vector<double>* step_maxima = nullptr;  // receives each step's largest probability
};

/// state and logits (f32 [1, vocabulary]) are as the prompt's prefill left them; next_position: the
/// first token's; since_preprocess: running from the start of preprocessing. Fills answer.text,
/// token_ids, finish_reason, logits as asked for, and the times of the first and of later tokens.
/// The state goes on to hold all but the last token. Errors: those of Sampler::create() and of
/// Decoder::decode(), but for cancelled, which is a finish_reason.
Status generate_answer(Context& context, const LlavaModel& model, const Question& question,
                       const TextCallback& on_text, const Stopwatch& since_preprocess,
                       std::int64_t next_position, DecoderState& state, TensorView logits,
                       const AnswerWatchers& watchers, Answer& answer);

}  // namespace fovea
