#include "gui/model_estimate.h"

#include <QLocale>
#include <QObject>

#include "kernels/device.h"
#include "kernels/weights/safetensors.h"
#include "vlm/model_memory.h"

namespace fovea::gui {
namespace {

constexpr std::int64_t kTextTokens = 512;  // of a question and its answer

QString bytes_text(double bytes) {
  return QLocale::c().formattedDataSize(static_cast<qint64>(bytes), bytes < 1e9 ? 0 : 1,
                                        QLocale::DataSizeSIFormat);
}

/// What one conversation about a picture takes for keys and values.
double conversation_memory(const LlavaConfig& config, LinearDType dtype) {
  return kv_memory_per_token(config, dtype) *
         static_cast<double>(config.visual_tokens_per_image() + kTextTokens);
}

/// Reads the headers of the weight files, too: a folder without weights is no model.
Result<LlavaConfig> read_model(const std::string& folder) {
  FOVEA_TRY(LlavaConfig config, read_llava_config(folder));
  FOVEA_TRY(const WeightFiles files, WeightFiles::open(folder));
  return config;
}

Status add_guide(const LoadRequest& request, const LlavaConfig& config, ModelEstimate& estimate) {
  const auto folder = guide_folder(request, config.model_id);
  if (!folder && request.guide.isEmpty()) return {};  // sgl says so when it is asked for
  FOVEA_CHECK(folder);
  FOVEA_TRY(const LlavaConfig guide, read_model(*folder));
  const LinearDType dtype = choose_dtype(request.dtype, guide);
  estimate.guide = QString::fromStdString(guide.model_id);
  estimate.guide_weights = weight_memory(guide, dtype);
  estimate.guide_conversation = conversation_memory(guide, dtype);
  return {};
}

}  // namespace

Result<ModelEstimate> estimate_model(const LoadRequest& request) {
  FOVEA_TRY(const LoadOptions options, load_options(request));
  FOVEA_TRY(const std::string folder, model_folder(request));
  FOVEA_TRY(const LlavaConfig config, read_model(folder));
  const LinearDType dtype = choose_dtype(request.dtype, config);
  ModelEstimate estimate;
  estimate.device = QString::fromStdString(device_name(options.device));
  estimate.folder = QString::fromStdString(folder);
  estimate.id = QString::fromStdString(config.model_id);
  estimate.dtype = QLatin1String(linear_dtype_name(dtype));
  estimate.layers = static_cast<int>(config.decoder.layers);
  estimate.visual_tokens = config.visual_tokens_per_image();
  estimate.parameters = parameters(config);
  estimate.weights = weight_memory(config, dtype);
  estimate.conversation = conversation_memory(config, dtype);
  FOVEA_CHECK(add_guide(request, config, estimate));
  FOVEA_TRY(estimate.available, available_memory(options.device));
  return estimate;
}

QString estimate_text(const ModelEstimate& estimate) {
  const bool billions = estimate.parameters >= 1e9;
  QString text = QObject::tr(
                     "%1: %2 %3 parameters, %4 layers, %5 visual tokens a picture\n"
                     "Memory on %6: about %7 for the weights as %8, %9 for a conversation about a "
                     "picture")
                     .arg(estimate.id)
                     .arg(estimate.parameters / (billions ? 1e9 : 1e6), 0, 'f', 1)
                     .arg(billions ? QObject::tr("billion") : QObject::tr("million"))
                     .arg(estimate.layers)
                     .arg(estimate.visual_tokens)
                     .arg(estimate.device, bytes_text(estimate.weights), estimate.dtype,
                          bytes_text(estimate.conversation));
  if (!estimate.guide.isEmpty()) {
    text += QObject::tr("\nGuide %1, once sgl is asked for: about %2, %3 for a conversation")
                .arg(estimate.guide, bytes_text(estimate.guide_weights),
                     bytes_text(estimate.guide_conversation));
  }
  if (estimate.available >= 0) {
    text += QLatin1Char('\n') +
            (estimate.fits() ? QObject::tr("%1 are free").arg(bytes_text(estimate.available))
                             : QObject::tr("Only %1 are free: it will not fit")
                                   .arg(bytes_text(estimate.available)));
  }
  return text;
}

}  // namespace fovea::gui
