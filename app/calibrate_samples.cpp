#include "app/calibrate_samples.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/model_folder.h"
#include "app/question_run.h"
#include "app/report.h"
#include "kernels/base/file.h"

namespace fovea::app {
namespace {

Error stopped() {
  return make_error(ErrorCode::cancelled, "stopped; nothing was written");
}

Status use_item(const CalibrateQuestionOptions& options, const EvalItem& item,
                const std::filesystem::path& folder, const std::function<Status(Question&)>& use) {
  if (item.error) return *item.error;
  Question question;
  question.text = item.text;
  std::vector<std::string> files;
  for (const std::string& image : item.images) files.push_back((folder / image).string());
  FOVEA_TRY(question.images, load_pictures(files));
  question.sampling = sampling_options(options.generation);
  return use(question);
}

}  // namespace

int prepare_samples(const CalibrateQuestionOptions& options, SampleRun& run) {
  auto items = read_questions(options.questions, options.limit);
  if (!items) return report_error(items.error());
  run.items = std::move(*items);
  const auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  auto model = load_model(options.model);
  if (!model) return report_error(model.error(), Blame::model);
  run.model = std::move(*model);
  auto session = create_session(run.model, load->threads, options.generation, {});
  if (!session) return report_error(session.error(), Blame::model);
  run.session = std::move(*session);
  return kExitOk;
}

Result<std::vector<Error>> for_each_sample(const CalibrateQuestionOptions& options,
                                           const SampleRun& run,
                                           const std::function<Status(Question&)>& use) {
  const std::filesystem::path folder =
      options.image_folder.empty() ? default_image_folder(options.questions) : options.image_folder;
  const bool shown = !options.output.quiet && isatty(STDERR_FILENO) != 0;
  std::vector<Error> errors;
  for (std::size_t i = 0; i < run.items.size(); ++i) {
    if (interrupted()) return stopped();
    if (Status used = use_item(options, run.items[i], folder, use); !used) {
      Error& error = used.error();
      if (error.code == ErrorCode::cancelled) return stopped();
      if (error.code == ErrorCode::usage && error.field.starts_with("--")) return error;
      errors.push_back(std::move(error));
    }
    if (shown) std::fprintf(stderr, "\r%zu of %zu", i + 1, run.items.size());
  }
  if (shown) std::fputs("\r\033[K", stderr);
  return errors;
}

Result<Answer> read_prompt(Session& session, Question& question) {
  question.sampling.max_new_tokens = 1;
  question.as_if_fresh = true;
  FOVEA_TRY(Answer answer, session.ask(question, {}, &interrupted()));
  if (answer.finish_reason == FinishReason::cancelled) return stopped();
  return answer;
}

int finish_calibration(const CalibrateQuestionOptions& options, const std::string& text,
                       const std::vector<Error>& errors, const std::string& summary) {
  for (const Error& error : errors) report_error(error);
  if (const auto written = write_file_atomically(options.out, text); !written) {
    return report_error(written.error());
  }
  if (options.output.json) {
    auto json = parse_json(text);
    if (!json) return report_error(json.error());
    json->set("failed", static_cast<std::int64_t>(errors.size()));
    json->set("version", version());
    if (const auto written = write_json(options.output, *json); !written) {
      return report_error(written.error());
    }
  }
  if (!options.output.json_on_stdout()) {
    print_text("wrote " + options.out + "\n");
    if (!options.output.quiet) std::fputs(summary.c_str(), stderr);
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return errors.empty() ? kExitOk : kExitSomeFailed;
}

}  // namespace fovea::app
