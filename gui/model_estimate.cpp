#include "gui/model_estimate.h"

#include <QLocale>
#include <QObject>

#include "kernels/device.h"
#include "kernels/weights/safetensors.h"
#include "vlm/bundled.h"
#include "vlm/model_memory.h"

namespace fovea::gui {
namespace {

constexpr std::int64_t kTextTokens = 512;  // of a question and its answer

QString bytes_text(double bytes) {
  return QLocale::c().formattedDataSize(static_cast<qint64>(bytes), bytes < 1e9 ? 0 : 1,
                                        QLocale::DataSizeSIFormat);
}

}  // namespace

Result<ModelEstimate> estimate_model(const LoadRequest& request) {
  std::string folder = request.folder.toStdString();
  if (folder.empty()) {
    FOVEA_TRY(folder, default_model_folder());
  }
  FOVEA_TRY(const LlavaConfig config, read_llava_config(folder));
  FOVEA_TRY(const WeightFiles files, WeightFiles::open(folder));
  const LinearDType dtype = choose_dtype(request.dtype, config);
  ModelEstimate estimate;
  estimate.folder = QString::fromStdString(folder);
  estimate.id = QString::fromStdString(config.model_id);
  estimate.dtype = QLatin1String(linear_dtype_name(dtype));
  estimate.layers = static_cast<int>(config.decoder.layers);
  estimate.visual_tokens = config.visual_tokens_per_image();
  estimate.parameters = parameters(config);
  estimate.weights = weight_memory(config, dtype);
  estimate.conversation = kv_memory_per_token(config, dtype) *
                          static_cast<double>(config.visual_tokens_per_image() + kTextTokens);
  FOVEA_TRY(estimate.available, available_memory(best_device()));
  return estimate;
}

QString estimate_text(const ModelEstimate& estimate) {
  const bool billions = estimate.parameters >= 1e9;
  QString text =
      QObject::tr("%1: %2 %3 parameters, %4 layers, %5 visual tokens a picture\n"
                  "Memory: about %6 for the weights as %7, %8 for a conversation about a picture")
          .arg(estimate.id)
          .arg(estimate.parameters / (billions ? 1e9 : 1e6), 0, 'f', 1)
          .arg(billions ? QObject::tr("billion") : QObject::tr("million"))
          .arg(estimate.layers)
          .arg(estimate.visual_tokens)
          .arg(bytes_text(estimate.weights), estimate.dtype, bytes_text(estimate.conversation));
  if (estimate.available >= 0) {
    text += QLatin1Char('\n') +
            (estimate.fits()
                 ? QObject::tr("%1 are free").arg(bytes_text(estimate.available))
                 : QObject::tr("Only %1 are free: it will not fit")
                       .arg(bytes_text(estimate.available)));
  }
  return text;
}

}  // namespace fovea::gui
