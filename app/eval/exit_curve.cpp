#include "app/eval/exit_curve.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "app/report.h"
#include "app/table.h"
#include "app/text.h"
#include "kernels/base/csv.h"

namespace fovea::app {
namespace {

constexpr int kSteps = 10;

/// Both answers to one question.
struct Pair {
  bool counts = false, told = false;
  double guide_right = 0, model_right = 0;
  double score = 0, confidence = 0;
  double guide_ms = 0, second_pass_ms = 0, model_ms = 0;
};

double number(const Json& json, const char* name) {
  const Json* value = json.find(name);
  return value != nullptr && value->is_number() ? value->as_double() : 0;
}

Pair pair_of(const Outcome& outcome) {
  Pair pair;
  pair.counts = outcome.counts();
  pair.told = outcome.guide.find("model_text") != nullptr;
  if (!pair.told) return pair;
  pair.guide_right = number(outcome.guide, "answer_score");
  pair.model_right = number(outcome.guide, "model_answer_score");
  pair.score = number(outcome.guide, "score");
  pair.confidence = number(outcome.guide, "confidence");
  pair.guide_ms = number(outcome.guide, "total_ms");
  pair.second_pass_ms = number(outcome.guide, "consistency_ms");
  pair.model_ms = number(outcome.guide, "model_total_ms");
  return pair;
}

/// exits[i]: from 0 (the large model answers question i) to 1 (the guide does).
ExitPoint point_of(const std::vector<Pair>& pairs, const std::vector<double>& exits, double share,
                   bool second_pass, const Bootstrap& bootstrap) {
  std::vector<std::optional<double>> right(pairs.size());
  double sum = 0, count = 0, ms = 0, timed = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const Pair& pair = pairs[i];
    if (!pair.counts) continue;
    right[i] = exits[i] * pair.guide_right + (1 - exits[i]) * pair.model_right;
    sum += *right[i];
    count += 1;
    if (!pair.told) continue;
    ms += pair.guide_ms - (second_pass ? 0 : pair.second_pass_ms) + (1 - exits[i]) * pair.model_ms;
    timed += 1;
  }
  ExitPoint point;
  point.share = share;
  if (count > 0) point.accuracy = sum / count;
  point.interval = bootstrap.interval(right);
  if (timed > 0) point.total_ms = ms / timed;
  return point;
}

template <class Value>
ExitSeries ranked(const char* by, const std::vector<Pair>& pairs, Value value, bool second_pass,
                  const Bootstrap& bootstrap) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (pairs[i].told) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return value(pairs[a]) > value(pairs[b]); });
  ExitSeries series{by, {}};
  for (int step = 0; step <= kSteps; ++step) {
    const double share = static_cast<double>(step) / kSteps;
    const auto first =
        static_cast<std::size_t>(std::llround(share * static_cast<double>(order.size())));
    std::vector<double> exits(pairs.size(), 0.0);
    for (std::size_t i = 0; i < first; ++i) exits[order[i]] = 1;
    series.points.push_back(point_of(pairs, exits, share, second_pass, bootstrap));
  }
  return series;
}

std::string percent(const std::optional<double>& value) {
  return value ? format("%.1f %%", 100 * *value) : "-";
}

}  // namespace

ExitCurve exit_curve(const std::string& setting, const std::vector<Outcome>& outcomes,
                     const Bootstrap& bootstrap) {
  std::vector<Pair> pairs;
  for (const Outcome& outcome : outcomes) pairs.push_back(pair_of(outcome));
  ExitCurve curve{setting, {}};
  curve.series.push_back(ranked(
      "score", pairs, [](const Pair& pair) { return pair.score; }, true, bootstrap));
  curve.series.push_back(ranked(
      "confidence", pairs, [](const Pair& pair) { return pair.confidence; }, false, bootstrap));
  ExitSeries random{"random", {}};
  for (int step = 0; step <= kSteps; ++step) {
    const double share = static_cast<double>(step) / kSteps;
    random.points.push_back(
        point_of(pairs, std::vector<double>(pairs.size(), share), share, false, bootstrap));
  }
  curve.series.push_back(std::move(random));
  return curve;
}

Json exit_curves_json(const std::vector<ExitCurve>& curves) {
  Json all = Json::array();
  for (const ExitCurve& curve : curves) {
    Json series = Json::array();
    for (const ExitSeries& one : curve.series) {
      Json points = Json::array();
      for (const ExitPoint& point : one.points) {
        Json json = Json::object();
        json.set("share", point.share);
        json.set("accuracy", point.accuracy ? Json(*point.accuracy) : Json());
        json.set("interval", point.interval ? Json(Json::Array{Json(point.interval->low),
                                                               Json(point.interval->high)})
                                            : Json());
        json.set("total_ms", point.total_ms ? Json(rounded_ms(*point.total_ms)) : Json());
        points.push(std::move(json));
      }
      Json json = Json::object();
      json.set("by", one.by);
      json.set("points", std::move(points));
      series.push(std::move(json));
    }
    Json json = Json::object();
    json.set("prune", curve.setting);
    json.set("series", std::move(series));
    all.push(std::move(json));
  }
  return all;
}

std::string exit_table(const ExitCurve& curve) {
  std::vector<Table::Column> titles{{"the guide answers"}};
  for (const ExitSeries& series : curve.series) {
    titles.insert(titles.end(), {{"by " + series.by}, {"time"}});
  }
  Table table(titles);
  for (std::size_t p = 0; p < curve.series.front().points.size(); ++p) {
    std::vector<std::string> cells{format("%.0f %%", 100 * curve.series.front().points[p].share)};
    for (const ExitSeries& series : curve.series) {
      const ExitPoint& point = series.points[p];
      std::string accuracy = percent(point.accuracy);
      if (point.interval) {
        accuracy +=
            format(" (%.0f to %.0f)", 100 * point.interval->low, 100 * point.interval->high);
      }
      cells.push_back(std::move(accuracy));
      cells.push_back(point.total_ms ? format("%.1f ms", *point.total_ms) : "-");
    }
    table.add(std::move(cells));
  }
  return curve.setting + "\n" + table.text();
}

std::string exit_csv(const std::vector<ExitCurve>& curves) {
  std::string text = csv_record(std::vector<std::string>{"setting", "exit_by", "share", "accuracy",
                                                         "low", "high", "total_ms"});
  const auto cell = [](const std::optional<double>& value) {
    return value ? format("%.6g", *value) : std::string();
  };
  for (const ExitCurve& curve : curves) {
    for (const ExitSeries& series : curve.series) {
      for (const ExitPoint& point : series.points) {
        std::optional<double> low, high;
        if (point.interval) {
          low = point.interval->low;
          high = point.interval->high;
        }
        text += csv_record(std::vector<std::string>{curve.setting, series.by, cell(point.share),
                                                    cell(point.accuracy), cell(low), cell(high),
                                                    cell(point.total_ms)});
      }
    }
  }
  return text;
}

Chart exit_chart(const std::vector<ExitCurve>& curves, const std::string& title) {
  Chart chart;
  chart.title = title;
  chart.x_label = "mean time of an answer, guide included, ms";
  chart.y_label = "accuracy, %";
  for (const ExitCurve& curve : curves) {
    for (const ExitSeries& series : curve.series) {
      const std::string name = curves.size() > 1 ? curve.setting + ", " : "";
      ChartSeries line{name + "exit by " + series.by, {}};
      for (const ExitPoint& point : series.points) {
        if (!point.accuracy || !point.total_ms) continue;
        ChartPoint at{*point.total_ms, 100 * *point.accuracy, {}, {}};
        if (point.interval) {
          at.low = 100 * point.interval->low;
          at.high = 100 * point.interval->high;
        }
        line.points.push_back(at);
      }
      chart.series.push_back(std::move(line));
    }
  }
  return chart;
}

}  // namespace fovea::app
