// Whatever stands in a calibration's file: an error, or a calibration that survives writing. The
// input is tried as each kind.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "pruning/debias.h"
#include "pruning/debias_calibration.h"
#include "pruning/exit_calibration_file.h"
#include "pruning/schedule_calibration.h"

namespace {

void try_schedule(std::string_view text) {
  const auto schedule = fovea::parse_schedule_calibration(text);
  if (!schedule) return;
  const std::string written = fovea::to_json(*schedule);
  const auto again = fovea::parse_schedule_calibration(written);
  if (!again || fovea::to_json(*again) != written) std::abort();
  for (const std::int64_t visual : {1, 16, 576}) {
    const auto stages = fovea::calibrated_stages(*schedule, schedule->layers, visual);
    if (!stages) std::abort();
    std::int64_t present = visual;
    for (const fovea::ScheduleStage& stage : *stages) {
      const std::int64_t left = stage.keep.tokens(visual);
      if (left < 0 || left > present || stage.layer >= schedule->layers) std::abort();
      present = left;
    }
  }
}

void try_debias(std::string_view text) {
  const auto trend = fovea::parse_debias_calibration(text);
  if (!trend) return;
  const std::string written = fovea::to_json(*trend);
  const auto again = fovea::parse_debias_calibration(written);
  if (!again || fovea::to_json(*again) != written) std::abort();
  if (!fovea::IndexWeights::exponential(trend->fit.sigma)) std::abort();
}

void try_exit(std::string_view text) {
  const auto exit = fovea::parse_exit_calibration(text);
  if (!exit) return;
  const auto again = fovea::parse_exit_calibration(fovea::to_json(*exit));
  if (!again || again->threshold != exit->threshold) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try_schedule(text);
  try_debias(text);
  try_exit(text);
  return 0;
}
