#pragma once
// What is known of a model folder before its weights are loaded.

#include <QString>

#include "gui/inference_worker.h"

namespace fovea::gui {

struct ModelEstimate {
  QString folder, id, dtype;
  int layers = 0;
  std::int64_t visual_tokens = 0;  // of one picture
  QString device;
  double parameters = 0;
  double weights = 0;       // bytes
  double conversation = 0;  // bytes of keys and values: one picture and an answer
  QString guide;            // the small model beside it; empty: there is none
  double guide_weights = 0, guide_conversation = 0;
  double available = -1;  // bytes; negative: the system does not say

  double needed() const { return weights + conversation + guide_weights + guide_conversation; }
  bool fits() const { return available < 0 || needed() <= available; }
};

/// Reads the configuration and the headers of the weight files; call it off the GUI thread. Errors:
/// those of read_llava_config and WeightFiles::open for either model, of model_folder and of
/// load_options.
Result<ModelEstimate> estimate_model(const LoadRequest& request);

/// Several lines for people.
QString estimate_text(const ModelEstimate& estimate);

}  // namespace fovea::gui
