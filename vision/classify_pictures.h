#pragma once
// Many pictures through a classifier: read and prepared side by side, run in batches, one outcome
// each. A picture that fails does not stop the others.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vision/adaptive_vit.h"
#include "vision/classifier.h"
#include "vision/tome_merger.h"

namespace fovea {

struct ClassifiedPicture {
  std::string path;
  std::optional<Error> error;   // then nothing below is set
  std::vector<ClassScore> top;  // most probable first
  std::vector<float> logits;    // only where asked for
  VitPruneRecord pruning;       // only with pruning
  double gflops = 0;            // of the tower, as VitWork counts
};

struct ClassifySettings {
  std::int64_t top = 5;
  std::int64_t batch = 16;
  bool keep_logits = false;
  std::optional<VitPruneSettings> prune;  // checked against the model's blocks
  std::optional<ToMeSettings> tome;       // then nothing else prunes
};

struct ClassifyTimes {
  double read_ms = 0;  // decoding and preparing
  double run_ms = 0;   // the model
};

/// Called after each batch with the number of pictures that are done.
using ClassifyProgress = std::function<void(std::size_t done)>;

/// Outcomes in the order of `paths`. `times`, when given, sums up where time went. Errors:
/// cancelled, out_of_memory and what the model itself refuses; what is wrong with one picture stays
/// in its outcome.
Result<std::vector<ClassifiedPicture>> classify_pictures(Context& context,
                                                         const VitClassifier& model,
                                                         std::span<const std::string> paths,
                                                         const ClassifySettings& settings,
                                                         const ClassifyProgress& progress = {},
                                                         ClassifyTimes* times = nullptr);

}  // namespace fovea
