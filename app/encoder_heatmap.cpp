#include "app/encoder_heatmap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/layer_list.h"
#include "app/model_folder.h"
#include "app/picture_list.h"
#include "app/report.h"
#include "app/table.h"
#include "app/text.h"
#include "kernels/base/csv.h"
#include "kernels/base/file.h"
#include "kernels/base/npy.h"
#include "kernels/device.h"
#include "vision/encoder_maps.h"
#include "vision/nmi_plot.h"
#include "vlm/vision_tower.h"

namespace fovea::app {
namespace {

namespace fs = std::filesystem;

/// A kind of map that was asked for, with what it is drawn from.
struct NamedMap {
  std::string name;  // class, received, rollout
  GridMap mean;
  const std::vector<float>* volume = nullptr;  // null: the map is all there is
};

struct Run {
  const HeatmapOptions& options;
  const VisionTower& tower;
  std::vector<int> layers, heads;
  int threads = 1;
  std::vector<std::vector<double>> nmi;  // [layers][heads], mean over the pictures
  std::vector<std::string> written;

  std::string path(const std::string& name) const {
    return (fs::path(options.out) / name).string();
  }
  Status write(const std::string& name, std::span<const std::byte> bytes) {
    FOVEA_CHECK(write_file_atomically(path(name), bytes));
    written.push_back(path(name));
    return {};
  }
  Status write_text(const std::string& name, const std::string& text) {
    return write(name, std::as_bytes(std::span(text)));
  }
  Status write_image(const std::string& name, const Result<Image>& image) {
    if (!image) return image.error();
    FOVEA_TRY(const std::vector<std::byte> bytes, encode_png(*image));
    return write(name, bytes);
  }
};

Json model_of(const Run& run) {
  Json model = Json::object();
  model.set("id", run.tower.model_id());
  const std::string digest = run.tower.sha256();
  model.set("sha256", digest.empty() ? Json() : Json(digest));
  model.set("kind", run.tower.kind());
  model.set("dtype", dtype_text(run.tower.dtype()));
  model.set("device", device_name(run.tower.device()));
  model.set("threads", run.threads);
  return model;
}

std::vector<NamedMap> named_maps(const Run& run, const EncoderMaps& maps) {
  const std::string& wanted = run.options.encoder.map;
  std::vector<NamedMap> named;
  const auto add = [&](const char* name, const std::vector<float>& volume) {
    if (wanted != "all" && wanted != name) return;
    named.push_back({name, maps.mean(volume, run.layers, run.heads), &volume});
  };
  add("class", maps.class_maps);
  add("received", maps.received_maps);
  if (!maps.rollout.empty()) named.push_back({"rollout", maps.grid(maps.rollout), nullptr});
  return named;
}

Json sidecar_json(const Run& run, const std::string& image, const Image& picture,
                  const EncoderMaps& maps, const std::vector<NamedMap>& named,
                  const std::string& stem) {
  const EncoderMapOptions& encoder = run.options.encoder;
  Json rect = Json::object();
  rect.set("x", maps.rect.x);
  rect.set("y", maps.rect.y);
  rect.set("width", maps.rect.width);
  rect.set("height", maps.rect.height);
  Json list = Json::array();
  for (const NamedMap& map : named) {
    Json item = Json::object();
    item.set("map", map.name);
    item.set("values", stem + ".encoder-" + map.name + ".npy");
    if (map.volume != nullptr) {
      item.set("axes",
               Json::array_of(std::array<const char*, 4>{"layers", "heads", "rows", "columns"}));
      item.set("drawn", "mean over layers and heads");
      item.set("layers", Json::array_of(run.layers));
      item.set("heads", Json::array_of(run.heads));
    } else {
      item.set("axes", Json::array_of(std::array<const char*, 2>{"rows", "columns"}));
      item.set("fusion", encoder.fusion);
      item.set("discard", encoder.discard);
    }
    item.set("min", 0.0);
    item.set("max", static_cast<double>(std::ranges::max(map.mean.values)));
    list.push(std::move(item));
  }
  Json json = Json::object();
  json.set("image", image);
  json.set("width", picture.width);
  json.set("height", picture.height);
  json.set("grid", Json(Json::Array{Json(maps.rows), Json(maps.cols)}));
  json.set("rect", std::move(rect));
  json.set("class_token_dropped", encoder.drop_class_token);
  json.set("maps", std::move(list));
  json.set("model", model_of(run));
  json.set("version", version());
  return json;
}

Status write_picture(Run& run, const std::string& image, const std::string& stem,
                     const Image& picture, const EncoderMaps& maps) {
  OverlayOptions overlay;
  FOVEA_TRY(overlay.color_map, parse_color_map(run.options.color_map));
  overlay.opacity = run.options.opacity;
  overlay.smooth = !run.options.flat;
  const std::vector<NamedMap> named = named_maps(run, maps);
  for (const NamedMap& map : named) {
    const std::string name = stem + ".encoder-" + map.name;
    FOVEA_CHECK(run.write_image(name + ".png", draw_overlay(picture, map.mean, overlay)));
    FOVEA_CHECK(run.write_image(name + ".map.png", draw_map(map.mean, overlay)));
    if (map.volume == nullptr) {
      const std::array<std::int64_t, 2> shape{maps.rows, maps.cols};
      FOVEA_CHECK(
          write_npy(run.path(name + ".npy"), shape, std::span<const float>(map.mean.values)));
    } else {
      const std::array<std::int64_t, 4> shape{maps.layers, maps.heads, maps.rows, maps.cols};
      FOVEA_CHECK(write_npy(run.path(name + ".npy"), shape, std::span<const float>(*map.volume)));
    }
    run.written.push_back(run.path(name + ".npy"));
    if (run.options.encoder.grid && map.volume != nullptr) {
      FOVEA_CHECK(run.write_image(name + ".grid.png",
                                  draw_map_sheet(maps, *map.volume, overlay.color_map)));
    }
  }
  return run.write_text(stem + ".encoder.json",
                        sidecar_json(run, image, picture, maps, named, stem).dump(1) + "\n");
}

// ---- NMI ---------------------------------------------------------------------------------------

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

ReachThresholds thresholds_of(const EncoderMapOptions& options) {
  return {.local_above = options.local_above, .global_below = options.global_below};
}

std::string nmi_csv(const Run& run) {
  const ReachThresholds thresholds = thresholds_of(run.options.encoder);
  std::string text = csv_record(std::vector<std::string>{"layer", "head", "nmi", "reach"});
  const auto add = [&](std::size_t layer, const std::string& head, double nmi) {
    text += csv_record(std::vector<std::string>{std::to_string(layer), head, format("%.6f", nmi),
                                                reach_name(reach_of(nmi, thresholds))});
  };
  for (std::size_t layer = 0; layer < run.nmi.size(); ++layer) {
    add(layer, "mean", mean_of(run.nmi[layer]));
    for (std::size_t head = 0; head < run.nmi[layer].size(); ++head) {
      add(layer, std::to_string(head), run.nmi[layer][head]);
    }
  }
  return text;
}

Json nmi_json(const Run& run) {
  const ReachThresholds thresholds = thresholds_of(run.options.encoder);
  Json layers = Json::array();
  for (std::size_t layer = 0; layer < run.nmi.size(); ++layer) {
    const double mean = mean_of(run.nmi[layer]);
    Json heads = Json::array();
    for (const double nmi : run.nmi[layer]) {
      Json head = Json::object();
      head.set("nmi", nmi);
      head.set("reach", reach_name(reach_of(nmi, thresholds)));
      heads.push(std::move(head));
    }
    Json item = Json::object();
    item.set("layer", layer);
    item.set("nmi", mean);
    item.set("reach", reach_name(reach_of(mean, thresholds)));
    item.set("heads", std::move(heads));
    layers.push(std::move(item));
  }
  Json json = Json::object();
  json.set("layers", std::move(layers));
  json.set("local_above", thresholds.local_above);
  json.set("global_below", thresholds.global_below);
  json.set("class_token_dropped", run.options.encoder.drop_class_token);
  json.set("images", Json::array_of(run.options.ask.images));
  json.set("model", model_of(run));
  json.set("version", version());
  return json;
}

std::string nmi_table(const Run& run) {
  const ReachThresholds thresholds = thresholds_of(run.options.encoder);
  Table table({{"layer"}, {"NMI"}, {"reach", Table::Align::left}, {"heads", Table::Align::left}});
  for (std::size_t layer = 0; layer < run.nmi.size(); ++layer) {
    const double mean = mean_of(run.nmi[layer]);
    std::string heads;
    for (const double nmi : run.nmi[layer])
      heads += format("%s%.3f", heads.empty() ? "" : " ", nmi);
    table.add({std::to_string(layer), format("%.4f", mean), reach_name(reach_of(mean, thresholds)),
               heads});
  }
  return table.text();
}

// ---- The run -----------------------------------------------------------------------------------

Result<EncoderMaps> read_one(Context& context, const Run& run, const std::string& path,
                             Image& picture) {
  FOVEA_TRY(picture, load_image(path));
  PreprocessConfig steps = run.tower.preprocess();
  const std::string& aspect = run.options.ask.generation.image_aspect;
  if (!aspect.empty()) steps.aspect = aspect == "pad" ? AspectMode::pad : AspectMode::crop;
  auto prepared = preprocess(context.host(), picture, steps);
  if (!prepared) return std::move(prepared).error().in_file(path);
  const EncoderMapOptions& encoder = run.options.encoder;
  EncoderMapRequest request;
  request.drop_special_tokens = encoder.drop_class_token;
  if (encoder.map == "all" || encoder.map == "rollout") {
    request.rollout =
        RolloutOptions{.fusion = *find_head_fusion(encoder.fusion), .discard = encoder.discard};
  }
  return read_encoder(context, run.tower.encoder(), *prepared, request);
}

Status run_all(Run& run) {
  FOVEA_TRY(Context context, make_context(run.tower.device(), run.threads));
  context.cancel = &interrupted();
  FOVEA_CHECK(make_folder(run.options.out));
  const std::vector<std::string>& images = run.options.ask.images;
  const std::vector<std::string> stems = stems_of(images);
  for (std::size_t i = 0; i < images.size(); ++i) {
    Image picture;
    FOVEA_TRY(const EncoderMaps maps, read_one(context, run, images[i], picture));
    FOVEA_CHECK(write_picture(run, images[i], stems[i], picture, maps));
    run.nmi.resize(maps.nmi.size(), std::vector<double>(maps.nmi.front().size(), 0.0));
    for (std::size_t layer = 0; layer < maps.nmi.size(); ++layer) {
      for (std::size_t head = 0; head < maps.nmi[layer].size(); ++head) {
        run.nmi[layer][head] += maps.nmi[layer][head] / static_cast<double>(images.size());
      }
    }
  }
  FOVEA_CHECK(run.write_text("encoder.nmi.csv", nmi_csv(run)));
  FOVEA_CHECK(run.write_text("encoder.nmi.json", nmi_json(run).dump(1) + "\n"));
  return run.write_image("encoder.nmi.png",
                         draw_nmi_plot(run.nmi, thresholds_of(run.options.encoder)));
}

}  // namespace

int run_encoder_heatmap(const HeatmapOptions& options) {
  const auto load = load_options(options.ask.model);
  if (!load) return report_error(load.error(), Blame::model);
  const auto folder = find_model_folder(options.ask.model);
  if (!folder) return report_error(folder.error(), Blame::model);
  const auto tower = VisionTower::load(*folder, *load);
  if (!tower) return report_error(tower.error(), Blame::model);
  const auto layers =
      parse_layers(options.layers.empty() ? "all" : options.layers, tower->encoder().run_layers());
  if (!layers) return report_error(Error(layers.error()).in_field("--layers"));
  const auto heads =
      parse_layers(options.encoder.heads, static_cast<int>(tower->encoder().config().heads));
  if (!heads) return report_error(Error(heads.error()).in_field("--heads"));

  Run run{options, *tower, *layers, *heads, load->threads, {}, {}};
  if (const Status done = run_all(run); !done) {
    // All files or none: what was written before a failure is removed again.
    std::error_code ignored;
    for (const std::string& path : run.written) fs::remove(path, ignored);
    return report_error(done.error());
  }
  const OutputOptions& output = options.ask.output;
  if (output.json) {
    Json json = nmi_json(run);
    json.set("files", Json::array_of(run.written));
    if (const auto written = write_json(output, json); !written) {
      return report_error(written.error());
    }
  }
  if (!output.json_on_stdout()) {
    for (const std::string& path : run.written) print_text("wrote " + path + "\n");
    if (!output.quiet) print_text(nmi_table(run));
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return kExitOk;
}

}  // namespace fovea::app
