// Whatever a ViT's configuration or a file of thresholds holds: an error, or something within
// bounds. The same bytes are read as CSV too, and what that holds must read back.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kernels/base/csv.h"
#include "kernels/base/json.h"
#include "vision/adaptive_vit.h"
#include "vision/vit_config.h"

namespace {

void check_csv(std::string_view text) {
  const auto records = fovea::parse_csv(text);
  if (!records) return;
  for (const fovea::CsvRecord& record : *records) {
    const auto again = fovea::parse_csv(fovea::csv_record(record.fields));
    if (!again || again->size() > 1) std::abort();
    if (again->size() == 1 && again->front().fields != record.fields) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_csv(text);
  const auto json = fovea::parse_json(text);
  if (!json) return 0;
  if (const auto config = fovea::parse_vit_config(*json, "config.json")) {
    if (config->hidden_size % config->heads != 0 || config->tokens() < 2) std::abort();
    if (const auto larger = fovea::with_image_size(*config, 2 * config->image_size)) {
      if (larger->stored_grid() != config->grid()) std::abort();
    }
  }
  if (const auto thresholds = fovea::parse_vit_thresholds(*json, "t.json")) {
    if (thresholds->blocks.size() != thresholds->thresholds.size()) std::abort();
    if (fovea::check_vit_prune(thresholds->settings_for(196), 12)) {
      if (thresholds->blocks.front() <= fovea::kFirstScoredBlock) std::abort();
    }
  }
  return 0;
}
