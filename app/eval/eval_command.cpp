// fovea eval: accuracy, tokens and time on questions whose answers are known.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "app/commands.h"
#include "app/eval/eval_plot.h"
#include "app/eval/eval_report.h"
#include "app/eval/eval_run.h"
#include "app/exit_code.h"
#include "app/model_folder.h"
#include "app/report.h"
#include "app/score_dump.h"
#include "app/text.h"
#include "kernels/base/file.h"

namespace fovea::app {
namespace {

constexpr std::size_t kErrorsShown = 20;

/// Evidence must lie in the prompt.
void check_evidence(std::vector<EvalItem>& items, std::int64_t tokens_per_picture) {
  for (EvalItem& item : items) {
    if (item.error || !item.has_evidence()) continue;
    const std::int64_t tokens = tokens_per_picture * static_cast<std::int64_t>(item.images.size());
    if (item.evidence->back() < tokens) continue;
    item.error = make_error(ErrorCode::bad_input,
                            format("line %zu: token %d is named, and the question's %zu pictures "
                                   "have %lld, counted from 0",
                                   item.line, item.evidence->back(), item.images.size(),
                                   static_cast<long long>(tokens)))
                     .in_field("evidence");
  }
}

/// Stands for everything that an answer depends on beside its question.
std::string fingerprint(const EvalOptions& options, const LlavaModel& model,
                        const LlavaModel* guide, const std::string& name,
                        const PruneSetting* setting) {
  const GenerationOptions& g = options.generation;
  std::string text = model.config().model_id + "\n" + model.sha256() + "\n" +
                     dtype_text(model.dtype()) +
                     (model.device().kind == DeviceKind::cpu ? "\n" : " cuda\n") +
                     format("%d %.17g %.17g %llu %s %s\n", g.max_new_tokens, g.temperature, g.top_p,
                            static_cast<unsigned long long>(g.seed), g.chat_template.c_str(),
                            g.image_aspect.c_str());
  text += setting != nullptr ? setting->request.name : "control " + name;
  if (setting != nullptr && setting->needs_guide() && guide != nullptr) {
    text += "\n" + guide->config().model_id + "\n" + guide->sha256();
    if (options.guide_both) text += "\nboth";
  }
  if (setting != nullptr) {
    for (const auto& [key, value] : setting->choices) text += "\n" + key + "=" + value;
  }
  return sha256_hex(std::as_bytes(std::span(text))).substr(0, 16);
}

/// Settings first, then controls; each with its file of answers where one is wanted.
Result<std::vector<EvalColumn>> make_columns(const EvalOptions& options, const LlavaModel& model,
                                             const LlavaModel* guide) {
  std::vector<EvalColumn> columns;
  const auto& settings = options.prune.settings;
  std::set<std::string> paths;
  const auto open = [&](EvalColumn& column, const PruneSetting* setting) -> Status {
    const bool alone = setting != nullptr && settings.size() == 1;
    std::string path = alone ? options.answers : answer_path(options.answers, column.name);
    if (!paths.insert(path).second) {
      return make_error(ErrorCode::usage, "two settings would write their answers into one file")
          .in_file(path);
    }
    const AnswerSource source{model.config().model_id, column.name,
                              fingerprint(options, model, guide, column.name, setting)};
    FOVEA_TRY(column.answers, AnswerFile::open(path, source, options.resume));
    return {};
  };
  for (std::size_t i = 0; i < settings.size(); ++i) {
    EvalColumn column{settings[i].name, i, {}, {}, {}, {}};
    if (!options.answers.empty()) FOVEA_CHECK(open(column, &settings[i]));
    columns.push_back(std::move(column));
  }
  for (const std::string& written : options.controls) {
    FOVEA_TRY(Control control, read_control(written));
    const bool asks = control.kind != Control::Kind::majority;
    EvalColumn column{written, 0, std::move(control), {}, {}, {}};
    if (asks && !options.answers.empty()) FOVEA_CHECK(open(column, nullptr));
    columns.push_back(std::move(column));
  }
  return columns;
}

/// Has every setting that ranks by scores write them down. By setting; null for the others.
Result<std::vector<std::shared_ptr<ScoreRecord>>> record_all(std::vector<PruneSetting>& settings) {
  std::vector<std::shared_ptr<ScoreRecord>> records;
  for (PruneSetting& setting : settings) {
    FOVEA_TRY(auto record, record_scores(setting));
    records.push_back(std::move(record));
  }
  if (std::all_of(records.begin(), records.end(), [](const auto& r) { return r == nullptr; })) {
    return make_error(ErrorCode::usage, "no setting ranks by a score")
        .in_field("--dump-scores")
        .with_remedy("Name a method that ranks with --prune");
  }
  return records;
}

Status write_exits(const EvalOptions& options, const EvalResult& result,
                   const std::string& model_id) {
  FOVEA_CHECK(write_file_atomically(options.exit_curve, exit_csv(result.exits)));
  if (options.exit_plot.empty()) return {};
  const std::string title = model_id + " and its guide on " +
                            std::filesystem::path(options.questions).filename().string();
  FOVEA_TRY(const Image picture, draw_chart(exit_chart(result.exits, title)));
  FOVEA_TRY(const std::vector<std::byte> png, encode_png(picture));
  return write_file_atomically(options.exit_plot, png);
}

Status write_plot(const EvalOptions& options, const EvalRun& run, const EvalResult& result,
                  const std::string& model_id) {
  const std::string title =
      model_id + " on " + std::filesystem::path(options.questions).filename().string();
  FOVEA_TRY(const Image picture,
            draw_chart(eval_chart(run, result, options.prune.settings, title)));
  FOVEA_TRY(const std::vector<std::byte> png, encode_png(picture));
  return write_file_atomically(options.plot, png);
}

std::int64_t print_failures(const EvalRun& run) {
  std::int64_t failed = 0, all = 0;
  std::set<std::string> shown;
  for (const auto& outcomes : run.outcomes) {
    for (const Outcome& outcome : outcomes) {
      ++all;
      if (!outcome.error) continue;
      ++failed;
      const std::string text = outcome.error->to_string();
      if (shown.size() < kErrorsShown && shown.insert(text).second) report_error(*outcome.error);
    }
  }
  if (failed > 0) {
    std::fprintf(stderr, "fovea: %lld of %lld questions failed%s and count as wrong\n",
                 static_cast<long long>(failed), static_cast<long long>(all),
                 shown.size() == kErrorsShown ? " (the first 20 reasons are named)" : "");
  }
  return failed;
}

}  // namespace

int run_eval(const EvalOptions& options) {
  auto items = read_eval_items(options);
  if (!items) return report_error(items.error());
  auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  auto model = load_model(options.model);
  if (!model) return report_error(model.error(), Blame::model);
  const LlavaConfig& config = (*model)->config();
  const TokenGrid grid{config.visual_tokens_per_image(), config.vision.grid()};
  check_evidence(*items, grid.tokens);
  const auto guide = load_guide(options.prune, options.model);
  if (!guide) return report_error(guide.error(), Blame::model);
  std::vector<PruneSetting> settings = options.prune.settings;
  std::vector<std::shared_ptr<ScoreRecord>> records;
  if (!options.dump_scores.empty()) {
    auto made = record_all(settings);
    if (!made) return report_error(made.error());
    records = std::move(*made);
  }
  auto runner = make_setting_runner(*model, load->threads, options.generation, settings, *guide,
                                    options.guide_both);
  if (!runner) return report_error(runner.error());
  if (options.output.verbose) print_model_notes(runner->session());

  EvalRun run;
  run.items = std::move(*items);
  auto columns = make_columns(options, **model, guide->get());
  if (!columns) return report_error(columns.error());
  run.columns = std::move(*columns);
  for (EvalColumn& column : run.columns) {
    if (!column.control && !records.empty()) column.scores = records[column.setting];
  }
  if (const auto asked = ask_everything(options, *runner, run); !asked) {
    return report_error(asked.error());
  }
  const std::int64_t failures = print_failures(run);
  if (options.merge_seeds) merge_seeds(settings, run);
  EvalResult result = evaluate(run, grid, options.resamples);
  if (!options.exit_curve.empty()) {
    result.exits = exit_curves(run, settings, options.resamples);
    const auto written = write_exits(options, result, config.model_id);
    if (!written) return report_error(written.error());
  }

  if (!options.csv.empty()) {
    const auto written = write_file_atomically(options.csv, eval_csv(run, result));
    if (!written) return report_error(written.error());
  }
  if (!options.plot.empty()) {
    const auto written = write_plot(options, run, result, config.model_id);
    if (!written) return report_error(written.error());
  }
  if (options.output.json) {
    Json json = eval_json(run, result);
    json.set("questions", options.questions);
    json.set("resamples", options.resamples);
    json.set("model", model_json(**model, load->threads));
    json.set("version", version());
    if (const auto written = write_json(options.output, json); !written) {
      return report_error(written.error());
    }
  }
  if (!options.output.json_on_stdout()) {
    print_text(config.model_id + "\n" + eval_tables(run, result));
    if (!options.output.quiet) {
      std::fputs(
          "Intervals by resampling pictures. Tokens and evidence are means over the questions "
          "with pictures, times medians; each picture is encoded once, and that time counts for "
          "every question about it.\n",
          stderr);
    }
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return failures > 0 ? kExitSomeFailed : kExitOk;
}

}  // namespace fovea::app
