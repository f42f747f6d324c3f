#include "app/question_run.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/line_reader.h"
#include "app/model_folder.h"
#include "app/report.h"
#include "app/score_dump.h"
#include "app/text.h"

namespace fovea::app {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Error stopped() {
  return make_error(ErrorCode::cancelled, "stopped; nothing was written");
}

Result<std::string> question_text(const AskOptions& options) {
  if (options.raw_prompt) return *options.raw_prompt;
  if (options.question != "-") return options.question;
  FOVEA_TRY(std::string text, LineReader(STDIN_FILENO).rest());
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (trimmed(text).empty()) {
    return make_error(ErrorCode::usage, "the question read from stdin is empty");
  }
  return text;
}

}  // namespace

SamplingOptions sampling_options(const GenerationOptions& options) {
  SamplingOptions sampling;
  sampling.temperature = options.temperature;
  sampling.top_p = options.top_p;
  sampling.seed = options.seed;
  sampling.max_new_tokens = options.max_new_tokens;
  return sampling;
}

std::optional<AspectMode> aspect_choice(const GenerationOptions& options) {
  if (options.image_aspect == "pad") return AspectMode::pad;
  if (options.image_aspect == "crop") return AspectMode::crop;
  return std::nullopt;
}

Result<std::unique_ptr<Session>> create_session(std::shared_ptr<const LlavaModel> model,
                                                int threads, const GenerationOptions& options,
                                                const PruneSetup& prune) {
  SessionOptions session;
  session.policy = prune.policy;
  session.positions = prune.positions;
  session.tower = prune.tower;
  session.threads = threads;
  session.chat_template = options.chat_template;
  session.aspect = aspect_choice(options);
  return Session::create(std::move(model), std::move(session));
}

Result<std::vector<std::shared_ptr<const Image>>> load_pictures(
    const std::vector<std::string>& files) {
  std::vector<std::shared_ptr<const Image>> images;
  for (const std::string& file : files) {
    FOVEA_TRY(Image image, load_image(file));
    images.push_back(std::make_shared<const Image>(std::move(image)));
  }
  return images;
}

int prepare_question(const AskOptions& options, QuestionRun& run, Question& question) {
  auto text = question_text(options);
  if (!text) return report_error(text.error());
  run.question = *text;

  const Clock::time_point begun = Clock::now();
  auto images = load_pictures(options.images);
  if (!images) return report_error(images.error());
  run.images = std::move(*images);
  run.decode_image_ms = ms_since(begun);

  auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  run.threads = load->threads;
  auto model = load_model(options.model);
  if (!model) return report_error(model.error(), Blame::model);
  run.model = *model;
  if (interrupted()) return report_error(stopped());

  if (options.raw_prompt) {
    question.raw_prompt = run.question;
  } else {
    question.text = run.question;
  }
  question.images = run.images;
  question.sampling = sampling_options(options.generation);
  return kExitOk;
}

int run_question(const AskOptions& options, const Keep& keep, QuestionRun& run) {
  Question question;
  if (const int code = prepare_question(options, run, question); code != kExitOk) return code;
  question.trace = keep.trace;
  question.keep_logits = keep.logits;

  PruneSetting setting = options.prune.settings.front();
  if (keep.scores) {
    auto record = record_scores(setting);
    if (!record) return report_error(record.error());
    run.scores = std::move(*record);
    if (run.scores == nullptr) {
      return report_error(make_error(ErrorCode::usage, setting.name + " ranks by no score")
                              .in_field("--dump-scores")
                              .with_remedy("Name a method that ranks with --prune"));
    }
  }
  auto prune = make_prune_setup(setting, *run.model);
  if (!prune) return report_error(prune.error());
  run.prune = std::move(*prune);
  auto session = create_session(run.model, run.threads, options.generation, run.prune);
  if (!session) return report_error(session.error(), Blame::model);
  if (options.output.verbose) print_model_notes(**session);
  auto guide = load_guide(options.prune, options.model);
  if (!guide) return report_error(guide.error(), Blame::model);
  const auto attached =
      attach_guide(run.prune, {*guide, run.threads, options.generation.chat_template}, **session);
  if (!attached) return report_error(attached.error());

  const bool stream = !options.output.json_on_stdout();
  TextCallback on_text;
  if (stream) on_text = print_text;
  auto answer = ask(run.prune, **session, question, on_text, &interrupted());
  if (!answer) return report_error(answer.error());
  if (stream) print_text("\n");
  if (answer->finish_reason == FinishReason::cancelled) return report_error(stopped());
  run.answer = std::move(*answer);
  run.answer.timings.load = load_ms(run.prune, **session);
  run.answer.timings.decode_image = run.decode_image_ms;
  return kExitOk;
}

}  // namespace fovea::app
