// fovea heatmap: asks, and draws where on the picture the answer's attention went.

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "app/commands.h"
#include "app/encoder_heatmap.h"
#include "app/exit_code.h"
#include "app/layer_list.h"
#include "app/picture_list.h"
#include "app/question_run.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/base/file.h"
#include "kernels/base/npy.h"
#include "vlm/attention_map.h"

namespace fovea::app {
namespace {

namespace fs = std::filesystem;

/// Everything one picture gives, made before the first file is written.
struct PictureFiles {
  std::string stem;
  std::vector<std::pair<std::string, std::vector<std::byte>>> pictures;  // name, PNG bytes
  AttentionVolume volume;
  Json sidecar;
};

/// Answer tokens without the end token (unless there is nothing else).
std::vector<int> words_of(const Answer& answer, const LlavaConfig& config, int traced) {
  int count = std::min(traced, static_cast<int>(answer.token_ids.size()));
  const auto& ends = config.eos_token_ids;
  if (count > 1 && std::find(ends.begin(), ends.end(),
                             answer.token_ids[static_cast<std::size_t>(count - 1)]) != ends.end()) {
    --count;
  }
  std::vector<int> tokens;
  for (int token = 0; token < count; ++token) tokens.push_back(token);
  return tokens;
}

Result<std::vector<int>> choose_tokens(const std::string& text, const std::vector<int>& words,
                                       int traced) {
  if (text == "all") return words;
  int token = -1;
  if (!read_number(text, token) || token < 0 || token >= traced) {
    return make_error(ErrorCode::usage,
                      format("\"%.60s\" is no token of the answer, which has 0 to %d", text.c_str(),
                             traced - 1))
        .in_field("--token")
        .with_remedy("Write all, or the index of one token");
  }
  return std::vector<int>{token};
}

float largest(const GridMap& map) {
  float high = 0.0F;
  for (const float value : map.values) {
    if (std::isfinite(value)) high = std::max(high, value);
  }
  return high;
}

Json sidecar_json(const HeatmapOptions& options, const QuestionRun& run, std::size_t index,
                  const PictureFiles& files, const GridMap& map) {
  const AttentionVolume& volume = files.volume;
  const Image& picture = *run.images[index];
  Json rect = Json::object();
  rect.set("x", volume.rect.x);
  rect.set("y", volume.rect.y);
  rect.set("width", volume.rect.width);
  rect.set("height", volume.rect.height);
  Json tokens = Json::array();
  for (const int token : volume.tokens) {
    const std::int32_t id = run.answer.token_ids[static_cast<std::size_t>(token)];
    Json item = Json::object();
    item.set("index", token);
    item.set("id", id);
    item.set("text", run.model->tokenizer().piece(id));
    tokens.push(std::move(item));
  }
  Json kept = Json::array(), pruned_at = Json::array();
  for (const StageRecord& stage : run.answer.pruning.stages) {
    kept.push(Json::array_of(stage.kept));
    pruned_at.push(stage.layer);
  }
  Json reduction = Json::object();
  for (const char* axis : {"heads", "layers", "tokens"}) reduction.set(axis, "mean");
  Json normalisation = Json::object();
  normalisation.set("mode", "zero to largest");
  normalisation.set("min", 0.0);
  normalisation.set("max", static_cast<double>(largest(map)));

  Json json = Json::object();
  json.set("image", options.ask.images[index]);
  json.set("width", picture.width);
  json.set("height", picture.height);
  json.set("grid", Json(Json::Array{Json(volume.rows), Json(volume.cols)}));
  json.set("rect", std::move(rect));
  json.set("layers", Json::array_of(volume.layers));
  json.set("heads", volume.heads);
  json.set("tokens", std::move(tokens));
  json.set("reduction", std::move(reduction));
  json.set("normalisation", std::move(normalisation));
  json.set("kept", std::move(kept));
  json.set("pruned_at_layer", std::move(pruned_at));
  json.set("values", files.stem + ".heatmap.npy");
  json.set("axes", Json::array_of(
                       std::array<const char*, 5>{"layers", "heads", "tokens", "rows", "columns"}));
  json.set(options.ask.raw_prompt ? "prompt" : "question", run.question);
  json.set("answer", run.answer.text);
  json.set("model", model_json(answering_model(run.answer, *run.model), run.threads));
  json.set("version", version());
  return json;
}

Result<PictureFiles> draw(const HeatmapOptions& options, const QuestionRun& run, std::size_t index,
                          std::string stem, AttentionVolume volume) {
  PictureFiles files;
  files.stem = std::move(stem);
  files.volume = std::move(volume);
  OverlayOptions overlay;
  FOVEA_TRY(overlay.color_map, parse_color_map(options.color_map));
  overlay.opacity = options.opacity;
  overlay.smooth = !options.flat;

  const auto add = [&](const std::string& ending, const Result<Image>& image) -> Status {
    if (!image) return image.error();
    FOVEA_TRY(std::vector<std::byte> bytes, encode_png(*image));
    files.pictures.emplace_back(files.stem + ending, std::move(bytes));
    return {};
  };
  const Image& picture = *run.images[index];
  const GridMap mean = mean_map(files.volume);
  FOVEA_CHECK(add(".heatmap.png", draw_overlay(picture, mean, overlay)));
  FOVEA_CHECK(add(".map.png", draw_map(mean, overlay)));
  if (options.per_token) {
    for (std::size_t t = 0; t < files.volume.tokens.size(); ++t) {
      const GridMap map = mean_map(files.volume, static_cast<int>(t));
      FOVEA_CHECK(add(format(".token-%03d.png", files.volume.tokens[t]),
                      draw_overlay(picture, map, overlay)));
    }
  }
  files.sidecar = sidecar_json(options, run, index, files, mean);
  return files;
}

Result<std::vector<PictureFiles>> draw_all(const HeatmapOptions& options, const QuestionRun& run) {
  const auto& trace = run.answer.trace;
  if (trace == nullptr || trace->tokens() == 0) {
    return make_error(ErrorCode::bad_input, "there is no answer whose attention could be drawn");
  }
  FOVEA_TRY(const std::vector<int> layers, parse_layers(options.layers, trace->layers()));
  const LlavaModel& answering = answering_model(run.answer, *run.model);
  const std::vector<int> words = words_of(run.answer, answering.config(), trace->tokens());
  FOVEA_TRY(const std::vector<int> tokens, choose_tokens(options.token, words, trace->tokens()));
  Context context;
  context.threads = run.threads;
  FOVEA_TRY(std::vector<AttentionVolume> volumes,
            collect_attention(context, *trace, layers, tokens));
  if (volumes.size() != run.images.size()) {
    return make_error(ErrorCode::internal, "the prompt's pictures and maps do not match");
  }
  const std::vector<std::string> stems = stems_of(options.ask.images);
  std::vector<PictureFiles> all;
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    FOVEA_TRY(PictureFiles files, draw(options, run, i, stems[i], std::move(volumes[i])));
    all.push_back(std::move(files));
  }
  return all;
}

/// Writes every file, or none: what was written before a failure is removed again.
Result<std::vector<std::string>> write_all(const std::string& folder,
                                           const std::vector<PictureFiles>& all) {
  FOVEA_CHECK(make_folder(folder));
  std::vector<std::string> written;
  const auto write_one = [&](const PictureFiles& files) -> Status {
    const auto path_of = [&](const std::string& name) {
      return (fs::path(folder) / name).string();
    };
    for (const auto& [name, bytes] : files.pictures) {
      FOVEA_CHECK(write_file_atomically(path_of(name), bytes));
      written.push_back(path_of(name));
    }
    const AttentionVolume& v = files.volume;
    const std::array<std::int64_t, 5> shape{static_cast<std::int64_t>(v.layers.size()), v.heads,
                                            static_cast<std::int64_t>(v.tokens.size()), v.rows,
                                            v.cols};
    const std::string values = path_of(files.stem + ".heatmap.npy");
    FOVEA_CHECK(write_npy(values, shape, std::span<const float>(v.values)));
    written.push_back(values);
    const std::string sidecar = path_of(files.stem + ".heatmap.json");
    FOVEA_CHECK(write_file_atomically(sidecar, files.sidecar.dump(1) + "\n"));
    written.push_back(sidecar);
    return {};
  };
  for (const PictureFiles& files : all) {
    if (auto status = write_one(files); !status) {
      std::error_code ignored;
      for (const std::string& path : written) fs::remove(path, ignored);
      return status.error();
    }
  }
  return written;
}

}  // namespace

int run_heatmap(const HeatmapOptions& options) {
  if (options.encoder.on) return run_encoder_heatmap(options);
  QuestionRun run;
  if (options.ask.images.empty()) {
    return report_error(make_error(ErrorCode::usage, "--image is required: there is no picture"));
  }
  const int code = run_question(options.ask, {.trace = true, .logits = false}, run);
  if (code != kExitOk) return code;
  auto drawn = draw_all(options, run);
  if (!drawn) return report_error(drawn.error());
  auto written = write_all(options.out, *drawn);
  if (!written) return report_error(written.error());

  const OutputOptions& output = options.ask.output;
  if (output.json) {
    Json json = answer_json(run.answer, run.prune.setting, *run.model, run.threads);
    json.set("files", Json::array_of(*written));
    if (const auto status = write_json(output, json); !status) return report_error(status.error());
  }
  if (!output.json_on_stdout()) {
    for (const std::string& path : *written) print_text("wrote " + path + "\n");
    if (run.answer.guide != nullptr && run.answer.guide->exited && !output.quiet) {
      std::fprintf(stderr, "the maps are those of %s, whose answer was taken\n",
                   run.answer.guide->model->config().model_id.c_str());
    }
    if (!output.quiet) print_summary(run.answer, run.prune.setting, *run.model, run.threads);
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return kExitOk;
}

}  // namespace fovea::app
