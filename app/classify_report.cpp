#include "app/classify_report.h"

#include <algorithm>
#include <filesystem>

#include "app/classify_summary.h"
#include "app/prune_report.h"
#include "app/report.h"
#include "app/table.h"
#include "app/text.h"
#include "kernels/base/csv.h"
#include "kernels/base/file.h"
#include "kernels/device.h"

namespace fovea::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTableBytes = std::size_t{256} << 20;
constexpr std::size_t kPathWidth = 60, kLabelWidth = 40;

/// Six digits are more than float32 logits carry.
std::string probability_text(double probability) {
  return format("%.6f", probability);
}

std::string status_text(const ClassifiedPicture& picture) {
  return picture.error ? error_code_name(picture.error->code) : "ok";
}

std::string share_text(double share) {
  return format("%.2f %%", 100.0 * share);
}

std::string survivors_text(const std::vector<double>& survivors) {
  std::string text;
  for (const double count : survivors) {
    text += (text.empty() ? "" : " / ") + format("%.1f", count);
  }
  return text.empty() ? "all" : text;
}

std::string key_of(const fs::path& path) {
  std::error_code failure;
  const fs::path whole = fs::weakly_canonical(path, failure);
  return failure ? path.lexically_normal().string() : whole.string();
}

Result<std::int64_t> class_of(const std::string& label, const VitClassifier& model,
                              const std::map<std::string, std::int64_t>& by_label) {
  if (const auto found = by_label.find(label); found != by_label.end()) return found->second;
  std::int64_t number = -1;
  if (read_number(label, number) && number >= 0 && number < model.classes()) return number;
  return make_error(ErrorCode::bad_input,
                    format("the model knows no label \"%.60s\"", label.c_str()));
}

/// A table of labels: where each of the pictures stands in it.
struct LabelTable {
  std::vector<CsvRecord> records;
  std::vector<std::size_t> columns;  // those asked for
  std::vector<std::size_t> rows;     // by picture; 0 (the titles) where it is not named
};

Result<LabelTable> read_table(const std::string& path, const std::vector<std::string>& pictures,
                              const std::vector<std::string>& wanted) {
  FOVEA_TRY(const std::string text, read_file(path, kMaxTableBytes));
  auto parsed = parse_csv(text);
  if (!parsed) return std::move(parsed).error().in_file(path);
  LabelTable table;
  table.records = std::move(*parsed);
  std::size_t widest = 0;
  for (const std::string& name : wanted) {
    const std::vector<std::string> none;
    const auto& titles = table.records.empty() ? none : table.records.front().fields;
    const auto found = std::ranges::find(titles, name);
    if (found == titles.end()) {
      return make_error(ErrorCode::bad_input,
                        format("the first line must name the columns %s and %s", wanted[0].c_str(),
                               wanted[1].c_str()))
          .in_file(path)
          .in_field(name);
    }
    table.columns.push_back(static_cast<std::size_t>(found - titles.begin()));
    widest = std::max(widest, table.columns.back());
  }
  std::map<std::string, std::size_t> by_path;
  const fs::path folder = fs::path(path).parent_path();
  for (std::size_t r = 1; r < table.records.size(); ++r) {
    const CsvRecord& record = table.records[r];
    if (record.fields.size() <= widest) {
      return make_error(ErrorCode::bad_input, "this line has too few fields")
          .in_file(path)
          .at(record.line);
    }
    by_path[key_of(folder / record.fields[table.columns.front()])] = r;
  }
  for (const std::string& picture : pictures) {
    const auto found = by_path.find(key_of(picture));
    table.rows.push_back(found == by_path.end() ? 0 : found->second);
  }
  if (std::ranges::all_of(table.rows, [](std::size_t row) { return row == 0; })) {
    return make_error(ErrorCode::bad_input, "the table names none of the pictures")
        .in_file(path)
        .with_remedy("Its paths are relative to its own folder");
  }
  return table;
}

}  // namespace

Result<TrueClasses> read_true_classes(const std::string& path,
                                      const std::vector<std::string>& pictures,
                                      const VitClassifier& model) {
  FOVEA_TRY(const LabelTable table, read_table(path, pictures, {"path", "label"}));
  std::map<std::string, std::int64_t> by_label;
  for (std::int64_t i = 0; i < model.classes(); ++i) by_label.emplace(model.label(i), i);
  std::vector<std::int64_t> classes(table.records.size(), -1);
  for (std::size_t r = 1; r < table.records.size(); ++r) {
    const CsvRecord& record = table.records[r];
    auto label = class_of(record.fields[table.columns[1]], model, by_label);
    if (!label) return std::move(label).error().in_file(path).in_field("label").at(record.line);
    classes[r] = *label;
  }
  TrueClasses truth;
  for (const std::size_t row : table.rows) truth.push_back(classes[row]);
  return truth;
}

Result<std::vector<std::string>> read_label_column(const std::string& path,
                                                   const std::vector<std::string>& pictures,
                                                   const std::string& column) {
  FOVEA_TRY(const LabelTable table, read_table(path, pictures, {"path", column}));
  std::vector<std::string> values;
  for (const std::size_t row : table.rows) {
    values.push_back(row == 0 ? "" : table.records[row].fields[table.columns[1]]);
  }
  return values;
}

ClassifyTotals total_of(const ClassifyRun& run, const TrueClasses& truth) {
  ClassifyTotals totals;
  totals.pictures = std::ssize(run.pictures);
  for (std::size_t i = 0; i < run.pictures.size(); ++i) {
    const ClassifiedPicture& picture = run.pictures[i];
    if (!truth.empty() && truth[i] >= 0) {  // what fails counts as wrong
      ++totals.judged;
      totals.right += !picture.error && picture.top.front().index == truth[i] ? 1 : 0;
    }
    if (picture.error) {
      ++totals.failed;
      continue;
    }
    totals.gflops += picture.gflops;
    const auto& stages = picture.pruning.stages;
    totals.survivors.resize(std::max(totals.survivors.size(), stages.size()), 0.0);
    for (std::size_t s = 0; s < stages.size(); ++s) {
      totals.survivors[s] += static_cast<double>(stages[s].tokens());
    }
  }
  const auto good = static_cast<double>(std::max<std::int64_t>(1, totals.pictures - totals.failed));
  totals.gflops /= good;
  for (double& count : totals.survivors) count /= good;
  const double seconds = (run.times.read_ms + run.times.run_ms) / 1000.0;
  totals.per_second = seconds > 0 ? static_cast<double>(totals.pictures) / seconds : 0.0;
  return totals;
}

std::string classify_csv(const ClassifyRun& run, const VitClassifier& model, std::int64_t top) {
  std::vector<std::string> titles{"path", "status"};
  for (std::int64_t i = 1; i <= top; ++i) {
    titles.push_back("label_" + std::to_string(i));
    titles.push_back("prob_" + std::to_string(i));
  }
  std::string text = csv_record(titles);
  for (const ClassifiedPicture& picture : run.pictures) {
    std::vector<std::string> fields{picture.path, status_text(picture)};
    for (const ClassScore& score : picture.top) {
      fields.push_back(model.label(score.index));
      fields.push_back(probability_text(score.probability));
    }
    fields.resize(titles.size());
    text += csv_record(fields);
  }
  return text;
}

std::string classify_table(const ClassifyRun& run, const VitClassifier& model) {
  std::size_t widest = 1;
  for (const ClassifiedPicture& picture : run.pictures) {
    widest = std::max(widest, picture.top.size());
  }
  std::vector<Table::Column> columns{{"picture", Table::Align::left}};
  for (std::size_t i = 0; i < widest; ++i) {
    columns.push_back({i == 0 ? "label" : "", Table::Align::left});
    columns.push_back({i == 0 ? "prob" : "", Table::Align::right});
  }
  Table table(std::move(columns));
  for (const ClassifiedPicture& picture : run.pictures) {
    std::vector<std::string> cells{cell_text(picture.path, kPathWidth)};
    if (picture.error) cells.push_back("(" + status_text(picture) + ")");
    for (const ClassScore& score : picture.top) {
      cells.push_back(cell_text(model.label(score.index), kLabelWidth));
      cells.push_back(format("%.3f", score.probability));
    }
    cells.resize(1 + 2 * widest);
    table.add(std::move(cells));
  }
  return table.text();
}

std::string settings_table(const std::vector<ClassifyRun>& runs, const TrueClasses& truth) {
  Table table({{"vit-prune", Table::Align::left},
               {"right", Table::Align::right},
               {"GFLOPs", Table::Align::right},
               {"pictures/s", Table::Align::right},
               {"model only", Table::Align::right},
               {"patches left", Table::Align::left}});
  for (const ClassifyRun& run : runs) {
    const ClassifyTotals totals = total_of(run, truth);
    const double model_only =
        run.times.run_ms > 0 ? 1000.0 * static_cast<double>(totals.pictures) / run.times.run_ms : 0;
    table.add({cell_text(run.setting.name, kPathWidth),
               totals.judged > 0 ? share_text(totals.accuracy()) : "",
               format("%.4g", totals.gflops), format("%.1f", totals.per_second),
               format("%.1f", model_only), survivors_text(totals.survivors)});
  }
  return table.text();
}

Json classify_json(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                   const VitClassifier& model, int threads, double load_ms,
                   const std::vector<PictureGroup>& groups) {
  Json all = Json::array();
  for (const ClassifyRun& run : runs) {
    const ClassifyTotals totals = total_of(run, truth);
    Json item = Json::object();
    item.set("vit_prune", run.setting.name);
    item.set("pictures", totals.pictures);
    item.set("failed", totals.failed);
    item.set("accuracy", totals.judged > 0 ? Json(totals.accuracy()) : Json());
    item.set("right", totals.judged > 0 ? Json(totals.right) : Json());
    item.set("judged", totals.judged);
    item.set("gflops", totals.gflops);
    item.set("survivors", Json::array_of(totals.survivors));
    if (run.setup.tome) {
      const ToMeSettings& tome = *run.setup.tome;
      item.set("merge", tome.merges.empty() ? Json() : Json::array_of(tome.merges));
      item.set("keep", tome.merges.empty() ? Json(tome.keep) : Json());
      item.set("proportional", tome.proportional);
    }
    if (run.setup.settings) {
      Json cuts = Json::array();
      for (const VitCut& cut : run.setup.settings->cuts) {
        Json one = Json::object();
        one.set("block", cut.block);
        if (run.setup.thresholds_from.empty()) {
          one.set("keep", cut.keep_share);
        } else {
          one.set("threshold", static_cast<double>(cut.threshold));
        }
        cuts.push(std::move(one));
      }
      item.set("cuts", std::move(cuts));
      item.set("score", vit_score_state_name(run.setup.settings->state));
      item.set("thresholds_from",
               run.setup.thresholds_from.empty() ? Json() : Json(run.setup.thresholds_from));
    }
    item.set("read_ms", rounded_ms(run.times.read_ms));
    item.set("model_ms", rounded_ms(run.times.run_ms));
    item.set("pictures_per_second", totals.per_second);
    if (!groups.empty()) item.set("by", groups_json(run, truth, groups));
    all.push(std::move(item));
  }
  Json json = Json::object();
  json.set("runs", std::move(all));
  if (runs.size() == 1) {
    Json rows = Json::array();
    for (const ClassifiedPicture& picture : runs.front().pictures) {
      Json row = Json::object();
      row.set("path", picture.path);
      row.set("status", status_text(picture));
      if (picture.error) row.set("error", picture.error->to_string());
      Json labels = Json::array();
      for (const ClassScore& score : picture.top) {
        Json label = Json::object();
        label.set("label", model.label(score.index));
        label.set("index", score.index);
        label.set("prob", score.probability);
        labels.push(std::move(label));
      }
      row.set("labels", std::move(labels));
      if (runs.front().setting.prunes && !picture.error) {
        Json stages = Json::array();
        for (const StageRecord& stage : picture.pruning.stages) stages.push(stage_json(stage));
        row.set("stages", std::move(stages));
        row.set("gflops", picture.gflops);
      }
      rows.push(std::move(row));
    }
    json.set("pictures", std::move(rows));
  }
  const VitConfig& vit = model.config().vit;
  Json about = Json::object();
  about.set("id", model.config().model_id);
  about.set("sha256", model.sha256());
  about.set("dtype", dtype_text(model.dtype()));
  about.set("device", device_name(model.device()));
  about.set("threads", threads);
  about.set("classes", model.classes());
  about.set("image_size", vit.image_size);
  about.set("patches", vit.patches());
  about.set("load_ms", rounded_ms(load_ms));
  json.set("model", std::move(about));
  json.set("version", version());
  return json;
}

}  // namespace fovea::app
