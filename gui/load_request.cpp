#include "gui/load_request.h"

#include <array>

#include "kernels/base/parallel.h"
#include "kernels/device.h"
#include "vlm/bundled.h"

namespace fovea::gui {
namespace {

constexpr const char* kBundledModel = "fovea-base";
constexpr const char* kBundledGuide = "models/fovea-guide";

struct NamedDType {
  const char* name;
  DTypeChoice choice;
};
constexpr std::array<NamedDType, 4> kDTypes{{
    {"auto", DTypeChoice::automatic},
    {"f32", DTypeChoice::f32},
    {"bf16", DTypeChoice::bf16},
    {"f16", DTypeChoice::f16},
}};

/// Errors: usage for what names no device, device for one that is not there.
Result<Device> find_device(const QString& name) {
  if (name == QLatin1String("auto")) return best_device();
  if (name == QLatin1String("cpu")) return Device{};
  const bool first = name == QLatin1String("cuda");
  bool valid = first;
  const int index = name.startsWith(QLatin1String("cuda:")) ? name.mid(5).toInt(&valid) : 0;
  if (!valid || index < 0) {
    return make_error(ErrorCode::usage, "a device is auto, cpu, cuda or cuda:N")
        .in_field("device " + name.toStdString());
  }
  if (!built_with_cuda()) {
    return make_error(ErrorCode::device, "this build has no CUDA: it computes on the CPU only")
        .in_field("device " + name.toStdString())
        .with_remedy("Choose the CPU, or automatic");
  }
  FOVEA_CHECK(cuda_device_info(index));
  return Device{DeviceKind::cuda, index};
}

}  // namespace

QString dtype_choice_name(DTypeChoice choice) {
  for (const NamedDType& row : kDTypes) {
    if (row.choice == choice) return QString::fromLatin1(row.name);
  }
  return QStringLiteral("auto");
}

Result<DTypeChoice> find_dtype_choice(const QString& name) {
  for (const NamedDType& row : kDTypes) {
    if (name == QLatin1String(row.name)) return row.choice;
  }
  return make_error(ErrorCode::usage, "weights are kept as auto, f32, bf16 or f16")
      .in_field("dtype " + name.toStdString());
}

Result<LoadOptions> load_options(const LoadRequest& request) {
  LoadOptions options;
  FOVEA_TRY(options.device, find_device(request.device));
  options.dtype = request.dtype;
  if (request.dtype == DTypeChoice::f16 && options.device.kind == DeviceKind::cpu) {
    return make_error(ErrorCode::device, "the CPU computes in f32 and bf16, not in f16")
        .with_remedy("Keep weights as f32, bf16 or automatic");
  }
  options.threads = request.threads > 0 ? request.threads : available_threads();
  return options;
}

Result<std::string> model_folder(const LoadRequest& request) {
  if (request.folder.isEmpty()) return default_model_folder();
  return request.folder.toStdString();
}

Result<std::string> guide_folder(const LoadRequest& request, const std::string& model_id) {
  if (!request.guide.isEmpty()) return request.guide.toStdString();
  if (model_id == kBundledModel) return find_bundled(kBundledGuide);
  return make_error(ErrorCode::usage,
                    "sgl needs a guide: a small model of the same family as " + model_id)
      .with_remedy("Choose its folder with the model (Ctrl+M)");
}

}  // namespace fovea::gui
