#pragma once
// What `fovea classify` may be told.

#include <cstdint>
#include <string>
#include <vector>

#include "app/shared_options.h"
#include "app/vit_prune_options.h"

namespace fovea::app {

struct ClassifyOptions {
  ModelOptions model;
  OutputOptions output;
  VitPruneOptions prune;
  std::vector<std::string> paths;  // files, folders, patterns
  std::int64_t top_k = 5;
  std::int64_t batch = 16;
  std::int64_t image_size = 0;              // 0: the model's own
  std::string csv;                          // empty: not written
  std::string labels;                       // empty: nobody knows what is right
  std::string dump_logits;                  // empty: not written
  std::string settings_csv, settings_plot;  // of all settings; empty: not written
  std::string by;                           // a column of the labels; empty: none
  std::string by_csv, by_plot;
};

CLI::App& declare_classify(CLI::App& app, ClassifyOptions& options);
/// What declarations alone cannot check. Errors: usage.
Status check_classify(ClassifyOptions& options);

}  // namespace fovea::app
