#include "app/eval/eval_report.h"

#include "app/report.h"
#include "app/table.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr std::uint64_t kBootstrapSeed = 1;
constexpr std::size_t kNameWidth = 60;
constexpr std::size_t kFewColumns = 3;  // that fit beside each other with intervals

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

Json interval_json(const std::optional<Interval>& interval) {
  if (!interval) return {};
  return Json(Json::Array{Json(interval->low), Json(interval->high)});
}

const char* kind_name(Group::Kind kind) {
  switch (kind) {
    case Group::Kind::category:
      return "category";
    case Group::Kind::evidence:
      return "evidence";
    case Group::Kind::evidence_size:
      return "evidence_size";
    case Group::Kind::evidence_row:
      return "evidence_row";
  }
  return "";
}

Json accuracy_json(const Accuracy& accuracy, const std::string& note) {
  Json json = Json::object();
  json.set("accuracy", optional_json(accuracy.value()));
  json.set("interval", interval_json(accuracy.interval));
  json.set("questions", accuracy.questions);
  if (!note.empty()) json.set("note", note);
  return json;
}

Json column_json(const EvalColumn& column, const EvalResult& result, const Summary& summary) {
  Json by_category = Json::object(), counts = Json::object();
  Json by_evidence = Json::object();
  for (const Group::Kind kind : {Group::Kind::evidence_size, Group::Kind::evidence_row}) {
    by_evidence.set(kind_name(kind), Json::object());
  }
  Json with_evidence;
  for (std::size_t g = 0; g < result.groups.size(); ++g) {
    const Group& group = result.groups[g];
    const Accuracy& accuracy = summary.groups[g];
    switch (group.kind) {
      case Group::Kind::category:
        by_category.set(group.name, optional_json(accuracy.value()));
        counts.set(group.name, accuracy_json(accuracy, ""));
        break;
      case Group::Kind::evidence:
        with_evidence = accuracy_json(accuracy, "");
        break;
      case Group::Kind::evidence_size:
      case Group::Kind::evidence_row: {
        Json known = *by_evidence.find(kind_name(group.kind));
        known.set(group.name, accuracy_json(accuracy, group.note));
        by_evidence.set(kind_name(group.kind), std::move(known));
        break;
      }
    }
  }
  Json json = Json::object();
  json.set(column.control ? "control" : "prune", column.name);
  json.set("accuracy", optional_json(summary.all.value()));
  json.set("interval", interval_json(summary.all.interval));
  json.set("by_category", std::move(by_category));
  json.set("equivalent", optional_json(summary.equivalent));
  json.set("entering_mean", optional_json(summary.entering_mean));
  json.set("first_token_ms",
           summary.first_token_ms ? Json(rounded_ms(*summary.first_token_ms)) : Json());
  json.set("total_ms", summary.total_ms ? Json(rounded_ms(*summary.total_ms)) : Json());
  json.set("exit_rate", optional_json(summary.exit_rate));
  json.set("difference", optional_json(summary.difference_value));
  json.set("difference_interval", interval_json(summary.difference));
  json.set("questions", summary.all.questions);
  json.set("right", summary.right);
  json.set("failed", summary.failed);
  json.set("category_counts", std::move(counts));
  json.set("with_evidence", std::move(with_evidence));
  json.set("by_evidence_size", *by_evidence.find("evidence_size"));
  json.set("by_evidence_row", *by_evidence.find("evidence_row"));
  json.set("guide_entering", optional_json(summary.guide_entering));
  json.set("evidence_kept", optional_json(summary.evidence_kept));
  json.set("evidence_kept_last", optional_json(summary.evidence_kept_last));
  json.set("padding_share", optional_json(summary.padding_share));
  if (!column.seed_accuracies.empty()) {
    json.set("seed_accuracies", Json::array_of(column.seed_accuracies));
  }
  return json;
}

// ---- Tables ------------------------------------------------------------------------------------

std::string percent_text(const std::optional<double>& value) {
  return value ? format("%.1f %%", 100 * *value) : "-";
}

std::string interval_text(const std::optional<Interval>& interval, const char* pattern) {
  if (!interval) return "-";
  return format(pattern, 100 * interval->low) + " to " + format(pattern, 100 * interval->high);
}

std::string number_text(const std::optional<double>& value, const char* unit = "") {
  return value ? format("%.1f%s", *value, unit) : "-";
}

std::string column_name(const EvalColumn& column) {
  return cell_text(column.control ? "(" + column.name + ")" : column.name, kNameWidth);
}

std::string cost_table(const EvalRun& run, const EvalResult& result) {
  bool evidence = false, padding = false, guides = false;
  for (const Summary& summary : result.summaries) {
    evidence = evidence || summary.evidence_kept;
    padding = padding || summary.padding_share;
    guides = guides || summary.guide_entering;
  }
  using Align = Table::Align;
  std::vector<Table::Column> titles{{"setting", Align::left}, {"questions"}, {"accuracy"},
                                    {"95 % interval"},        {"entering"},  {"equivalent"}};
  const bool differences = run.columns.size() > 1;
  if (differences) titles.insert(titles.begin() + 4, {"against the first"});
  if (evidence) titles.insert(titles.end(), {{"evidence kept"}, {"at the end"}});
  if (padding) titles.push_back({"padding"});
  if (guides) titles.insert(titles.end(), {{"guide's work"}, {"exits"}});
  titles.insert(titles.end(), {{"first token"}, {"total"}});
  Table table(titles);
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    const Summary& s = result.summaries[c];
    std::vector<std::string> cells{column_name(run.columns[c]), std::to_string(s.all.questions),
                                   percent_text(s.all.value()),
                                   interval_text(s.all.interval, "%.1f")};
    if (differences) {
      cells.push_back(s.difference ? interval_text(s.difference, "%+.1f") : "");
    }
    cells.push_back(number_text(s.entering_mean));
    cells.push_back(number_text(s.equivalent));
    if (evidence) {
      cells.push_back(percent_text(s.evidence_kept));
      cells.push_back(percent_text(s.evidence_kept_last));
    }
    if (padding) cells.push_back(percent_text(s.padding_share));
    if (guides) {
      cells.push_back(number_text(s.guide_entering));
      cells.push_back(percent_text(s.exit_rate));
    }
    cells.push_back(number_text(s.first_token_ms, " ms"));
    cells.push_back(number_text(s.total_ms, " ms"));
    table.add(std::move(cells));
  }
  return table.text();
}

std::string group_name(const Group& group) {
  const std::string name = cell_text(group.name, kNameWidth);
  switch (group.kind) {
    case Group::Kind::category:
      return name;
    case Group::Kind::evidence:
      return "any evidence";
    case Group::Kind::evidence_size:
      return name + " evidence (" + group.note + ")";
    case Group::Kind::evidence_row:
      return name + " third";
  }
  return name;
}

/// One line a group, with intervals: for few settings.
std::string table_by_group(const EvalRun& run, const EvalResult& result) {
  std::vector<Table::Column> titles{{"questions about", Table::Align::left}, {"number"}};
  for (const EvalColumn& column : run.columns) titles.push_back({column_name(column)});
  Table table(titles);
  for (std::size_t g = 0; g < result.groups.size(); ++g) {
    std::vector<std::string> cells{group_name(result.groups[g]),
                                   std::to_string(result.groups[g].items.size())};
    for (const Summary& summary : result.summaries) {
      const Accuracy& accuracy = summary.groups[g];
      cells.push_back(percent_text(accuracy.value()));
      if (accuracy.interval) cells.back() += " (" + interval_text(accuracy.interval, "%.0f") + ")";
    }
    table.add(std::move(cells));
  }
  return table.text();
}

/// One line a setting, one narrow column a group: for many settings.
std::string table_by_setting(const EvalRun& run, const EvalResult& result) {
  std::vector<Table::Column> titles{{"accuracy, %", Table::Align::left}};
  std::string notes;
  for (const Group& group : result.groups) {
    titles.push_back({cell_text(group.name, kNameWidth)});
    if (group.kind == Group::Kind::evidence_size) {
      notes += (notes.empty() ? "" : ", ") + group.name + ": " + group.note;
    }
  }
  Table table(titles);
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    std::vector<std::string> cells{column_name(run.columns[c])};
    for (const Accuracy& accuracy : result.summaries[c].groups) {
      cells.push_back(accuracy.value() ? format("%.1f", 100 * *accuracy.value()) : "-");
    }
    table.add(std::move(cells));
  }
  return table.text() + (notes.empty() ? "" : "evidence is " + notes + "\n");
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

namespace {

Bootstrap bootstrap_of(const EvalRun& run, int resamples) {
  std::vector<std::size_t> clusters;
  const std::size_t count = picture_clusters(run.items, clusters);
  return Bootstrap(std::move(clusters), count, resamples, kBootstrapSeed);
}

}  // namespace

EvalResult evaluate(const EvalRun& run, const TokenGrid& grid, int resamples) {
  EvalResult result;
  result.groups = make_groups(run.items, grid);
  const Bootstrap bootstrap = bootstrap_of(run, resamples);
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    result.summaries.push_back(summarise(run.outcomes[c], c > 0 ? &run.outcomes.front() : nullptr,
                                         result.groups, bootstrap));
  }
  return result;
}

std::vector<ExitCurve> exit_curves(const EvalRun& run, const std::vector<PruneSetting>& settings,
                                   int resamples) {
  const Bootstrap bootstrap = bootstrap_of(run, resamples);
  std::vector<ExitCurve> curves;
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    const EvalColumn& column = run.columns[c];
    if (column.control || !settings[column.setting].needs_guide()) continue;
    curves.push_back(exit_curve(column.name, run.outcomes[c], bootstrap));
  }
  return curves;
}

Json eval_json(const EvalRun& run, const EvalResult& result) {
  Json runs = Json::array(), controls = Json::array();
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    Json column = column_json(run.columns[c], result, result.summaries[c]);
    (run.columns[c].control ? controls : runs).push(std::move(column));
  }
  Json json = Json::object();
  json.set("runs", std::move(runs));
  json.set("controls", std::move(controls));
  if (!result.exits.empty()) json.set("exit_curves", exit_curves_json(result.exits));
  return json;
}

std::string eval_tables(const EvalRun& run, const EvalResult& result) {
  std::string text = cost_table(run, result);
  for (const ExitCurve& curve : result.exits) text += "\n" + exit_table(curve);
  if (result.groups.empty()) return text;
  return text + "\n" +
         (run.columns.size() <= kFewColumns ? table_by_group(run, result)
                                            : table_by_setting(run, result));
}

std::string eval_csv(const EvalRun& run, const EvalResult& result) {
  std::string text;
  const auto line = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) text += (i > 0 ? "," : "") + csv_cell(cells[i]);
    text += "\r\n";
  };
  std::vector<std::string> titles{"setting",
                                  "kind",
                                  "questions",
                                  "right",
                                  "failed",
                                  "accuracy",
                                  "low",
                                  "high",
                                  "difference",
                                  "difference_low",
                                  "difference_high",
                                  "entering_mean",
                                  "equivalent",
                                  "first_token_ms",
                                  "total_ms",
                                  "exit_rate",
                                  "guide_entering",
                                  "evidence_kept",
                                  "evidence_kept_last",
                                  "padding_share"};
  for (const Group& group : result.groups) {
    titles.push_back(std::string(kind_name(group.kind)) + ":" + group.name);
  }
  line(titles);
  const auto number = [](const std::optional<double>& value) {
    return value ? format("%.6g", *value) : std::string();
  };
  const auto low = [&](const std::optional<Interval>& i) { return i ? number(i->low) : ""; };
  const auto high = [&](const std::optional<Interval>& i) { return i ? number(i->high) : ""; };
  for (std::size_t c = 0; c < run.columns.size(); ++c) {
    const Summary& s = result.summaries[c];
    std::vector<std::string> cells{run.columns[c].name,
                                   run.columns[c].control ? "control" : "prune",
                                   std::to_string(s.all.questions),
                                   std::to_string(s.right),
                                   std::to_string(s.failed),
                                   number(s.all.value()),
                                   low(s.all.interval),
                                   high(s.all.interval),
                                   number(s.difference_value),
                                   low(s.difference),
                                   high(s.difference),
                                   number(s.entering_mean),
                                   number(s.equivalent),
                                   number(s.first_token_ms),
                                   number(s.total_ms),
                                   number(s.exit_rate),
                                   number(s.guide_entering),
                                   number(s.evidence_kept),
                                   number(s.evidence_kept_last),
                                   number(s.padding_share)};
    for (const Accuracy& accuracy : s.groups) cells.push_back(number(accuracy.value()));
    line(cells);
  }
  return text;
}

}  // namespace fovea::app
