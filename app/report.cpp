#include "app/report.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "app/guide_report.h"
#include "app/prune_report.h"
#include "app/text.h"
#include "kernels/base/file.h"
#include "kernels/device.h"
#include "kernels/ops/linear/algorithms.h"

namespace fovea::app {

namespace {

int layers_of(const LlavaModel& model) {
  return static_cast<int>(model.config().decoder.layers);
}

}  // namespace

std::string version() {
  return FOVEA_VERSION;
}

const char* dtype_text(LinearDType dtype) {
  return linear_dtype_name(dtype);
}

std::string place_text(Device device, int threads) {
  if (device.kind == DeviceKind::cpu) {
    return format("the CPU with %d thread%s", threads, threads == 1 ? "" : "s");
  }
  const auto info = cuda_device_info(device.index);
  return device_name(device) + (info ? ", " + info->name : std::string());
}

double rounded_ms(double milliseconds) {
  return std::round(milliseconds * 1000.0) / 1000.0;
}

Json model_json(const LlavaModel& model, int threads) {
  Json json = Json::object();
  json.set("id", model.config().model_id);
  const std::string digest = model.sha256();
  json.set("sha256", digest.empty() ? Json() : Json(digest));
  json.set("dtype", dtype_text(model.dtype()));
  json.set("device", device_name(model.device()));
  json.set("threads", threads);
  return json;
}

Json timings_json(const Timings& t) {
  Json timings = Json::object();
  timings.set("load", rounded_ms(t.load));
  timings.set("decode_image", rounded_ms(t.decode_image));
  timings.set("preprocess", rounded_ms(t.preprocess));
  timings.set("vision", rounded_ms(t.vision));
  timings.set("projector", rounded_ms(t.projector));
  timings.set("prefill", rounded_ms(t.prefill));
  timings.set("first_token", rounded_ms(t.first_token));
  timings.set("per_token", rounded_ms(t.per_token));
  timings.set("total", rounded_ms(t.total));
  return timings;
}

Json answer_json(const Answer& answer, const PruneSetting& setting, const LlavaModel& model,
                 int threads) {
  Json json = Json::object();
  json.set("answer", answer.text);
  json.set("token_ids", Json::array_of(answer.token_ids));
  json.set("prompt_token_ids", Json::array_of(answer.prompt_token_ids));
  json.set("finish_reason", finish_reason_name(answer.finish_reason));
  json.set("visual_tokens", visual_tokens_json(answer, setting, layers_of(model)));
  json.set("guide", guide_json(answer));
  json.set("timings_ms", timings_json(answer.timings));
  json.set("model", model_json(model, threads));
  json.set("version", version());
  return json;
}

void print_budget(const Answer& answer, const PruneSetting& setting, const LlavaModel& model) {
  for (const std::string& line : budget_lines(answer, setting, layers_of(model))) {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

void print_summary(const Answer& answer, const PruneSetting& setting, const LlavaModel& model,
                   int threads) {
  const Timings& t = answer.timings;
  std::string line = format("%zu tokens (%s), the first after %.0f ms", answer.token_ids.size(),
                            finish_reason_name(answer.finish_reason), t.first_token);
  if (t.per_token > 0) line += format(", then %.1f ms a token", t.per_token);
  std::fprintf(stderr, "%s, %.0f ms in all\n", line.c_str(), t.total);
  print_budget(answer, setting, model);
  std::fprintf(stderr, "%s, %s on %s, loaded in %.0f ms\n", model.config().model_id.c_str(),
               dtype_text(model.dtype()), place_text(model.device(), threads).c_str(), t.load);
}

void print_model_notes(const Session& session) {
  const LlavaModel& model = session.model();
  std::fprintf(stderr, "model: %s (%s), chat template %s\n", model.folder().c_str(),
               dtype_text(model.dtype()), session.template_name().c_str());
  for (const std::string& note : model.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  print_algorithms_note(model.device());
}

void print_algorithms_note(Device device) {
  const std::string note = algorithms_note(device);
  if (!note.empty()) std::fprintf(stderr, "note: %s\n", note.c_str());
}

void print_text(const std::string& text) {
  static const bool terminal = isatty(STDOUT_FILENO) != 0;
  if (terminal) {
    std::string shown;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte >= 0x20 && byte != 0x7f) || c == '\n' || c == '\t') shown += c;
    }
    std::fwrite(shown.data(), 1, shown.size(), stdout);
  } else {
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  std::fflush(stdout);
}

Status write_json(const OutputOptions& output, const Json& json) {
  if (!output.json) return {};
  const std::string text = json.dump() + "\n";
  if (!output.json_on_stdout()) return write_file_atomically(*output.json, text);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return finish_stdout();
}

Status finish_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return make_error(ErrorCode::io, "stdout did not take everything that was written to it");
  }
  return {};
}

}  // namespace fovea::app
