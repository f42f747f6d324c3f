// fovea calibrate debias: how the scores of a method grow with a token's index, averaged over
// sample questions, and the exponential that takes the trend out.

#include <algorithm>
#include <array>
#include <cmath>

#include "app/calibrate_samples.h"
#include "app/chart/chart.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/prune_setup.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/base/file.h"
#include "kernels/base/npy.h"
#include "pruning/debias_calibration.h"

namespace fovea::app {
namespace {

/// 1 / mean by index, where a mean is known and above 0; else 1 / the fit, joined to the same
/// scale.
std::vector<float> weight_table(const DebiasCalibration& calibration) {
  const std::vector<double>& mean = calibration.mean_scores;
  const auto fitted = [&](std::size_t i) {
    return std::exp(calibration.fit.sigma * static_cast<double>(i) /
                    static_cast<double>(mean.size() - 1));
  };
  double mu = 0, known = 0;
  for (std::size_t i = 0; i < mean.size(); ++i) {
    if (!std::isfinite(mean[i])) continue;
    mu += mean[i] / fitted(i);
    known += 1;
  }
  mu /= known;
  std::vector<float> weights;
  for (std::size_t i = 0; i < mean.size(); ++i) {
    const double value = std::isfinite(mean[i]) && mean[i] > 0 ? mean[i] : mu * fitted(i);
    weights.push_back(static_cast<float>(mu / value));
  }
  return weights;
}

Status write_table(const std::string& path, const DebiasCalibration& calibration) {
  const std::vector<float> weights = weight_table(calibration);
  const std::array shape{static_cast<std::int64_t>(weights.size())};
  return write_npy(path, shape, weights);
}

Status write_curve(const std::string& path, const DebiasCalibration& calibration) {
  const std::vector<double>& mean = calibration.mean_scores;
  Chart chart;
  chart.title = format("%s on %s: mean score by index, %lld questions", calibration.method.c_str(),
                       calibration.model.id.c_str(), static_cast<long long>(calibration.questions));
  chart.x_label = "index of the visual token";
  chart.y_label = "score, mean of all = 1";
  // Single cells scatter; a mean over as many as a row of 24 has shows the trend.
  constexpr std::size_t kBin = 24;
  double all = 0, count = 0, e = 0, ye = 0;
  for (std::size_t i = 0; i < mean.size(); ++i) {
    if (!std::isfinite(mean[i])) continue;
    const double fitted = std::exp(calibration.fit.sigma * static_cast<double>(i) /
                                   static_cast<double>(mean.size() - 1));
    all += mean[i];
    count += 1;
    e += fitted * fitted;
    ye += mean[i] * fitted;
  }
  const double scale = count / all, mu = ye / e;
  ChartSeries found{format("means of %zu cells", kBin), {}};
  ChartSeries fit{format("sigma %.3f", calibration.fit.sigma), {}};
  for (std::size_t begin = 0; begin < mean.size(); begin += kBin) {
    double sum = 0, here = 0;
    const std::size_t end = std::min(mean.size(), begin + kBin);
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(mean[i])) continue;
      sum += mean[i];
      here += 1;
    }
    const double x = 0.5 * static_cast<double>(begin + end - 1);
    if (here > 0) found.points.push_back({x, scale * sum / here, {}, {}});
    const double at = x / static_cast<double>(mean.size() - 1);
    fit.points.push_back({x, scale * mu * std::exp(calibration.fit.sigma * at), {}, {}});
  }
  chart.series = {std::move(found), std::move(fit)};
  FOVEA_TRY(const Image picture, draw_chart(chart));
  FOVEA_TRY(const std::vector<std::byte> png, encode_png(picture));
  return write_file_atomically(path, png);
}

std::string summary(const DebiasCalibration& calibration, std::int64_t left_out) {
  std::string text = format(
      "%s, cut at layer %d: sigma %.4f (least squares, explains %.0f %% of the variance), %.4f "
      "(through logarithms), over %lld questions with %zu visual tokens\n",
      calibration.method.c_str(), calibration.layer, calibration.fit.sigma,
      100 * calibration.fit.explained, calibration.fit.sigma_log,
      static_cast<long long>(calibration.questions), calibration.mean_scores.size());
  if (left_out > 0) {
    text += format("%lld questions with another number of visual tokens were left out\n",
                   static_cast<long long>(left_out));
  }
  return text;
}

}  // namespace

int run_calibrate_debias(const CalibrateDebiasOptions& options) {
  PruneSetting setting = options.prune.settings.front();
  const auto sums = std::make_shared<ScoreSums>();
  setting.request.adjustments.push_back(sums);
  // A method that ranks by no score says so before anything is loaded.
  if (const auto made = make_policy(setting.request); !made) return report_error(made.error());

  SampleRun run;
  if (const int code = prepare_samples(options, run); code != kExitOk) return code;
  const auto setup = make_prune_setup(setting, *run.model);
  if (!setup) return report_error(setup.error());
  int layer = -1;
  const auto errors = for_each_sample(options, run, [&](Question& question) -> Status {
    if (question.images.empty()) return {};  // nothing is ranked
    run.session->prune_with(setup->policy, setup->positions);
    FOVEA_TRY(const Answer answer, read_prompt(*run.session, question));
    if (!answer.pruning.stages.empty()) layer = answer.pruning.stages.front().layer;
    return {};
  });
  if (!errors) return report_error(errors.error());

  DebiasCalibration calibration;
  const ScoreSums::Mean mean = sums->mean();
  const auto fit = fit_trend(mean.score);
  if (!fit) {
    for (const Error& error : *errors) report_error(error);
    return report_error(fit.error());
  }
  calibration.method = setting.request.name;
  calibration.layer = layer;
  calibration.fit = *fit;
  calibration.mean_scores = mean.score;
  calibration.questions = mean.prompts;
  calibration.model = {run.model->config().model_id, run.model->sha256()};
  if (!options.table.empty()) {
    const auto written = write_table(options.table, calibration);
    if (!written) return report_error(written.error());
  }
  if (!options.plot.empty()) {
    const auto written = write_curve(options.plot, calibration);
    if (!written) return report_error(written.error());
  }
  return finish_calibration(options, to_json(calibration), *errors,
                            summary(calibration, sums->prompts() - mean.prompts));
}

}  // namespace fovea::app
