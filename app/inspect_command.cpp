// fovea inspect: what a model folder holds. Weights are mapped, not loaded.

#include <algorithm>
#include <cstdio>
#include <map>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/model_folder.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/base/checked.h"
#include "kernels/weights/safetensors.h"
#include "vlm/chat_template.h"
#include "vlm/llava_config.h"
#include "vlm/tokenizer.h"

namespace fovea::app {
namespace {

constexpr std::size_t kNamesShown = 4;

struct PartCount {
  std::int64_t tensors = 0, parameters = 0;
  void add(std::int64_t count) {
    ++tensors;
    parameters += count;
  }
};

struct Inspection {
  std::string folder;
  LlavaConfig config;
  std::string naming;
  std::vector<std::string> files;
  std::uint64_t bytes = 0;
  std::map<std::string, std::int64_t> dtypes;  // tensors of each type
  PartCount vision, projector, decoder, unneeded;
  std::vector<std::string> unneeded_names;
  std::int32_t pieces = 0;
  std::string chat_template;  // empty: not recognised
  std::vector<std::string> notes;

  std::int64_t parameters() const {
    return vision.parameters + projector.parameters + decoder.parameters;
  }
  double weight_bytes(int element) const { return static_cast<double>(parameters()) * element; }
  std::int64_t kv_bytes_per_token(int element) const {
    const DecoderConfig& d = config.decoder;
    return 2 * d.layers * d.kv_heads * d.head_dim * element;
  }
};

bool begins_with(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

bool ends_with(const std::string& text, const std::string& ending) {
  return text.size() >= ending.size() &&
         text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

/// Index N of a name that goes on with "layers.N." after the prefix, or -1.
std::int64_t layer_of(const std::string& name, const std::string& prefix) {
  if (!begins_with(name, prefix)) return -1;
  std::int64_t layer = -1;
  for (std::size_t i = prefix.size(); i < name.size() && name[i] >= '0' && name[i] <= '9'; ++i) {
    layer = (layer < 0 ? 0 : layer) * 10 + (name[i] - '0');
    if (layer > 1'000'000) return layer;
  }
  return layer;
}

/// The part that needs a tensor, or `unneeded`: buffers that old versions of transformers saved,
/// the tower's final norm and the blocks behind the feature layer, and whatever is no part of a
/// LLaVA.
PartCount& part_of(const std::string& name, const LlavaNaming& naming, Inspection& found) {
  const LlavaConfig& config = found.config;
  if (ends_with(name, "position_ids") || ends_with(name, "rotary_emb.inv_freq")) {
    return found.unneeded;
  }
  if (name == naming.lm_head) {
    return config.decoder.tie_embeddings ? found.unneeded : found.decoder;
  }
  if (begins_with(name, naming.vision)) {
    const bool behind =
        layer_of(name, naming.vision + "encoder.layers.") >= config.vision_run_layers;
    const bool final_norm = begins_with(name, naming.vision + "post_layernorm.");
    return behind || final_norm ? found.unneeded : found.vision;
  }
  if (begins_with(name, naming.projector)) return found.projector;
  if (begins_with(name, naming.decoder)) {
    const bool behind = layer_of(name, naming.decoder + "layers.") >= config.decoder.layers;
    return behind ? found.unneeded : found.decoder;
  }
  return found.unneeded;
}

Result<Inspection> inspect(const std::string& folder) {
  Inspection found;
  found.folder = folder;
  FOVEA_TRY(found.config, read_llava_config(folder));
  FOVEA_TRY(const Tokenizer tokenizer, Tokenizer::load(folder));
  found.pieces = tokenizer.piece_count();
  FOVEA_TRY(const WeightFiles files, WeightFiles::open(folder));
  FOVEA_TRY(const LlavaNaming naming, detect_llava_naming(files));
  found.naming = naming.name;
  found.files = files.files();
  found.bytes = files.bytes();
  for (const std::string& name : files.names()) {
    const SafetensorsEntry& entry = *files.find(name);
    ++found.dtypes[entry.dtype];
    PartCount& part = part_of(name, naming, found);
    part.add(checked_product(entry.shape).value_or(0));
    if (&part == &found.unneeded) found.unneeded_names.push_back(name);
  }
  if (const auto chat = ChatTemplate::recognise(found.config.chat_template)) {
    found.chat_template = chat->name();
  } else {
    found.notes.push_back(chat.error().to_string());
  }
  for (const std::string& note : found.config.notes) found.notes.push_back(note);
  if (!found.unneeded_names.empty()) {
    std::string names;
    for (std::size_t i = 0; i < std::min(kNamesShown, found.unneeded_names.size()); ++i) {
      names += (i == 0 ? "" : ", ") + found.unneeded_names[i];
    }
    found.notes.push_back(format("%zu tensors are not needed: %s%s", found.unneeded_names.size(),
                                 names.c_str(),
                                 found.unneeded_names.size() > kNamesShown ? ", ..." : ""));
  }
  return found;
}

Json part_json(const PartCount& part) {
  Json json = Json::object();
  json.set("tensors", part.tensors);
  json.set("parameters", part.parameters);
  return json;
}

Json config_json(const LlavaConfig& config) {
  const DecoderConfig& d = config.decoder;
  Json decoder = Json::object();
  decoder.set("vocab_size", d.vocab_size);
  decoder.set("hidden_size", d.hidden_size);
  decoder.set("intermediate_size", d.intermediate_size);
  decoder.set("layers", d.layers);
  decoder.set("heads", d.heads);
  decoder.set("kv_heads", d.kv_heads);
  decoder.set("head_dim", d.head_dim);
  decoder.set("rope_theta", d.rope_theta);
  decoder.set("rms_norm_eps", d.rms_norm_eps);
  decoder.set("max_positions", d.max_positions);
  decoder.set("tie_embeddings", d.tie_embeddings);
  const VitConfig& v = config.vision;
  Json vision = Json::object();
  vision.set("hidden_size", v.hidden_size);
  vision.set("intermediate_size", v.intermediate_size);
  vision.set("layers", v.layers);
  vision.set("layers_run", config.vision_run_layers);
  vision.set("heads", v.heads);
  vision.set("image_size", v.image_size);
  vision.set("patch_size", v.patch_size);
  Json json = Json::object();
  json.set("decoder", std::move(decoder));
  json.set("vision", std::move(vision));
  json.set("visual_tokens", config.visual_tokens_per_image());
  json.set("image_token_id", config.image_token_id);
  json.set("bos_token_id", config.bos_token_id);
  json.set("eos_token_ids", Json::array_of(config.eos_token_ids));
  json.set("image_aspect", config.preprocess.aspect == AspectMode::pad ? "pad" : "crop");
  return json;
}

Json inspection_json(const Inspection& found) {
  Json dtypes = Json::object();
  for (const auto& [dtype, count] : found.dtypes) dtypes.set(dtype, count);
  Json parts = Json::object();
  parts.set("vision", part_json(found.vision));
  parts.set("projector", part_json(found.projector));
  parts.set("decoder", part_json(found.decoder));
  parts.set("unneeded", part_json(found.unneeded));
  Json memory = Json::object();
  memory.set("weights_f32", found.weight_bytes(4));
  memory.set("weights_bf16", found.weight_bytes(2));
  memory.set("kv_per_token_f32", found.kv_bytes_per_token(4));
  memory.set("kv_per_token_bf16", found.kv_bytes_per_token(2));

  Json json = Json::object();
  json.set("folder", found.folder);
  json.set("id", found.config.model_id);
  json.set("config", config_json(found.config));
  json.set("naming", found.naming);
  json.set("files", Json::array_of(found.files));
  json.set("bytes", static_cast<std::int64_t>(found.bytes));
  json.set("dtypes", std::move(dtypes));
  json.set("parameters", found.parameters());
  json.set("parts", std::move(parts));
  json.set("memory_bytes", std::move(memory));
  json.set("tokenizer_pieces", found.pieces);
  json.set("chat_template", found.chat_template.empty() ? Json() : Json(found.chat_template));
  json.set("notes", Json::array_of(found.notes));
  json.set("version", version());
  return json;
}

std::string millions(std::int64_t count) {
  const double value = static_cast<double>(count) / 1e6;
  return value >= 1000 ? format("%.2f B", value / 1000) : format("%.2f M", value);
}

void print_inspection(const Inspection& found) {
  const DecoderConfig& d = found.config.decoder;
  const VitConfig& v = found.config.vision;
  std::string dtypes;
  std::int64_t tensors = 0;
  for (const auto& [dtype, count] : found.dtypes) {
    dtypes += (dtypes.empty() ? "" : ", ") + std::to_string(count) + " " + dtype;
    tensors += count;
  }
  const auto line = [](const char* name, const std::string& value) {
    print_text(format("%-14s %s\n", name, value.c_str()));
  };
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  line("model", found.config.model_id + " (" + found.folder + ")");
  line("weights", format("%zu files, %s, %lld tensors (%s), %s names", found.files.size(),
                         byte_text(static_cast<double>(found.bytes)).c_str(),
                         static_cast<long long>(tensors), dtypes.c_str(), found.naming.c_str()));
  line("parameters", millions(found.parameters()) + ": tower " + millions(found.vision.parameters) +
                         ", projector " + millions(found.projector.parameters) + ", decoder " +
                         millions(found.decoder.parameters));
  line("vision", number(found.config.vision_run_layers) + " of " + number(v.layers) +
                     " layers run, width " + number(v.hidden_size) + ", " + number(v.heads) +
                     " heads; " + number(v.image_size) + " px in patches of " +
                     number(v.patch_size) + ": " + number(found.config.visual_tokens_per_image()) +
                     " visual tokens");
  line("decoder", number(d.layers) + " layers, width " + number(d.hidden_size) + ", " +
                      number(d.heads) + " heads, " + number(d.kv_heads) + " of keys and values; " +
                      "MLP " + number(d.intermediate_size) + ", context " +
                      number(d.max_positions) + (d.tie_embeddings ? ", tied embeddings" : ""));
  line("memory", "weights " + byte_text(found.weight_bytes(4)) + " in f32, " +
                     byte_text(found.weight_bytes(2)) + " in bf16; each token of the context " +
                     byte_text(static_cast<double>(found.kv_bytes_per_token(4))) + " or " +
                     byte_text(static_cast<double>(found.kv_bytes_per_token(2))));
  line("tokenizer", number(found.pieces) + " pieces, vocabulary " + number(d.vocab_size));
  line("chat template", found.chat_template.empty() ? "not recognised" : found.chat_template);
  for (const std::string& note : found.notes) line("note", note);
}

}  // namespace

int run_inspect(const InspectOptions& options) {
  const auto folder = find_model_folder(options.model);
  if (!folder) return report_error(folder.error(), Blame::model);
  const auto found = inspect(*folder);
  if (!found) return report_error(found.error(), Blame::model);
  if (const auto written = write_json(options.output, inspection_json(*found)); !written) {
    return report_error(written.error());
  }
  if (!options.output.json_on_stdout()) print_inspection(*found);
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return kExitOk;
}

}  // namespace fovea::app
