#include "app/compare.h"

#include <cstdio>

#include "app/exit_code.h"
#include "app/guide_report.h"
#include "app/interrupt.h"
#include "app/prune_report.h"
#include "app/question_run.h"
#include "app/report.h"
#include "app/setting_runner.h"
#include "app/table.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr std::size_t kAnswerWidth = 60;

struct Compared {
  Result<Answer> answer;
  bool changed = false;  // against the first setting's
};

Json run_json(const PruneSetting& setting, const Compared& compared, int layers) {
  Json json = Json::object();
  json.set("prune", setting.name);
  if (!compared.answer) {
    json.set("error", compared.answer.error().to_string());
    return json;
  }
  const Answer& answer = *compared.answer;
  json.set("answer", answer.text);
  json.set("changed", compared.changed);
  json.set("token_ids", Json::array_of(answer.token_ids));
  json.set("finish_reason", finish_reason_name(answer.finish_reason));
  json.set("visual_tokens", visual_tokens_json(answer, setting, layers));
  json.set("guide", guide_json(answer));
  json.set("timings_ms", timings_json(answer.timings));
  return json;
}

std::string table_text(const SettingRunner& runner, const std::vector<Compared>& all) {
  using Align = Table::Align;
  Table table({{"setting", Align::left},
               {"entering"},
               {"equivalent"},
               {"keys, values"},
               {"prefill"},
               {"first token"},
               {"total"},
               {"changed", Align::left},
               {"answer", Align::left}});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string& name = runner.setting(i).name;
    if (!all[i].answer) {
      table.add({name, "-", "-", "-", "-", "-", "-", "-", "failed"});
      continue;
    }
    const Answer& answer = *all[i].answer;
    const Timings& t = answer.timings;
    table.add({name, format("%.1f", answer.budget.entering_mean),
               format("%.1f", answer.budget.equivalent),
               byte_text(static_cast<double>(answer.budget.kv_bytes)), format("%.1f ms", t.prefill),
               format("%.1f ms", t.first_token), format("%.1f ms", t.total),
               i == 0           ? ""
               : all[i].changed ? "yes"
                                : "no",
               cell_text(answer.text, kAnswerWidth)});
  }
  return table.text();
}

}  // namespace

int run_compare(const AskOptions& options) {
  QuestionRun run;
  Question question;
  if (const int code = prepare_question(options, run, question); code != kExitOk) return code;
  auto guide = load_guide(options.prune, options.model);
  if (!guide) return report_error(guide.error(), Blame::model);
  auto runner = make_setting_runner(run.model, run.threads, options.generation,
                                    options.prune.settings, *guide);
  if (!runner) return report_error(runner.error(), Blame::model);
  if (options.output.verbose) print_model_notes(runner->session());

  // One token beforehand encodes the pictures and touches every weight, so that the first setting
  // does not pay for the others.
  Question first = question;
  first.sampling.max_new_tokens = 1;
  if (const auto warm = runner->session().ask(first, {}, &interrupted()); !warm) {
    return report_error(warm.error());
  }
  std::vector<Compared> all;
  bool failed = false;
  for (std::size_t i = 0; i < runner->size(); ++i) {
    Compared compared{runner->ask(i, question, &interrupted())};
    if (interrupted()) {
      return report_error(make_error(ErrorCode::cancelled, "stopped; nothing was written"));
    }
    failed = failed || !compared.answer;
    if (compared.answer && !all.empty() && all.front().answer) {
      compared.changed = compared.answer->token_ids != all.front().answer->token_ids;
    }
    all.push_back(std::move(compared));
  }

  const int layers = static_cast<int>(run.model->config().decoder.layers);
  if (options.output.json) {
    Json runs = Json::array();
    for (std::size_t i = 0; i < all.size(); ++i) {
      runs.push(run_json(runner->setting(i), all[i], layers));
    }
    Json json = Json::object();
    json.set("question", run.question);
    json.set("runs", std::move(runs));
    json.set("model", model_json(*run.model, run.threads));
    json.set("version", version());
    if (const auto written = write_json(options.output, json); !written) {
      return report_error(written.error());
    }
  }
  if (!options.output.json_on_stdout()) {
    print_text(table_text(*runner, all));
    if (!options.output.quiet) {
      std::fputs(
          "Each picture is encoded once, and that time counts for every setting; changed: against "
          "the first setting.\n",
          stderr);
      for (std::size_t i = 0; i < all.size(); ++i) {
        const PruneSetting& setting = runner->setting(i);
        if (!all[i].answer || !setting.prunes()) continue;
        std::fprintf(stderr, "%s: %s\n", schedule_source(setting).c_str(),
                     stages_text(all[i].answer->pruning).c_str());
      }
    }
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  for (const Compared& compared : all) {
    if (!compared.answer) report_error(compared.answer.error());
  }
  return failed ? kExitSomeFailed : kExitOk;
}

}  // namespace fovea::app
