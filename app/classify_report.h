#pragma once
// What `fovea classify` says: rows, tables, JSON.

#include <map>
#include <string>
#include <vector>

#include "app/classify_options.h"
#include "kernels/base/json.h"
#include "vision/classify_pictures.h"

namespace fovea::app {

/// What is right, by place in the list of pictures; -1 where nobody knows.
using TrueClasses = std::vector<std::int64_t>;

/// Reads --labels for these pictures: a CSV with the columns path (relative to the CSV's folder, or
/// absolute) and label (a label of the model, or a class number). Errors: those of reading, and
/// bad_input for a missing column, a label the model does not know, or a table that names none of
/// the pictures; file and line are named.
Result<TrueClasses> read_true_classes(const std::string& path,
                                      const std::vector<std::string>& pictures,
                                      const VitClassifier& model);
/// Another column of that table, by place in the list of pictures; empty where it says nothing.
/// Errors: as above.
Result<std::vector<std::string>> read_label_column(const std::string& path,
                                                   const std::vector<std::string>& pictures,
                                                   const std::string& column);

/// One setting run over all pictures.
struct ClassifyRun {
  VitPruneSetting setting;
  VitPruneSetup setup;
  std::vector<ClassifiedPicture> pictures;
  ClassifyTimes times;
};

struct ClassifyTotals {
  std::int64_t pictures = 0, failed = 0, judged = 0, right = 0;
  double gflops = 0;              // mean over pictures that did not fail
  std::vector<double> survivors;  // mean patches left after each cut
  double per_second = 0;          // pictures through reading and model

  double accuracy() const {
    return judged > 0 ? static_cast<double>(right) / static_cast<double>(judged) : 0.0;
  }
};
ClassifyTotals total_of(const ClassifyRun& run, const TrueClasses& truth);

/// path,status,label_1,prob_1,...: `top` pairs, empty where a picture failed or classes ran out.
std::string classify_csv(const ClassifyRun& run, const VitClassifier& model, std::int64_t top);
/// The pictures in columns.
std::string classify_table(const ClassifyRun& run, const VitClassifier& model);
/// The settings in columns.
std::string settings_table(const std::vector<ClassifyRun>& runs, const TrueClasses& truth);
struct PictureGroup;
/// {"runs": [...], "pictures": [...] (of a single setting), "model", "version"}; with groups each
/// run has "by" (see groups_json()).
Json classify_json(const std::vector<ClassifyRun>& runs, const TrueClasses& truth,
                   const VitClassifier& model, int threads, double load_ms,
                   const std::vector<PictureGroup>& groups);

}  // namespace fovea::app
