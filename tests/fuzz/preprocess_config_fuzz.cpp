// Whatever stands in a preprocessor_config.json: an error, or settings that work on any picture.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "vision/preprocess.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto json = fovea::parse_json({reinterpret_cast<const char*>(data), size});
  if (!json) return 0;
  const auto config = fovea::parse_preprocess_config(*json, "preprocessor_config.json");
  if (!config) {
    if (config.error().message.empty()) std::abort();
    return 0;
  }
  for (const double deviation : config->std) {
    if (!std::isfinite(deviation) || deviation == 0) std::abort();
  }
  const bool small = config->crop_width <= 512 && config->crop_height <= 512 &&
                     config->resize_width <= 512 && config->resize_height <= 512 &&
                     config->shortest_edge.value_or(1) <= 512;
  if (!small) return 0;
  fovea::Context context;
  const auto prepared = fovea::preprocess(context, fovea::Image::filled(9, 7, 1, 2, 3), *config);
  if (!prepared) std::abort();
  const std::int64_t values = prepared->pixels.shape().elements();
  if (values != std::int64_t{3} * prepared->width * prepared->height) std::abort();
  for (std::int64_t i = 0; i < values; ++i) {
    if (!std::isfinite(prepared->pixels.as<float>()[i])) std::abort();
  }
  return 0;
}
