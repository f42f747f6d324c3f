// fovea eval: accuracy, tokens and time on questions whose answers are known.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <numeric>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/model_folder.h"
#include "app/question_file.h"
#include "app/question_run.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/base/file.h"

namespace fovea::app {
namespace {

constexpr std::size_t kErrorsShown = 20;

/// What became of one question.
struct Outcome {
  bool answered = false;
  bool right = false;
  std::string text;
  std::vector<std::int32_t> token_ids;
  FinishReason finish_reason = FinishReason::stop;
  double equivalent = 0, entering_mean = 0, first_token_ms = 0, total_ms = 0;
  std::optional<Error> error;
};

struct Count {
  std::int64_t questions = 0, right = 0;
  void add(bool is_right) {
    ++questions;
    right += is_right ? 1 : 0;
  }
  double accuracy() const {
    return questions > 0 ? static_cast<double>(right) / static_cast<double>(questions) : 0.0;
  }
};

Result<std::vector<EvalItem>> read_items(const EvalOptions& options) {
  FOVEA_TRY(std::vector<EvalItem> items, read_questions(options.questions, options.limit));
  std::string labels_path = options.labels;
  if (labels_path.empty()) {
    FOVEA_TRY(labels_path, default_labels(options.questions));
  }
  FOVEA_TRY(const auto labels, read_labels(labels_path));
  for (EvalItem& item : items) {
    if (item.error) continue;
    const auto found = labels.find(question_key(item.id));
    if (found != labels.end()) {
      item.accepted = found->second;
    } else {
      item.error =
          make_error(ErrorCode::bad_input, "line " + std::to_string(item.line) +
                                               ": no label has the id " + question_key(item.id))
              .in_file(labels_path);
    }
  }
  return items;
}

/// Questions about one picture come one after the other, so that the session encodes it once.
std::vector<std::size_t> order_by_picture(const std::vector<EvalItem>& items) {
  std::map<std::string, std::size_t> first_use;
  for (std::size_t i = 0; i < items.size(); ++i) first_use.emplace(items[i].image, i);
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return first_use[items[a].image] < first_use[items[b].image];
  });
  return order;
}

class Progress {
 public:
  Progress(std::size_t total, bool quiet)
      : total_(total), shown_(!quiet && isatty(STDERR_FILENO)) {}
  ~Progress() { clear(); }
  void step(std::int64_t right) {
    ++done_;
    if (shown_) {
      std::fprintf(stderr, "\r%zu of %zu, %lld right", done_, total_,
                   static_cast<long long>(right));
      std::fflush(stderr);
    }
  }
  void clear() {
    if (shown_ && done_ > 0) std::fputs("\r\033[K", stderr);
  }

 private:
  std::size_t total_, done_ = 0;
  bool shown_;
};

/// Asks every question. Errors: cancelled only; what fails for one question stays in its outcome.
Result<std::vector<Outcome>> ask_all(const EvalOptions& options, const std::vector<EvalItem>& items,
                                     Session& session) {
  const std::filesystem::path folder =
      options.image_folder.empty() ? default_image_folder(options.questions) : options.image_folder;
  std::vector<Outcome> outcomes(items.size());
  Progress progress(items.size(), options.output.quiet);
  std::int64_t right = 0;
  std::string loaded;
  Result<std::vector<std::shared_ptr<const Image>>> images(
      std::vector<std::shared_ptr<const Image>>{});
  for (const std::size_t index : order_by_picture(items)) {
    const EvalItem& item = items[index];
    Outcome& outcome = outcomes[index];
    if (item.error) {
      outcome.error = item.error;
      progress.step(right);
      continue;
    }
    if (item.image != loaded) {
      images = load_pictures({(folder / item.image).string()});
      loaded = item.image;
    }
    if (images) {
      Question question;
      question.text = item.text;
      question.images = *images;
      question.sampling = sampling_options(options.generation);
      auto answer = session.ask(question, {}, &interrupted());
      if (!answer) {
        outcome.error = answer.error();
      } else {
        if (answer->finish_reason == FinishReason::cancelled) {
          return make_error(ErrorCode::cancelled, "stopped; nothing was written");
        }
        outcome.answered = true;
        outcome.text = answer->text;
        outcome.token_ids = answer->token_ids;
        outcome.finish_reason = answer->finish_reason;
        outcome.equivalent = answer->budget.equivalent;
        outcome.entering_mean = answer->budget.entering_mean;
        outcome.first_token_ms = answer->timings.first_token;
        outcome.total_ms = answer->timings.total;
        outcome.right = answer_is_right(answer->text, item.accepted);
        right += outcome.right ? 1 : 0;
      }
    } else {
      outcome.error = images.error();
    }
    if (interrupted()) return make_error(ErrorCode::cancelled, "stopped; nothing was written");
    progress.step(right);
  }
  return outcomes;
}

/// Sums over all questions; one that failed counts as answered wrongly.
struct Totals {
  Count all;
  std::map<std::string, Count> by_category;
  std::int64_t failed = 0;
  double equivalent = 0, entering_mean = 0, first_token_ms = 0, total_ms = 0;  // means
};

Totals sum_up(const std::vector<EvalItem>& items, const std::vector<Outcome>& outcomes) {
  Totals totals;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    totals.all.add(outcome.right);
    if (!items[i].category.empty()) totals.by_category[items[i].category].add(outcome.right);
    if (!outcome.answered) ++totals.failed;
    totals.equivalent += outcome.equivalent;
    totals.entering_mean += outcome.entering_mean;
    totals.first_token_ms += outcome.first_token_ms;
    totals.total_ms += outcome.total_ms;
  }
  const double answered =
      static_cast<double>(std::max<std::int64_t>(1, totals.all.questions - totals.failed));
  totals.equivalent /= answered;
  totals.entering_mean /= answered;
  totals.first_token_ms /= answered;
  totals.total_ms /= answered;
  return totals;
}

Json totals_json(const Totals& totals, const std::string& setting) {
  Json by_category = Json::object(), counts = Json::object();
  for (const auto& [category, count] : totals.by_category) {
    by_category.set(category, count.accuracy());
    Json pair = Json::object();
    pair.set("questions", count.questions);
    pair.set("right", count.right);
    counts.set(category, std::move(pair));
  }
  Json run = Json::object();
  run.set("prune", setting);
  run.set("accuracy", totals.all.accuracy());
  run.set("by_category", std::move(by_category));
  run.set("equivalent", totals.equivalent);
  run.set("entering_mean", totals.entering_mean);
  run.set("first_token_ms", rounded_ms(totals.first_token_ms));
  run.set("total_ms", rounded_ms(totals.total_ms));
  run.set("exit_rate", 0.0);
  run.set("questions", totals.all.questions);
  run.set("right", totals.all.right);
  run.set("failed", totals.failed);
  run.set("category_counts", std::move(counts));
  return run;
}

std::string answers_text(const std::vector<EvalItem>& items, const std::vector<Outcome>& outcomes,
                         const std::string& model_id) {
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const EvalItem& item = items[i];
    const Outcome& outcome = outcomes[i];
    Json metadata = Json::object();
    if (outcome.answered) {
      metadata.set("token_ids", Json::array_of(outcome.token_ids));
      metadata.set("finish_reason", finish_reason_name(outcome.finish_reason));
      metadata.set("right", outcome.right);
      metadata.set("equivalent", outcome.equivalent);
      metadata.set("first_token_ms", rounded_ms(outcome.first_token_ms));
      metadata.set("total_ms", rounded_ms(outcome.total_ms));
    } else if (outcome.error) {
      metadata.set("error", outcome.error->to_string());
    }
    Json line = Json::object();
    line.set("question_id", item.id);
    line.set("prompt", item.text);
    line.set("text", trimmed(outcome.text));
    line.set("answer_id", model_id + "-" + std::to_string(item.line));
    line.set("model_id", model_id);
    line.set("metadata", std::move(metadata));
    text += line.dump() + "\n";
  }
  return text;
}

void print_table(const Totals& totals, const std::string& model_id) {
  std::size_t width = 8;
  for (const auto& [category, count] : totals.by_category) width = std::max(width, category.size());
  const int column = static_cast<int>(std::min<std::size_t>(width, 40));
  const auto row = [&](const std::string& name, const Count& count) {
    print_text(format("%-*.*s  %9lld  %6lld  %7.1f %%\n", column, column, name.c_str(),
                      static_cast<long long>(count.questions), static_cast<long long>(count.right),
                      100.0 * count.accuracy()));
  };
  print_text(
      format("%s\n%-*s  questions   right   accuracy\n", model_id.c_str(), column, "category"));
  for (const auto& [category, count] : totals.by_category) row(category, count);
  row("all", totals.all);
  print_text(
      format("visual tokens: equivalent %.1f, entering a layer %.1f; a question takes "
             "%.0f ms, %.0f to the first token (means; a picture is encoded once)\n",
             totals.equivalent, totals.entering_mean, totals.total_ms, totals.first_token_ms));
}

void print_failures(const std::vector<Outcome>& outcomes, std::int64_t failed) {
  std::size_t shown = 0;
  for (const Outcome& outcome : outcomes) {
    if (outcome.error && ++shown <= kErrorsShown) report_error(*outcome.error);
  }
  std::fprintf(stderr, "fovea: %lld of %zu questions failed%s and count as wrong\n",
               static_cast<long long>(failed), outcomes.size(),
               shown > kErrorsShown ? " (the first 20 are named)" : "");
}

}  // namespace

int run_eval(const EvalOptions& options) {
  auto items = read_items(options);
  if (!items) return report_error(items.error());
  auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  auto model = load_model(options.model);
  if (!model) return report_error(model.error(), Blame::model);
  const PruneSetting& setting = options.prune.settings.front();
  auto prune = make_prune_setup(setting, **model);
  if (!prune) return report_error(prune.error());
  auto session = create_session(*model, load->threads, options.generation, *prune);
  if (!session) return report_error(session.error(), Blame::model);
  if (options.output.verbose) print_model_notes(**session);

  auto outcomes = ask_all(options, *items, **session);
  if (!outcomes) return report_error(outcomes.error());
  const Totals totals = sum_up(*items, *outcomes);
  const std::string model_id = (*model)->config().model_id;

  if (!options.answers.empty()) {
    const auto written =
        write_file_atomically(options.answers, answers_text(*items, *outcomes, model_id));
    if (!written) return report_error(written.error());
  }
  if (options.output.json) {
    Json json = Json::object();
    json.set("runs", Json(Json::Array{totals_json(totals, setting.name)}));
    json.set("questions", options.questions);
    json.set("model", model_json(**model, load->threads));
    json.set("version", version());
    if (const auto written = write_json(options.output, json); !written) {
      return report_error(written.error());
    }
  }
  if (!options.output.json_on_stdout()) print_table(totals, model_id);
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  if (totals.failed == 0) return kExitOk;
  print_failures(*outcomes, totals.failed);
  return kExitSomeFailed;
}

}  // namespace fovea::app
