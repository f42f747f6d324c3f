#include "app/eval/eval_run.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <span>

#include "app/interrupt.h"
#include "app/question_run.h"
#include "app/score_dump.h"
#include "app/text.h"

namespace fovea::app {
namespace {

using Images = std::vector<std::shared_ptr<const Image>>;

/// The pictures used last, read once.
class PictureFolder {
 public:
  explicit PictureFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  Result<Images> load(const std::vector<std::string>& names) {
    Images images;
    for (const std::string& name : names) {
      const auto known = std::find_if(recent_.begin(), recent_.end(),
                                      [&](const auto& entry) { return entry.first == name; });
      if (known != recent_.end()) {
        images.push_back(known->second);
        continue;
      }
      FOVEA_TRY(const Images loaded, load_pictures({(folder_ / name).string()}));
      recent_.emplace_front(name, loaded.front());
      if (recent_.size() > kKept) recent_.pop_back();
      images.push_back(loaded.front());
    }
    return images;
  }

 private:
  static constexpr std::size_t kKept = 32;
  std::filesystem::path folder_;
  std::deque<std::pair<std::string, std::shared_ptr<const Image>>> recent_;
};

/// "[######....]  1200 of 4000 answers, 91.2 % right, 3:05 left", on a terminal only.
class Progress {
 public:
  Progress(std::size_t total, bool quiet)
      : total_(total), shown_(!quiet && isatty(STDERR_FILENO) != 0) {}
  ~Progress() {
    if (shown_ && done_ > 0) std::fputs("\r\033[K", stderr);
  }

  void step(const Outcome& outcome, bool asked_now) {
    ++done_;
    asked_ += asked_now ? 1 : 0;
    counted_ += outcome.counts() ? 1 : 0;
    score_ += outcome.score;
    if (!shown_) return;
    constexpr std::size_t width = 24;
    const std::size_t full = total_ > 0 ? width * done_ / total_ : width;
    std::string line = "[" + std::string(full, '#') + std::string(width - full, '.') + "]";
    line += format(" %zu of %zu answers", done_, total_);
    if (counted_ > 0)
      line += format(", %.1f %% right", 100 * score_ / static_cast<double>(counted_));
    if (asked_ > 0) {
      const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
      const auto left = static_cast<long>(seconds / static_cast<double>(asked_) *
                                          static_cast<double>(total_ - done_));
      line += format(", %ld:%02ld left", left / 60, left % 60);
    }
    std::fprintf(stderr, "\r%s\033[K", line.c_str());
    std::fflush(stderr);
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::size_t total_, done_ = 0, asked_ = 0, counted_ = 0;
  double score_ = 0;
  bool shown_;
  Clock::time_point begun_ = Clock::now();
};

std::vector<std::size_t> order_by_picture(const std::vector<EvalItem>& items) {
  std::map<std::vector<std::string>, std::size_t> first_use;
  for (std::size_t i = 0; i < items.size(); ++i) first_use.emplace(items[i].images, i);
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return first_use[items[a].images] < first_use[items[b].images];
  });
  return order;
}

class Asker {
 public:
  Asker(const EvalOptions& options, SettingRunner& runner, EvalRun& run)
      : options_(options),
        runner_(runner),
        run_(run),
        folder_(options.image_folder.empty() ? default_image_folder(options.questions)
                                             : options.image_folder),
        majority_(majority_answers(run.items)),
        shuffled_(shuffled_pictures(run.items)),
        layers_(static_cast<int>(runner.session().model().config().decoder.layers)),
        picture_tokens_(runner.session().model().config().visual_tokens_per_image()) {}

  Status ask_all() {
    run_.outcomes.assign(run_.columns.size(), std::vector<Outcome>(run_.items.size()));
    Progress progress(run_.columns.size() * run_.items.size(), options_.output.quiet);
    const std::vector<std::size_t> order = order_by_picture(run_.items);
    // Some times as many as answer at once, so that the last ones of a part seldom answer alone.
    constexpr std::size_t kBatchesAPart = 8;
    const std::size_t part = options_.batch > 1 ? kBatchesAPart * options_.batch : 1;
    for (std::size_t first = 0; first < order.size(); first += part) {
      const auto indices = std::span(order).subspan(first, std::min(part, order.size() - first));
      for (std::size_t c = 0; c < run_.columns.size(); ++c) {
        if (options_.batch > 1 && !run_.columns[c].control) {
          FOVEA_CHECK(ask_side_by_side(c, indices, progress));
          continue;
        }
        for (const std::size_t index : indices) {
          if (interrupted()) return stopped();
          if (take_earlier(c, index, progress)) continue;
          FOVEA_TRY(Outcome outcome, ask(run_.columns[c], index));
          FOVEA_CHECK(settle(c, index, std::move(outcome), progress));
        }
      }
    }
    for (EvalColumn& column : run_.columns) {
      if (column.answers) FOVEA_CHECK(column.answers->finish(run_.items));
    }
    return {};
  }

 private:
  Error stopped() const {
    const bool kept = std::any_of(run_.columns.begin(), run_.columns.end(),
                                  [](const EvalColumn& c) { return c.answers.has_value(); });
    Error error = make_error(
        ErrorCode::cancelled,
        kept ? format("stopped; %zu answers of this run are in the answers file", answered_)
             : "stopped; nothing was written");
    if (kept) error.with_remedy("The same line with --resume goes on from there");
    return error;
  }

  /// Whether an earlier run has answered.
  bool take_earlier(std::size_t c, std::size_t index, Progress& progress) {
    const EvalColumn& column = run_.columns[c];
    const EvalItem& item = run_.items[index];
    if (!column.answers || item.error) return false;
    std::optional<Outcome> earlier = column.answers->earlier(item);
    if (!earlier) return false;
    run_.outcomes[c][index] = std::move(*earlier);
    progress.step(run_.outcomes[c][index], false);
    return true;
  }

  Status settle(std::size_t c, std::size_t index, Outcome outcome, Progress& progress) {
    EvalColumn& column = run_.columns[c];
    if (column.answers && outcome.counts()) {
      FOVEA_CHECK(column.answers->append(run_.items[index], outcome));
    }
    ++answered_;
    run_.outcomes[c][index] = std::move(outcome);
    progress.step(run_.outcomes[c][index], true);
    return {};
  }

  /// A schedule that does not fit the model fits no question.
  static bool ends_the_run(const Error& error) {
    return error.code == ErrorCode::usage && error.field.rfind("--", 0) == 0;
  }

  /// Questions that were not answered before, as many at a time as --batch says.
  Status ask_side_by_side(std::size_t c, std::span<const std::size_t> indices, Progress& progress) {
    std::vector<std::size_t> asked;
    std::vector<Question> questions;
    for (const std::size_t index : indices) {
      if (interrupted()) return stopped();
      if (take_earlier(c, index, progress)) continue;
      const EvalItem& item = run_.items[index];
      std::optional<Error> error = item.error;
      Images images;
      if (!error) {
        auto loaded = folder_.load(item.images);
        if (loaded)
          images = std::move(*loaded);
        else
          error = loaded.error();
      }
      if (error) {
        FOVEA_CHECK(settle(c, index, failed_outcome(*error), progress));
        continue;
      }
      Question& question = questions.emplace_back();
      question.text = item.text;
      question.images = std::move(images);
      question.sampling = sampling_options(options_.generation);
      asked.push_back(index);
    }
    if (batches_.empty()) batches_.resize(runner_.size());
    std::unique_ptr<BatchSession>& batch = batches_[run_.columns[c].setting];
    if (batch == nullptr) {
      FOVEA_TRY(batch, runner_.batch(run_.columns[c].setting, options_.batch));
    }
    Status went;
    const auto take = [&](std::size_t place, const Result<Answer>& answer) {
      if (!went) return;
      if (!answer && ends_the_run(answer.error())) {
        went = answer.error();
      } else if (answer && answer->finish_reason == FinishReason::cancelled) {
        went = stopped();
      } else {
        const std::size_t index = asked[place];
        went = settle(c, index,
                      answer ? outcome_of(*answer, run_.items[index], layers_)
                             : failed_outcome(answer.error()),
                      progress);
      }
    };
    batch->answer(questions, take, &interrupted());
    return went;
  }

  /// Errors: what ends the whole run.
  Result<Outcome> ask(const EvalColumn& column, std::size_t index) {
    const EvalItem& item = run_.items[index];
    if (item.error) return failed_outcome(*item.error);
    if (!column.control) {
      return ask_model(item, item.images, nullptr, column.setting, column.scores.get());
    }
    const Control& control = *column.control;
    if (control.kind == Control::Kind::majority) {
      Outcome outcome;
      outcome.state = Outcome::State::answered;
      outcome.text = majority_[index];
      outcome.score = answer_score(outcome.text, item.label);
      return outcome;
    }
    const auto visual = picture_tokens_ * static_cast<std::int64_t>(item.images.size());
    FOVEA_TRY(const std::optional<PruneSetup> setup,
              control_setup(control, item, {visual, layers_}));
    if (!setup) return Outcome{};
    if (control.kind != Control::Kind::shuffled) return ask_model(item, item.images, &*setup, 0);
    const std::vector<std::string>& others = shuffled_[index];
    if (others.empty() && !item.images.empty()) return Outcome{};
    FOVEA_TRY(Outcome outcome, ask_model(item, others, &*setup, 0));
    // The evidence lies in the picture that was not shown.
    outcome.evidence_kept.reset();
    outcome.evidence_kept_last.reset();
    return outcome;
  }

  Result<Outcome> ask_model(const EvalItem& item, const std::vector<std::string>& pictures,
                            const PruneSetup* setup, std::size_t setting,
                            ScoreRecord* scores = nullptr) {
    auto images = folder_.load(pictures);
    if (!images) return failed_outcome(images.error());
    Question question;
    question.text = item.text;
    question.images = std::move(*images);
    question.sampling = sampling_options(options_.generation);
    const auto answer = setup != nullptr ? runner_.ask(*setup, question, &interrupted())
                                         : runner_.ask(setting, question, &interrupted());
    if (!answer) {
      if (scores != nullptr) scores->clear();
      if (ends_the_run(answer.error())) return answer.error();
      return failed_outcome(answer.error());
    }
    if (answer->finish_reason == FinishReason::cancelled) return stopped();
    if (scores != nullptr) {
      const Json* word = item.id.is_string() ? &item.id : nullptr;
      const std::string id = word != nullptr ? word->as_string() : item.id.dump();
      const std::filesystem::path folder = std::filesystem::path(options_.dump_scores) /
                                           file_name(runner_.setting(setting).name) / file_name(id);
      FOVEA_CHECK(write_scores(folder.string(), *scores, *answer));
    }
    return outcome_of(*answer, item, layers_);
  }

  const EvalOptions& options_;
  SettingRunner& runner_;
  EvalRun& run_;
  PictureFolder folder_;
  std::vector<std::string> majority_;
  std::vector<std::vector<std::string>> shuffled_;
  int layers_;
  std::int64_t picture_tokens_;
  std::size_t answered_ = 0;
  std::vector<std::unique_ptr<BatchSession>> batches_;  // by setting; null where none was needed
};

}  // namespace

Result<std::vector<EvalItem>> read_eval_items(const EvalOptions& options) {
  FOVEA_TRY(std::vector<EvalItem> items, read_questions(options.questions, options.limit));
  if (options.num_chunks > 1) {
    const std::size_t chunks = static_cast<std::size_t>(options.num_chunks);
    const std::size_t size = (items.size() + chunks - 1) / chunks;
    const std::size_t begin = std::min(items.size(), size * options.chunk_idx);
    const std::size_t end = std::min(items.size(), begin + size);
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(end), items.end());
    items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  std::string labels_path = options.labels;
  if (labels_path.empty()) {
    FOVEA_TRY(labels_path, default_labels(options.questions));
  }
  FOVEA_TRY(const auto labels, read_labels(labels_path));
  for (EvalItem& item : items) {
    if (item.error) continue;
    const auto found = labels.find(question_key(item.id));
    if (found != labels.end()) {
      item.label = found->second;
    } else {
      item.error =
          make_error(ErrorCode::bad_input, "line " + std::to_string(item.line) +
                                               ": no label has the id " + question_key(item.id))
              .in_file(labels_path);
    }
  }
  return items;
}

Status ask_everything(const EvalOptions& options, SettingRunner& runner, EvalRun& run) {
  return Asker(options, runner, run).ask_all();
}

namespace {

/// What a setting says beside its seed.
std::string without_seed(const PruneSetting& setting) {
  std::string text = setting.request.name;
  for (const auto& [key, value] : setting.choices) {
    if (key != "seed") text += ":" + key + "=" + value;
  }
  return text;
}

std::optional<double> mean_of(const std::vector<const Outcome*>& outcomes,
                              const std::function<std::optional<double>(const Outcome&)>& value) {
  double sum = 0, count = 0;
  for (const Outcome* outcome : outcomes) {
    if (const auto one = value(*outcome)) {
      sum += *one;
      count += 1;
    }
  }
  if (count == 0) return std::nullopt;
  return sum / count;
}

Outcome mean_outcome(const std::vector<const Outcome*>& outcomes) {
  Outcome mean = *outcomes.front();
  for (const Outcome* outcome : outcomes) {
    mean.ran = mean.ran || outcome->ran;
    if (outcome->state == Outcome::State::failed) {
      mean.state = outcome->state;
      mean.error = outcome->error;
    }
  }
  mean.score = *mean_of(outcomes, [](const Outcome& o) { return std::optional(o.score); });
  const auto of_those_that_ran = [&](double Outcome::*field) {
    return mean_of(outcomes,
                   [&](const Outcome& o) { return o.ran ? std::optional(o.*field) : std::nullopt; })
        .value_or(0);
  };
  for (double Outcome::*field : {&Outcome::equivalent, &Outcome::entering_mean,
                                 &Outcome::first_token_ms, &Outcome::total_ms}) {
    mean.*field = of_those_that_ran(field);
  }
  for (std::optional<double> Outcome::*field :
       {&Outcome::evidence_kept, &Outcome::evidence_kept_last, &Outcome::padding_share,
        &Outcome::guide_entering}) {
    mean.*field = mean_of(outcomes, [&](const Outcome& o) { return o.*field; });
  }
  return mean;
}

}  // namespace

void merge_seeds(const std::vector<PruneSetting>& settings, EvalRun& run) {
  std::map<std::string, std::vector<std::size_t>> alike;  // columns
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    if (run.columns[c].control) continue;
    const PruneSetting& setting = settings[run.columns[c].setting];
    if (setting.choices.contains("seed")) alike[without_seed(setting)].push_back(c);
  }
  std::set<std::size_t> gone;
  for (const auto& [name, columns] : alike) {
    if (columns.size() < 2) continue;
    EvalColumn& column = run.columns[columns.front()];
    std::string seeds;
    for (const std::size_t c : columns) {
      seeds += (seeds.empty() ? "" : "+") + settings[run.columns[c].setting].choices.at("seed");
      double score = 0, count = 0;
      for (const Outcome& outcome : run.outcomes[c]) {
        score += outcome.counts() ? outcome.score : 0;
        count += outcome.counts() ? 1 : 0;
      }
      column.seed_accuracies.push_back(count > 0 ? score / count : 0);
      if (c != columns.front()) gone.insert(c);
    }
    column.name = name + ":seed=" + seeds;
    for (std::size_t i = 0; i < run.items.size(); ++i) {
      std::vector<const Outcome*> outcomes;
      for (const std::size_t c : columns) outcomes.push_back(&run.outcomes[c][i]);
      Outcome mean = mean_outcome(outcomes);
      run.outcomes[columns.front()][i] = std::move(mean);
    }
  }
  for (auto c = gone.rbegin(); c != gone.rend(); ++c) {
    run.columns.erase(run.columns.begin() + static_cast<std::ptrdiff_t>(*c));
    run.outcomes.erase(run.outcomes.begin() + static_cast<std::ptrdiff_t>(*c));
  }
}

}  // namespace fovea::app
