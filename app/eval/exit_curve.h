#pragma once
// What a guided pair comes to when its guide answers a share of the questions itself: accuracy and
// time over the shares, from one run in which both models answered everything.

#include <string>
#include <vector>

#include "app/chart/chart.h"
#include "app/eval/eval_run.h"
#include "app/eval/statistics.h"
#include "kernels/base/json.h"

namespace fovea::app {

struct ExitPoint {
  double share = 0;  // of the questions that the guide answers
  std::optional<double> accuracy;
  std::optional<Interval> interval;
  std::optional<double> total_ms;  // mean over the questions, guide included
};

/// The same shares, chosen in one way.
struct ExitSeries {
  std::string by;  // score, confidence or random
  std::vector<ExitPoint> points;
};

struct ExitCurve {
  std::string setting;
  std::vector<ExitSeries> series;
};

/// Shares 0, 0.1 ... 1. By score or confidence the questions with the highest exit (the earlier one
/// first among equals); at random every question counts as both answers, in the share's proportion:
/// what drawing by lot gives on average. The guide's second pass counts only where the score
/// decides. A question that failed is wrong, and in no time. `outcomes`: of a setting with a guide,
/// whose Outcome::guide tells both answers.
ExitCurve exit_curve(const std::string& setting, const std::vector<Outcome>& outcomes,
                     const Bootstrap& bootstrap);

/// [{"prune", "series": [{"by", "points": [{"share", "accuracy", "interval", "total_ms"}]}]}]
Json exit_curves_json(const std::vector<ExitCurve>& curves);
std::string exit_table(const ExitCurve& curve);
/// RFC 4180: setting,exit_by,share,accuracy,low,high,total_ms.
std::string exit_csv(const std::vector<ExitCurve>& curves);
/// Accuracy against time.
Chart exit_chart(const std::vector<ExitCurve>& curves, const std::string& title);

}  // namespace fovea::app
