#include "app/classify_summary.h"

#include <algorithm>
#include <map>

#include "app/table.h"
#include "app/text.h"
#include "kernels/base/csv.h"

namespace fovea::app {
namespace {

constexpr std::size_t kNameWidth = 60;

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  if (!read_number(text, value)) return std::nullopt;
  return value;
}

/// The totals of some of a run's pictures.
ClassifyTotals totals_of(const ClassifyRun& run, const TrueClasses& truth,
                         const PictureGroup& group) {
  ClassifyRun part;
  TrueClasses known;
  for (const std::size_t i : group.pictures) {
    part.pictures.push_back(run.pictures[i]);
    if (!truth.empty()) known.push_back(truth[i]);
  }
  return total_of(part, known);
}

std::string accuracy_text(const ClassifyTotals& totals) {
  return totals.judged > 0 ? format("%.6g", totals.accuracy()) : std::string();
}

std::size_t most_cuts(const std::vector<ClassifyRun>& runs, const TrueClasses& truth) {
  std::size_t cuts = 0;
  for (const ClassifyRun& run : runs) cuts = std::max(cuts, total_of(run, truth).survivors.size());
  return cuts;
}

void add_survivors(const ClassifyTotals& totals, std::size_t cuts,
                   std::vector<std::string>& fields) {
  for (std::size_t cut = 0; cut < cuts; ++cut) {
    fields.push_back(cut < totals.survivors.size() ? format("%.6g", totals.survivors[cut]) : "");
  }
}

void add_cut_titles(std::size_t cuts, std::vector<std::string>& titles) {
  for (std::size_t cut = 1; cut <= cuts; ++cut) titles.push_back("left_" + std::to_string(cut));
}

/// "adaptive", "topk": a way of pruning without its choices.
std::string way_of(const ClassifyRun& run) {
  return run.setting.name.substr(0, run.setting.name.find(':'));
}

}  // namespace

std::string settings_csv(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                         const VitClassifier& model) {
  const std::size_t cuts = most_cuts(runs, truth);
  const VitConfig& vit = model.config().vit;
  const double whole = vit_work(vit).gflops(std::vector<std::int64_t>(
      static_cast<std::size_t>(model.encoder().run_layers()), vit.tokens()));
  std::vector<std::string> titles{"vit_prune",       "pictures",     "failed",
                                  "judged",          "right",        "accuracy",
                                  "gflops",          "gflops_share", "pictures_per_second",
                                  "model_per_second"};
  add_cut_titles(cuts, titles);
  std::string text = csv_record(titles);
  for (const ClassifyRun& run : runs) {
    const ClassifyTotals totals = total_of(run, truth);
    const double model_only =
        run.times.run_ms > 0 ? 1000.0 * static_cast<double>(totals.pictures) / run.times.run_ms : 0;
    std::vector<std::string> fields{run.setting.name,
                                    std::to_string(totals.pictures),
                                    std::to_string(totals.failed),
                                    std::to_string(totals.judged),
                                    std::to_string(totals.right),
                                    accuracy_text(totals),
                                    format("%.6g", totals.gflops),
                                    format("%.6g", totals.gflops / whole),
                                    format("%.6g", totals.per_second),
                                    format("%.6g", model_only)};
    add_survivors(totals, cuts, fields);
    text += csv_record(fields);
  }
  return text;
}

Chart settings_chart(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                     const std::string& title) {
  Chart chart;
  chart.title = title;
  chart.x_label = "GFLOPs a picture";
  chart.y_label = "accuracy, %";
  for (const ClassifyRun& run : runs) {
    const ClassifyTotals totals = total_of(run, truth);
    const std::string name = way_of(run);
    auto series = std::ranges::find(chart.series, name, &ChartSeries::name);
    if (series == chart.series.end()) series = chart.series.insert(series, {name, {}});
    series->points.push_back({totals.gflops, 100 * totals.accuracy(), {}, {}});
  }
  return chart;
}

std::vector<PictureGroup> group_pictures(const std::vector<std::string>& values) {
  std::map<std::string, std::vector<std::size_t>> by_value;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!values[i].empty()) by_value[values[i]].push_back(i);
  }
  std::vector<PictureGroup> groups;
  for (auto& [value, pictures] : by_value) groups.push_back({value, std::move(pictures)});
  std::stable_sort(groups.begin(), groups.end(), [](const PictureGroup& a, const PictureGroup& b) {
    const auto first = number_in(a.value), second = number_in(b.value);
    if (first && second) return *first < *second;
    return first.has_value() && !second.has_value();
  });
  return groups;
}

std::string groups_csv(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                       const std::string& column, const std::vector<PictureGroup>& groups) {
  const std::size_t cuts = most_cuts(runs, truth);
  std::vector<std::string> titles{"vit_prune", column, "pictures", "accuracy", "gflops"};
  add_cut_titles(cuts, titles);
  std::string text = csv_record(titles);
  for (const ClassifyRun& run : runs) {
    for (const PictureGroup& group : groups) {
      const ClassifyTotals totals = totals_of(run, truth, group);
      std::vector<std::string> fields{run.setting.name, group.value,
                                      std::to_string(totals.pictures), accuracy_text(totals),
                                      format("%.6g", totals.gflops)};
      add_survivors(totals, cuts, fields);
      text += csv_record(fields);
    }
  }
  return text;
}

std::string groups_table(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                         const std::string& column, const std::vector<PictureGroup>& groups) {
  std::vector<Table::Column> titles{{cell_text(column, kNameWidth)}, {"pictures"}};
  for (const ClassifyRun& run : runs) titles.push_back({cell_text(run.setting.name, kNameWidth)});
  Table table(titles);
  for (const PictureGroup& group : groups) {
    std::vector<std::string> cells{cell_text(group.value, kNameWidth),
                                   std::to_string(group.pictures.size())};
    for (const ClassifyRun& run : runs) {
      const ClassifyTotals totals = totals_of(run, truth, group);
      std::string cell = totals.survivors.empty() ? "all" : format("%.1f", totals.survivors.back());
      if (totals.judged > 0) cell += format(" (%.1f %% right)", 100 * totals.accuracy());
      cells.push_back(std::move(cell));
    }
    table.add(std::move(cells));
  }
  return "patches left after the last cut, by " + column + "\n" + table.text();
}

Chart groups_chart(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                   const std::string& column, const std::vector<PictureGroup>& groups) {
  Chart chart;
  chart.title = "patches left after the last cut";
  chart.x_label = column;
  chart.y_label = "patches, mean";
  for (const ClassifyRun& run : runs) {
    ChartSeries series{run.setting.name, {}};
    for (const PictureGroup& group : groups) {
      const ClassifyTotals totals = totals_of(run, truth, group);
      const auto x = number_in(group.value);
      if (!totals.survivors.empty() && x) {
        series.points.push_back({*x, totals.survivors.back(), {}, {}});
      }
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

Json groups_json(const ClassifyRun& run, const TrueClasses& truth,
                 const std::vector<PictureGroup>& groups) {
  Json all = Json::array();
  for (const PictureGroup& group : groups) {
    const ClassifyTotals totals = totals_of(run, truth, group);
    Json item = Json::object();
    item.set("value", group.value);
    item.set("pictures", totals.pictures);
    item.set("accuracy", totals.judged > 0 ? Json(totals.accuracy()) : Json());
    item.set("gflops", totals.gflops);
    item.set("survivors", Json::array_of(totals.survivors));
    all.push(std::move(item));
  }
  return all;
}

}  // namespace fovea::app
