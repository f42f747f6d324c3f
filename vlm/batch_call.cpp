#include "vlm/batch_call.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/model_shapes.h"

namespace fovea {

namespace {

Status check_question(const Question& question) {
  if (!question.raw_prompt && blank(question.text)) return empty_question();
  FOVEA_CHECK(validate(question.sampling));
  const char* refused = question.continue_conversation ? "go on from earlier turns"
                        : question.trace               ? "be traced"
                        : question.introspect          ? "be looked into"
                        : question.observe             ? "be watched"
                                                       : nullptr;
  if (refused == nullptr) return {};
  return make_error(ErrorCode::unsupported,
                    std::string("a question that is answered beside others cannot ") + refused)
      .in_field("question")
      .with_remedy("Ask it by itself");
}

bool looks_at_logits(const std::unique_ptr<Running>& running) {
  return running->writer->looks_at_logits();
}

/// How each one's next token is chosen; empty where nobody draws.
std::vector<Draw> next_draws(const Runners& runners) {
  std::vector<Draw> draws;
  for (const auto& running : runners) draws.push_back(running->writer->next_draw());
  const bool any = std::any_of(draws.begin(), draws.end(),
                               [](const Draw& draw) { return draw.temperature > 0.0; });
  return any ? draws : std::vector<Draw>{};
}

/// The next token of an answer: the one chosen, or sampled here from its row of logits.
Status say_next(Context& context, Running& running, ConstTensorView logits, std::size_t row,
                std::int32_t chosen) {
  Workspace::Scope host_scope(context.host().workspace);
  ConstTensorView wanted;
  if (running.writer->looks_at_logits()) {
    FOVEA_TRY(wanted, to_host(context, logits.slice(static_cast<std::int64_t>(row), 1)));
  }
  return running.writer->say(wanted, chosen, running.answer);
}

}  // namespace

std::vector<Result<Answer>> BatchCall::run() {
  session_.timings = {};
  while (!waiting_.empty() || !running_.empty()) {
    Status went = admit();
    if (went) went = step();
    if (went) continue;
    if (went.error().code == ErrorCode::cancelled) {
      cancel_all();
    } else {
      fail_all(went.error());
    }
  }
  session_.timings.total = since_call_.elapsed_ms();
  std::vector<Result<Answer>> answers;
  for (auto& result : results_) answers.push_back(std::move(*result));
  return answers;
}

/// New questions enter when a good part of the places is free: a pass of few rows reads all the
/// weights too.
Status BatchCall::admit() {
  const std::size_t most = session_.options.most;
  const std::size_t free = most - running_.size();
  const bool few = blocked_ || free < std::max<std::size_t>(1, most / 4);
  if (waiting_.empty() || (!running_.empty() && few)) return {};
  FOVEA_CHECK(drop_ended(true));
  FOVEA_TRY(Runners fresh, take_next(most - running_.size()));
  Stopwatch watch;
  const Status read = read_prompts(std::move(fresh));
  session_.timings.prefill += watch.elapsed_ms();
  return read;
}

Status BatchCall::see(const std::vector<std::size_t>& indices) {
  std::vector<const Image*> images;
  for (const std::size_t index : indices) {
    for (const auto& image : questions_[index].images) {
      const Image* one = image.get();
      const bool known = seen_.contains(one) || unseen_.contains(one) ||
                         std::find(images.begin(), images.end(), one) != images.end();
      if (!known) images.push_back(one);
    }
  }
  auto found =
      session_.pictures.get_all(context_, *session_.model, images, session_.aspect, session_.tower);
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (found[i]) {
      seen_.emplace(images[i], std::move(*found[i]));
    } else if (found[i].error().code == ErrorCode::cancelled) {
      return found[i].error();
    } else {
      unseen_.emplace(images[i], found[i].error());
    }
  }
  return {};
}

Result<Runners> BatchCall::take_next(std::size_t most) {
  if (running_.empty()) bytes_ = 0;
  blocked_ = false;
  std::vector<std::size_t> next;
  while (!waiting_.empty() && next.size() < most) {
    const std::size_t index = waiting_.front();
    waiting_.pop_front();
    if (const Status asked = check_question(questions_[index]); !asked) {
      finish(index, asked.error());
    } else {
      next.push_back(index);
    }
  }
  Stopwatch watch;
  const Status saw = see(next);
  session_.timings.vision += watch.elapsed_ms();
  if (!saw) {
    waiting_.insert(waiting_.begin(), next.begin(), next.end());
    return saw.error();
  }
  Runners fresh;
  for (std::size_t n = 0; n < next.size(); ++n) {
    auto running = std::make_unique<Running>();
    running->index = next[n];
    running->question = &questions_[next[n]];
    const auto bad =
        std::find_if(running->question->images.begin(), running->question->images.end(),
                     [&](const auto& image) { return unseen_.contains(image.get()); });
    if (bad != running->question->images.end()) {
      finish(next[n], unseen_.at(bad->get()));
      continue;
    }
    if (const Status prepared = session_.prepare(*running, seen_); !prepared) {
      finish(next[n], prepared.error());
      continue;
    }
    if (bytes_ + running->bytes > session_.memory) {
      // It waits until others are done; those behind it keep their order.
      blocked_ = true;
      waiting_.insert(waiting_.begin(), next.begin() + static_cast<std::ptrdiff_t>(n), next.end());
      break;
    }
    bytes_ += running->bytes;
    fresh.push_back(std::move(running));
  }
  // Another question about the same picture finds it in the cache; its time was counted.
  seen_.clear();
  return fresh;
}

Status BatchCall::read_prompts(Runners fresh) {
  std::vector<std::int64_t> lengths;
  for (const auto& running : fresh) lengths.push_back(running->prompt.layout.tokens());
  std::size_t first = 0;
  for (const std::size_t count : prefill_passes(lengths)) {
    Runners pass;
    for (std::size_t i = first; i < first + count; ++i) pass.push_back(std::move(fresh[i]));
    first += count;
    if (Status read = read_pass(pass); !read) {  // cancelled: all end as those under way do
      for (Runners* left : {&pass, &fresh}) {
        for (auto& running : *left) {
          if (running != nullptr) running_.push_back(std::move(running));
        }
      }
      return read;
    }
  }
  return {};
}

void BatchCall::fail(Runners& pass, const Error& error) {
  for (auto& running : pass) {
    if (running == nullptr) continue;
    bytes_ -= running->bytes;
    finish(running->index, error);
    running = nullptr;
  }
}

/// Errors: cancelled; others are those of the answers.
Status BatchCall::read_pass(Runners& pass) {
  const std::int64_t vocabulary = session_.model->config().decoder.vocab_size;
  Workspace::Scope scope(context_.workspace);
  Stopwatch watch;
  const Status read = [&]() -> Status {
    FOVEA_TRY(
        const TensorView logits,
        context_.workspace.take({static_cast<std::int64_t>(pass.size()), vocabulary}, DType::f32));
    FOVEA_CHECK(session_.read(pass, logits));
    // Pages for the answers, while the device still works on the prompts.
    for (auto& running : pass) {
      const std::int64_t tokens =
          std::min<std::int64_t>(running->writer->left() - 1, KvCache::kPageTokens);
      if (context_.on_cuda() && tokens > 0) {
        FOVEA_CHECK(running->state.cache.reserve(context_, static_cast<std::int32_t>(tokens)));
      }
    }
    FOVEA_CHECK(synchronize(context_));
    for (auto& running : pass) {
      running->answer.timings.prefill = watch.elapsed_ms() / static_cast<double>(pass.size());
    }
    return start(pass, logits);
  }();
  if (read || read.error().code == ErrorCode::cancelled) return read;
  if (pass.size() == 1) {
    fail(pass, read.error());
    return {};
  }
  // What is wrong with one must not be the others' error.
  for (auto& running : pass) {
    if (running == nullptr) continue;
    Runners alone;
    alone.push_back(std::move(running));
    if (const Status stopped = read_pass(alone); !stopped) {
      running = std::move(alone.front());
      return stopped;
    }
  }
  return {};
}

/// First tokens, and a place in the batch for each answer that goes on.
Status BatchCall::start(Runners& pass, TensorView logits) {
  FOVEA_TRY(const TensorView there, context_.workspace.take({logits.rows()}, DType::i32));
  if (const std::vector<Draw> draws = next_draws(pass); draws.empty()) {
    FOVEA_CHECK(largest_index(context_, logits, there));
  } else {
    FOVEA_TRY(const ConstTensorView how, to_device(context_, draws_view(draws)));
    FOVEA_CHECK(draw_indices(context_, logits, how, there));
  }
  FOVEA_TRY(const Arriving arriving, Arriving::start(context_, there));
  FOVEA_TRY(const auto choices, arriving.wait());
  const double now = since_call_.elapsed_ms();
  for (std::size_t i = 0; i < pass.size(); ++i) {
    std::unique_ptr<Running> running = std::move(pass[i]);
    running->first_token_ms = now;
    running->answer.budget =
        account(running->answer.pruning, budget_shape(*session_.model),
                running->prompt.layout.tokens() - running->prompt.layout.visual_count());
    running->features.clear();
    if (const Status said = say_next(context_, *running, logits, i, choices[i]); !said) {
      bytes_ -= running->bytes;
      finish(running->index, said.error());
      continue;
    }
    if (running->writer->ended()) {
      bytes_ -= running->bytes;
      finish_answer(*running);
      continue;
    }
    const std::int32_t token = running->answer.token_ids.back();
    FOVEA_CHECK(batch_.enter(running->state, token, running->writer->left()));
    running_.push_back(std::move(running));
  }
  return {};
}

Status BatchCall::step() {
  if (running_.empty()) return {};
  Stopwatch watch;
  const Status stepped = [&]() -> Status {
    const bool host = std::any_of(running_.begin(), running_.end(), looks_at_logits);
    if (batch_.pending() == 0) FOVEA_CHECK(batch_.step(next_draws(running_)));
    // On a GPU the next step is ordered before these choices are here; one token too many of an
    // answer that turns out to be at its end is not looked at.
    const bool all_go_on = std::all_of(running_.begin(), running_.end(), [](const auto& running) {
      return running->writer->left() >= 2;
    });
    if (context_.on_cuda() && !host && all_go_on && batch_.pending() == 1) {
      FOVEA_CHECK(batch_.step(next_draws(running_)));
    }
    FOVEA_TRY(const auto choices, batch_.chosen());
    FOVEA_CHECK(say(choices));
    return drop_ended(false);
  }();
  session_.timings.decode += watch.elapsed_ms();
  return stepped;
}

Status BatchCall::say(std::span<const std::int32_t> choices) {
  for (std::size_t place = 0; place < running_.size(); ++place) {
    Running& running = *running_[place];
    AnswerWriter& writer = *running.writer;
    if (writer.ended()) continue;
    const bool sampled_here = writer.looks_at_logits();
    const Status said = say_next(context_, running, batch_.logits(), place, choices[place]);
    if (!said) {
      writer.fail(said.error());
    } else if (sampled_here && !writer.ended()) {
      FOVEA_CHECK(batch_.follow(place, running.answer.token_ids.back()));
    }
  }
  return {};
}

/// Answers that are final leave the batch. drain: steps under way are waited for even if nobody
/// leaves.
Status BatchCall::drop_ended(bool drain) {
  const auto ended = [](const auto& running) { return running->writer->ended(); };
  if (!drain && std::none_of(running_.begin(), running_.end(), ended)) return {};
  while (batch_.pending() > 0) {
    FOVEA_TRY(const auto choices, batch_.chosen());
    FOVEA_CHECK(say(choices));
  }
  for (std::size_t place = running_.size(); place-- > 0;) {
    if (!running_[place]->writer->ended()) continue;
    const std::unique_ptr<Running> running = std::move(running_[place]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(place));
    batch_.leave(place);
    bytes_ -= running->bytes;
    finish_answer(*running);
  }
  return {};
}

void BatchCall::finish(std::size_t index, Result<Answer> answer) {
  blocked_ = false;
  results_[index] = std::move(answer);
  if (on_answer_) on_answer_(index, *results_[index]);
}

void BatchCall::finish_answer(Running& running) {
  if (running.writer->error()) {
    finish(running.index, *running.writer->error());
    return;
  }
  Answer& answer = running.answer;
  running.writer->finish(answer);
  const double now = since_call_.elapsed_ms();
  answer.timings.first_token = running.first_token_ms;
  answer.timings.total = now;
  const auto produced = static_cast<double>(answer.token_ids.size());
  if (produced > 1) answer.timings.per_token = (now - running.first_token_ms) / (produced - 1);
  answer.layout = std::move(running.prompt.layout);
  finish(running.index, std::move(answer));
}

/// Those under way end with this error; those that wait may have better luck.
void BatchCall::fail_all(const Error& error) {
  batch_.clear();
  for (const auto& running : std::exchange(running_, {})) finish(running->index, error);
  bytes_ = 0;
  if (error.code != ErrorCode::device) return;
  for (const std::size_t index : std::exchange(waiting_, {})) finish(index, error);
}

void BatchCall::cancel_all() {
  batch_.clear();
  for (const auto& running : std::exchange(running_, {})) {
    running->answer.finish_reason = FinishReason::cancelled;
    running->writer->cancel();
    finish_answer(*running);
  }
  for (const std::size_t index : std::exchange(waiting_, {})) {
    Answer answer;
    answer.finish_reason = FinishReason::cancelled;
    finish(index, std::move(answer));
  }
}

}  // namespace fovea
