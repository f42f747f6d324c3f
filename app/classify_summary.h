#pragma once
// What several ways of pruning a classifier come to, side by side: as CSV, as plots, and by a
// column of the table of labels (the amount of clutter, say).

#include <string>
#include <vector>

#include "app/chart/chart.h"
#include "app/classify_report.h"

namespace fovea::app {

/// RFC 4180, one line a setting: vit_prune, pictures, failed, judged, right, accuracy, gflops,
/// gflops_share (of the unpruned work), pictures_per_second, model_per_second, left_1, left_2, ...
/// (patches after each cut, on average).
std::string settings_csv(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                         const VitClassifier& model);

/// Accuracy against GFLOPs; points of one way of pruning are joined. Precondition: labels are
/// known.
Chart settings_chart(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                     const std::string& title);

/// The pictures that have one value in a column.
struct PictureGroup {
  std::string value;
  std::vector<std::size_t> pictures;
};

/// Values in rising order, numbers before other words. Empty values are left out.
std::vector<PictureGroup> group_pictures(const std::vector<std::string>& values);

/// One line a setting and group: vit_prune, the column's name, pictures, accuracy, gflops, left_1,
/// left_2, ...
std::string groups_csv(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                       const std::string& column, const std::vector<PictureGroup>& groups);
/// The same in columns, for settings that prune: patches left after the last cut, and how many are
/// right.
std::string groups_table(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                         const std::string& column, const std::vector<PictureGroup>& groups);
/// Patches left after the last cut against the column. Precondition: all its values are numbers.
Chart groups_chart(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                   const std::string& column, const std::vector<PictureGroup>& groups);

/// [{"value", "pictures", "accuracy", "gflops", "survivors"}] of one setting.
Json groups_json(const ClassifyRun& run, const TrueClasses& truth,
                 const std::vector<PictureGroup>& groups);

}  // namespace fovea::app
