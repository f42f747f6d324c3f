// fovea classify: what pictures show, by a Vision Transformer with a classification head.

#include <unistd.h>

#include <cstdio>
#include <limits>

#include "app/chart/chart.h"
#include "app/classify_report.h"
#include "app/classify_summary.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/model_folder.h"
#include "app/picture_list.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/base/file.h"
#include "kernels/base/npy.h"
#include "kernels/device.h"
#include "vlm/stopwatch.h"

namespace fovea::app {
namespace {

constexpr std::size_t kErrorsShown = 20;

Result<std::shared_ptr<const VitClassifier>> load_classifier(const ClassifyOptions& options,
                                                             const LoadOptions& load) {
  FOVEA_TRY(const std::string folder, find_classifier_folder(options.model));
  ClassifierOptions chosen;
  chosen.dtype = load.dtype == DTypeChoice::bf16  ? LinearDType::bf16
                 : load.dtype == DTypeChoice::f16 ? LinearDType::f16
                                                  : LinearDType::f32;
  chosen.device = load.device;
  chosen.threads = load.threads;
  chosen.image_size = options.image_size;
  FOVEA_TRY(auto model, VitClassifier::load(folder, chosen));
  if (model->classes() > 0) return model;
  return make_error(ErrorCode::unsupported, "this model has no classification head")
      .in_file(folder)
      .with_remedy("--model takes the folder of a classifier");
}

Status write_chart(const std::string& path, const Chart& chart) {
  FOVEA_TRY(const Image picture, draw_chart(chart));
  FOVEA_TRY(const std::vector<std::byte> png, encode_png(picture));
  return write_file_atomically(path, png);
}

/// What is written about the settings side by side.
Status write_summaries(const ClassifyOptions& options, const std::vector<ClassifyRun>& runs,
                       const TrueClasses& truth, const VitClassifier& model,
                       const std::vector<PictureGroup>& groups) {
  if (!options.settings_csv.empty()) {
    FOVEA_CHECK(write_file_atomically(options.settings_csv, settings_csv(runs, truth, model)));
  }
  if (!options.settings_plot.empty()) {
    const std::string title = model.config().model_id + ": accuracy by work";
    FOVEA_CHECK(write_chart(options.settings_plot, settings_chart(runs, truth, title)));
  }
  if (!options.by_csv.empty()) {
    FOVEA_CHECK(write_file_atomically(options.by_csv, groups_csv(runs, truth, options.by, groups)));
  }
  if (!options.by_plot.empty()) {
    FOVEA_CHECK(write_chart(options.by_plot, groups_chart(runs, truth, options.by, groups)));
  }
  return {};
}

Result<ClassifyRun> run_setting(const ClassifyOptions& options, const VitPruneSetting& setting,
                                const VitClassifier& model,
                                const std::vector<std::string>& pictures, int threads) {
  ClassifyRun run;
  run.setting = setting;
  FOVEA_TRY(run.setup, make_vit_prune_setup(setting, model));
  ClassifySettings settings;
  settings.top = options.top_k;
  settings.batch = options.batch;
  settings.keep_logits = !options.dump_logits.empty();
  settings.prune = run.setup.settings;
  settings.tome = run.setup.tome;
  FOVEA_TRY(Context context, make_context(model.device(), threads));
  context.cancel = &interrupted();
  const bool shown = !options.output.quiet && isatty(STDERR_FILENO) != 0;
  const auto progress = [&](std::size_t done) {
    if (!shown) return;
    std::fprintf(stderr, "\r%zu of %zu pictures", done, pictures.size());
    if (done == pictures.size()) std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
  };
  FOVEA_TRY(run.pictures,
            classify_pictures(context, model, pictures, settings, progress, &run.times));
  return run;
}

Status write_logits(const std::string& path, const ClassifyRun& run, std::int64_t classes) {
  std::vector<float> values;
  for (const ClassifiedPicture& picture : run.pictures) {
    if (picture.error) {
      values.resize(values.size() + static_cast<std::size_t>(classes),
                    std::numeric_limits<float>::quiet_NaN());
    } else {
      values.insert(values.end(), picture.logits.begin(), picture.logits.end());
    }
  }
  const std::array<std::int64_t, 2> shape{std::ssize(run.pictures), classes};
  return write_npy(path, shape, std::span<const float>(values));
}

void print_totals(const ClassifyRun& run, const TrueClasses& truth, const VitClassifier& model,
                  int threads, double load_ms) {
  const ClassifyTotals totals = total_of(run, truth);
  std::fprintf(stderr, "%lld pictures, %.1f a second (reading %.0f ms, model %.0f ms)\n",
               static_cast<long long>(totals.pictures), totals.per_second, run.times.read_ms,
               run.times.run_ms);
  if (totals.judged > 0) {
    std::fprintf(stderr, "right: %lld of %lld (%.2f %%)\n", static_cast<long long>(totals.right),
                 static_cast<long long>(totals.judged), 100.0 * totals.accuracy());
  }
  if (run.setting.prunes) {
    std::string left;
    for (const double count : totals.survivors) left += format(" %.1f", count);
    std::fprintf(stderr, "patches left of %lld, on average:%s; %.4g GFLOPs a picture\n",
                 static_cast<long long>(model.config().vit.patches()), left.c_str(), totals.gflops);
  }
  std::fprintf(stderr, "%s, %s on %s, loaded in %.0f ms\n", model.config().model_id.c_str(),
               dtype_text(model.dtype()), place_text(model.device(), threads).c_str(), load_ms);
}

/// The rows already say which pictures failed; people want to know why.
void print_failures(const ClassifyRun& run, std::int64_t failed) {
  std::size_t shown = 0;
  for (const ClassifiedPicture& picture : run.pictures) {
    if (picture.error && ++shown <= kErrorsShown) report_error(*picture.error);
  }
  std::fprintf(stderr, "fovea: %lld of %zu pictures failed%s\n", static_cast<long long>(failed),
               run.pictures.size(), shown > kErrorsShown ? " (the first 20 are named)" : "");
}

}  // namespace

int run_classify(const ClassifyOptions& options) {
  const auto pictures = list_pictures(options.paths);
  if (!pictures) return report_error(pictures.error());
  const auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  Stopwatch watch;
  const auto loaded = load_classifier(options, *load);
  if (!loaded) return report_error(loaded.error(), Blame::model);
  const double load_ms = watch.lap_ms();
  const VitClassifier& model = **loaded;
  if (options.output.verbose) {
    for (const std::string& note : model.notes()) {
      std::fprintf(stderr, "note: %s\n", note.c_str());
    }
    print_algorithms_note(model.device());
  }
  TrueClasses truth;
  if (!options.labels.empty()) {
    auto read = read_true_classes(options.labels, *pictures, model);
    if (!read) return report_error(read.error());
    truth = std::move(*read);
  }
  std::vector<PictureGroup> groups;
  if (!options.by.empty()) {
    const auto values = read_label_column(options.labels, *pictures, options.by);
    if (!values) return report_error(values.error());
    groups = group_pictures(*values);
  }
  std::vector<ClassifyRun> runs;
  for (const VitPruneSetting& setting : options.prune.settings) {
    auto run = run_setting(options, setting, model, *pictures, load->threads);
    if (!run) return report_error(run.error());
    runs.push_back(std::move(*run));
  }

  const ClassifyRun& first = runs.front();
  if (!options.csv.empty()) {
    const auto written =
        write_file_atomically(options.csv, classify_csv(first, model, options.top_k));
    if (!written) return report_error(written.error());
  }
  if (!options.dump_logits.empty()) {
    const auto written = write_logits(options.dump_logits, first, model.classes());
    if (!written) return report_error(written.error());
  }
  const auto summarised = write_summaries(options, runs, truth, model, groups);
  if (!summarised) return report_error(summarised.error());
  if (options.output.json) {
    const auto written = write_json(
        options.output, classify_json(runs, truth, model, load->threads, load_ms, groups));
    if (!written) return report_error(written.error());
  }
  if (runs.size() > 1) {
    if (!options.output.json_on_stdout()) print_text(settings_table(runs, truth));
  } else if (!options.output.json_on_stdout() && options.csv.empty()) {
    print_text(classify_table(first, model));
  }
  if (!groups.empty() && !options.output.json_on_stdout()) {
    print_text("\n" + groups_table(runs, truth, options.by, groups));
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  if (!options.output.quiet && !options.output.json_on_stdout()) {
    print_totals(first, truth, model, load->threads, load_ms);
  }
  const std::int64_t failed = total_of(first, truth).failed;
  if (failed == 0) return kExitOk;
  print_failures(first, failed);
  return kExitSomeFailed;
}

}  // namespace fovea::app
