#include "vlm/llava_model.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <set>
#include <utility>

#include "kernels/device.h"
#include "vlm/random_weights.h"

namespace fovea {

namespace {

// Above this, float32 weights crowd out everything else on an ordinary machine.
constexpr double kAutomaticF32Bytes = 2e9;
// Hashing more than this would take longer than answering.
constexpr std::uint64_t kMaxHashedBytes = std::uint64_t{2} << 30;

double parameters(const LlavaConfig& config) {
  const DecoderConfig& d = config.decoder;
  const VitConfig& v = config.vision;
  const double attention =
      2.0 * d.hidden_size * d.head_dim * static_cast<double>(d.heads + d.kv_heads);
  const double decoder = d.layers * (attention + 3.0 * d.hidden_size * d.intermediate_size);
  const double embeddings = (d.tie_embeddings ? 1.0 : 2.0) * d.vocab_size * d.hidden_size;
  const double tower = config.vision_run_layers * (4.0 * v.hidden_size * v.hidden_size +
                                                   2.0 * v.hidden_size * v.intermediate_size);
  return decoder + embeddings + (v.layers > 0 ? tower : 0.0);
}

LinearDType choose_dtype(const LoadOptions& options, const LlavaConfig& config) {
  switch (options.dtype) {
    case DTypeChoice::f32:
      return LinearDType::f32;
    case DTypeChoice::bf16:
      return LinearDType::bf16;
    case DTypeChoice::f16:
      return LinearDType::f16;
    case DTypeChoice::automatic:
      break;
  }
  return 4.0 * parameters(config) > kAutomaticF32Bytes ? LinearDType::bf16 : LinearDType::f32;
}

/// Bytes of memory the system can still give, or a negative number when it does not say.
double available_memory() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  double kilobytes = 0;
  std::string unit;
  while (meminfo >> key >> kilobytes >> unit) {
    if (key == "MemAvailable:") return kilobytes * 1024.0;
  }
  return -1;
}

/// Keys, values and scratch of a long prompt, beside the weights on a GPU.
double gpu_working_bytes(const LlavaConfig& config, LinearDType dtype) {
  constexpr double kTokens = 4096, kScratch = 0.5e9;
  const DecoderConfig& d = config.decoder;
  const double element = dtype == LinearDType::f32 ? 4.0 : 2.0;
  return kScratch +
         kTokens * element * 2.0 * d.layers * static_cast<double>(d.kv_heads * d.head_dim);
}

/// Refuses to begin what the machine or the GPU cannot hold: running out half-way would take other
/// programs down with it.
Status check_memory(const LlavaConfig& config, LinearDType dtype, Device device) {
  const auto needed_in = [&](LinearDType type) {
    const double weights = parameters(config) * (type == LinearDType::f32 ? 4.0 : 2.0) * 1.05;
    return device.kind == DeviceKind::cuda ? weights + gpu_working_bytes(config, type) : weights;
  };
  double available = 0;
  if (device.kind == DeviceKind::cuda) {
    FOVEA_TRY(const DeviceInfo info, cuda_device_info(device.index));
    available = static_cast<double>(info.free_bytes);
  } else {
    available = available_memory();
  }
  const double needed = needed_in(dtype);
  if (available < 0 || needed <= available) return {};
  char text[160];
  std::snprintf(
      text, sizeof(text), "the %s need about %.1f GB of memory on %s, %.1f GB are available",
      device.kind == DeviceKind::cuda ? "weights, keys and values" : "weights", needed / 1e9,
      device.kind == DeviceKind::cuda ? device_name(device).c_str() : "this machine",
      available / 1e9);
  Error error = make_error(ErrorCode::out_of_memory, text);
  if (dtype == LinearDType::f32 && needed_in(LinearDType::bf16) <= available) {
    error.with_remedy("Load with --dtype bf16");
  } else if (device.kind == DeviceKind::cuda) {
    error.with_remedy("Use --device cpu, or end other programs on the GPU");
  }
  return error;
}

std::string join_first(const std::set<std::string>& names, std::size_t most) {
  std::string text;
  std::size_t shown = 0;
  for (const std::string& name : names) {
    if (shown++ == most) return text + ", ...";
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

Result<std::shared_ptr<const LlavaModel>> LlavaModel::load(const std::string& folder,
                                                           const LoadOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  auto model = std::make_shared<LlavaModel>();
  model->folder_ = folder;
  FOVEA_TRY(model->config_, read_llava_config(folder));
  FOVEA_TRY(Tokenizer tokenizer, Tokenizer::load(folder));
  model->tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
  FOVEA_TRY(WeightFiles files, WeightFiles::open(folder));
  model->files_ = std::make_unique<WeightFiles>(std::move(files));
  FOVEA_TRY(const LlavaNaming naming, detect_llava_naming(*model->files_));
  const LlavaConfig& config = model->config_;
  if (model->tokenizer_->piece_count() > config.decoder.vocab_size) {
    return make_error(ErrorCode::bad_model, "tokenizer.model has " +
                                                std::to_string(model->tokenizer_->piece_count()) +
                                                " pieces, more than the vocabulary of " +
                                                std::to_string(config.decoder.vocab_size))
        .in_file(folder + "/config.json")
        .in_field("text_config.vocab_size")
        .with_remedy("Use the tokenizer.model that belongs to these weights");
  }
  model->dtype_ = choose_dtype(options, config);
  FOVEA_CHECK(check_memory(config, model->dtype_, options.device));

  model->device_ = options.device;
  FOVEA_TRY(Context context, make_context(options.device, options.threads));
  std::set<std::string> used;
  const WeightReader root(*model->files_, used);
  FOVEA_TRY(VitEncoder vision, VitEncoder::load(context, config.vision, root.below(naming.vision),
                                                model->dtype_, config.vision_run_layers));
  model->vision_ = std::make_unique<VitEncoder>(std::move(vision));
  FOVEA_TRY(model->projector_,
            Projector::load(context, config, root.below(naming.projector), model->dtype_));
  ConstTensorView lm_head;
  if (!config.decoder.tie_embeddings) {
    FOVEA_TRY(lm_head, root.get(naming.lm_head,
                                Shape{config.decoder.vocab_size, config.decoder.hidden_size}));
  }
  FOVEA_TRY(Decoder decoder, Decoder::load(context, config.decoder, root.below(naming.decoder),
                                           lm_head, model->dtype_));
  model->decoder_ = std::make_unique<Decoder>(std::move(decoder));

  std::set<std::string> unused;
  for (const std::string& name : model->files_->names()) {
    if (!used.contains(name)) unused.insert(name);
  }
  if (!unused.empty()) {
    model->notes_.push_back(std::to_string(unused.size()) +
                            " tensors of the checkpoint are not needed: " + join_first(unused, 4));
  }
  model->load_ms_ = milliseconds_since(start);
  return std::shared_ptr<const LlavaModel>(std::move(model));
}

Result<std::shared_ptr<const LlavaModel>> LlavaModel::random(const LlavaConfig& config,
                                                             const LoadOptions& options,
                                                             std::uint64_t seed) {
  const auto start = std::chrono::steady_clock::now();
  auto model = std::make_shared<LlavaModel>();
  model->config_ = config;
  model->dtype_ = choose_dtype(options, config);
  FOVEA_CHECK(check_memory(config, model->dtype_, options.device));
  model->device_ = options.device;
  FOVEA_TRY(Context context, make_context(options.device, options.threads));
  if (config.vision.layers > 0) {
    FOVEA_TRY(VitEncoder vision, VitEncoder::random(context, config.vision, model->dtype_,
                                                    config.vision_run_layers, seed));
    model->vision_ = std::make_unique<VitEncoder>(std::move(vision));
    const std::int64_t in = config.vision.hidden_size, out = config.decoder.hidden_size;
    FOVEA_TRY(const Tensor first, random_matrix(context, out, in, seed + 1));
    FOVEA_TRY(const Tensor second, random_matrix(context, out, out, seed + 2));
    FOVEA_TRY(model->projector_.first, Linear::create(context, first.view(), {}, model->dtype_));
    FOVEA_TRY(model->projector_.second, Linear::create(context, second.view(), {}, model->dtype_));
    model->projector_.activation = config.projector_activation;
    model->projector_.activations = activation_dtype(context, model->dtype_);
  }
  FOVEA_TRY(Decoder decoder, Decoder::random(context, config.decoder, model->dtype_, seed + 3));
  model->decoder_ = std::make_unique<Decoder>(std::move(decoder));
  model->load_ms_ = milliseconds_since(start);
  return std::shared_ptr<const LlavaModel>(std::move(model));
}

std::string LlavaModel::sha256() const {
  if (files_ == nullptr || files_->bytes() > kMaxHashedBytes) return "";
  std::call_once(hash_once_, [this] { hash_ = files_->sha256(); });
  return hash_;
}

}  // namespace fovea
