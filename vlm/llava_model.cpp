#include "vlm/llava_model.h"

#include <chrono>
#include <set>
#include <utility>

#include "kernels/device.h"
#include "vlm/model_memory.h"
#include "vlm/random_weights.h"

namespace fovea {

namespace {

// Hashing more than this would take longer than answering.
constexpr std::uint64_t kMaxHashedBytes = std::uint64_t{2} << 30;

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
  model->dtype_ = choose_dtype(options.dtype, config);
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
  model->dtype_ = choose_dtype(options.dtype, config);
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
