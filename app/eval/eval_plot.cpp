#include "app/eval/eval_plot.h"

#include <algorithm>
#include <set>

namespace fovea::app {
namespace {

/// The method and those of its choices that no schedule or seed is made of.
std::string series_name(const PruneSetting& setting) {
  static const std::set<std::string> left_out{"preset", "layers", "keep", "budget", "seed"};
  std::string name = setting.prunes() ? setting.request.name : setting.name;
  for (const auto& [key, value] : setting.choices) {
    if (!left_out.contains(key)) name += " " + key + "=" + value;
  }
  return name;
}

}  // namespace

Chart eval_chart(const EvalRun& run, const EvalResult& result,
                 const std::vector<PruneSetting>& settings, const std::string& title) {
  Chart chart;
  chart.title = title;
  chart.x_label = "visual tokens entering a layer (mean)";
  chart.y_label = "accuracy, %";
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    const Summary& summary = result.summaries[c];
    const auto accuracy = summary.all.value();
    if (!accuracy) continue;
    const auto& control = run.columns[c].control;
    if (control && !control->budget) {
      chart.levels.push_back({run.columns[c].name, 100 * *accuracy});
      continue;
    }
    if (!summary.entering_mean) continue;
    const std::string name = control ? "(" + control->name.substr(0, control->name.find(':')) + ")"
                                     : series_name(settings[run.columns[c].setting]);
    auto series = std::find_if(chart.series.begin(), chart.series.end(),
                               [&](const ChartSeries& known) { return known.name == name; });
    if (series == chart.series.end()) series = chart.series.insert(series, {name, {}});
    ChartPoint point{
        *summary.entering_mean + summary.guide_entering.value_or(0), 100 * *accuracy, {}, {}};
    if (summary.all.interval) {
      point.low = 100 * summary.all.interval->low;
      point.high = 100 * summary.all.interval->high;
    }
    series->points.push_back(point);
  }
  return chart;
}

}  // namespace fovea::app
