#pragma once
// Which model is loaded and where it computes, as data: chosen, saved, estimated and loaded.

#include <QString>

#include "vlm/llava_model.h"

namespace fovea::gui {

struct LoadRequest {
  QString folder;  // empty: default_model_folder()
  QString guide;   // the small model that sgl asks first; empty: the bundled model's own
  QString device = QStringLiteral("auto");  // auto, cpu, cuda or cuda:N
  DTypeChoice dtype = DTypeChoice::automatic;
  int threads = 0;  // 0: every core this process may use
};

/// "auto", "f32", "bf16", "f16", and back. Errors: usage, naming what there is.
QString dtype_choice_name(DTypeChoice choice);
Result<DTypeChoice> find_dtype_choice(const QString& name);

/// What the request comes to on this machine. Errors: device, for a device that is not there and a
/// type that it does not compute in.
Result<LoadOptions> load_options(const LoadRequest& request);

/// Errors: not_found, those of default_model_folder().
Result<std::string> model_folder(const LoadRequest& request);

/// The guide's folder for a model of this name. Errors: usage where nobody named one and the model
/// is not the bundled one; not_found.
Result<std::string> guide_folder(const LoadRequest& request, const std::string& model_id);

}  // namespace fovea::gui
