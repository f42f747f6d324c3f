// fovea calibrate vit: thresholds of adaptive pruning from the scores of sample pictures.

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/model_folder.h"
#include "app/picture_list.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/base/file.h"
#include "kernels/device.h"
#include "vision/vit_calibration.h"
#include "vlm/vision_tower.h"

namespace fovea::app {
namespace {

/// At most `limit` of the pictures, evenly spread over the list.
std::vector<std::string> spread(const std::vector<std::string>& pictures, std::int64_t limit) {
  const auto count = std::min<std::size_t>(pictures.size(), static_cast<std::size_t>(limit));
  std::vector<std::string> chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(pictures[i * pictures.size() / count]);
  return chosen;
}

Result<std::vector<Tensor>> read_pixels(Context& context, const VisionTower& tower,
                                        const std::vector<std::string>& pictures) {
  std::vector<Tensor> pixels;
  for (const std::string& path : pictures) {
    if (context.cancelled()) {
      return make_error(ErrorCode::cancelled, "stopped while reading pictures");
    }
    FOVEA_TRY(const Image image, load_image(path));
    auto prepared = preprocess(context.host(), image, tower.preprocess());
    if (!prepared) return std::move(prepared).error().in_file(path);
    pixels.push_back(std::move(prepared->pixels));
  }
  return pixels;
}

Json calibration_json(const CalibrateVitOptions& options, const VitCalibration& found,
                      const VisionTower& tower) {
  Json json = found.thresholds.to_json();
  json.set("budget", options.budget);
  json.set("share", found.share);
  json.set("gflops", found.gflops);
  json.set("survivors", Json::array_of(found.survivors));
  json.set("pictures", found.pictures);
  Json model = Json::object();
  model.set("id", tower.model_id());
  const std::string digest = tower.sha256();
  model.set("sha256", digest.empty() ? Json() : Json(digest));
  model.set("kind", tower.kind());
  json.set("model", std::move(model));
  json.set("version", version());
  return json;
}

void print_calibration(const CalibrateVitOptions& options, const VitCalibration& found,
                       const VisionTower& tower) {
  print_text("wrote " + options.out + "\n");
  if (options.output.quiet) return;
  std::fprintf(stderr, "%lld pictures; %.1f %% of the tower's GFLOPs (%.4g a picture)\n",
               static_cast<long long>(found.pictures), 100.0 * found.share, found.gflops);
  for (std::size_t i = 0; i < found.survivors.size(); ++i) {
    std::fprintf(stderr, "before block %d: threshold %.6g leaves %.1f of %lld patches\n",
                 found.thresholds.blocks[i], found.thresholds.thresholds[i], found.survivors[i],
                 static_cast<long long>(tower.encoder().config().patches()));
  }
  std::fprintf(stderr, "calibrated from %s's scores, not trained\n", tower.model_id().c_str());
}

}  // namespace

int run_calibrate_vit(const CalibrateVitOptions& options) {
  const auto listed = list_pictures(options.paths);
  if (!listed) return report_error(listed.error());
  const auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  const auto folder = find_classifier_folder(options.model);
  if (!folder) return report_error(folder.error(), Blame::model);
  const auto tower = VisionTower::load(*folder, *load);
  if (!tower) return report_error(tower.error(), Blame::model);

  auto made = make_context(tower->device(), load->threads);
  if (!made) return report_error(made.error(), Blame::model);
  Context& context = *made;
  context.cancel = &interrupted();
  const auto pixels = read_pixels(context.host(), *tower, spread(*listed, options.limit));
  if (!pixels) return report_error(pixels.error());
  VitCalibrationRequest request;
  request.blocks = options.blocks;
  request.budget = options.budget;
  request.state = *find_vit_score_state(options.score);
  request.batch = options.batch;
  const bool shown = !options.output.quiet && isatty(STDERR_FILENO) != 0;
  const auto found =
      calibrate_vit(context, tower->encoder(), *pixels, request, [shown](int passes) {
        if (shown) std::fprintf(stderr, "\r%d passes over the pictures", passes);
      });
  if (shown) std::fputs("\r\033[K", stderr);
  if (!found) return report_error(found.error());

  const Json json = calibration_json(options, *found, *tower);
  if (const auto written = write_file_atomically(options.out, json.dump(1) + "\n"); !written) {
    return report_error(written.error());
  }
  if (const auto written = write_json(options.output, json); !written) {
    return report_error(written.error());
  }
  if (!options.output.json_on_stdout()) print_calibration(options, *found, *tower);
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return kExitOk;
}

}  // namespace fovea::app
