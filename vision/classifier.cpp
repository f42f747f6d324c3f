#include "vision/classifier.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <set>
#include <utility>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/norm/norm.h"
#include "kernels/ops/topk/topk.h"
#include "vision/vit_names.h"
#include "vision/vit_weights.h"

namespace fovea {

struct VitClassifier::Impl {
  Impl(ClassifierConfig read, WeightFiles opened, VitEncoder tower)
      : config(std::move(read)), files(std::move(opened)), encoder(std::move(tower)) {}

  ClassifierConfig config;
  WeightFiles files;
  VitEncoder encoder;
  std::string folder;
  LinearDType dtype = LinearDType::f32;
  Device device;
  NormWeights final_norm;
  std::vector<Linear> heads;  // for the class token and, with two, the distillation token
  std::vector<std::string> notes;
  std::once_flag hash_once;
  std::string hash;
};

VitClassifier::VitClassifier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VitClassifier::~VitClassifier() = default;

namespace {

/// [classes, hidden] says how many classes there are.
Result<Linear> load_head(Context& context, const ClassifierConfig& config, const WeightFiles& files,
                         const WeightReader& weights, const std::string& name, LinearDType dtype) {
  const SafetensorsEntry* entry = files.find(name + "weight");
  const bool matrix = entry != nullptr && entry->shape.size() == 2 && entry->shape[0] >= 1;
  const std::int64_t classes = matrix ? entry->shape[0] : 1;
  FOVEA_TRY(Linear head,
            load_linear(context, weights.below(name), classes, config.vit.hidden_size, dtype));
  if (!config.labels.empty() && std::ssize(config.labels) != classes) {
    return make_error(ErrorCode::bad_model, "the head knows " + std::to_string(classes) +
                                                " classes, config.json names " +
                                                std::to_string(config.labels.size()))
        .in_file(files.file_of(name + "weight"))
        .in_field(name + "weight");
  }
  return head;
}

/// Tensors that change what a plain ViT computes must not be passed over in silence.
Status check_leftovers(const ClassifierConfig& config, const WeightFiles& files,
                       const std::set<std::string>& used, const VitNames& names,
                       std::vector<std::string>& notes) {
  std::int64_t unneeded = 0;
  std::string first;
  for (const std::string& name : files.names()) {
    if (used.contains(name)) continue;
    const bool inside = name.starts_with(config.prefix + names.blocks) ||
                        name.starts_with(config.prefix + "fc_norm.") ||
                        name.starts_with(config.prefix + "pre_logits.");
    if (inside) {
      return make_error(ErrorCode::unsupported, "this tensor is no part of a plain ViT")
          .in_file(files.file_of(name))
          .in_field(name);
    }
    if (unneeded++ == 0) first = name;
  }
  if (unneeded > 0) {
    notes.push_back(std::to_string(unneeded) + " tensors of the checkpoint are not needed: " +
                    first + (unneeded > 1 ? ", ..." : ""));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const VitClassifier>> VitClassifier::load(const std::string& folder,
                                                                 const ClassifierOptions& options) {
  FOVEA_TRY(WeightFiles files, WeightFiles::open(folder));
  FOVEA_TRY(ClassifierConfig config, read_classifier_config(folder, files, options.image_size));
  FOVEA_TRY(Context context, make_context(options.device, options.threads));
  std::set<std::string> used;
  const WeightReader root(files, used);
  const WeightReader tower = root.below(config.prefix);
  const VitNames& names = find_vit_names(tower);
  FOVEA_TRY(VitEncoder encoder, VitEncoder::load(context, config.vit, tower, options.dtype,
                                                 static_cast<int>(config.vit.layers)));
  FOVEA_TRY(NormWeights final_norm,
            load_norm(context, tower.below(names.final_norm), config.vit.hidden_size));
  std::vector<Linear> heads;
  for (const std::string& name : config.heads) {
    FOVEA_TRY(Linear head, load_head(context, config, files, root, name, options.dtype));
    if (!heads.empty() && head.outputs() != heads.front().outputs()) {
      return make_error(ErrorCode::bad_model, "the two heads know different numbers of classes")
          .in_file(files.file_of(name + "weight"))
          .in_field(name + "weight");
    }
    heads.push_back(std::move(head));
  }
  std::vector<std::string> notes;
  FOVEA_CHECK(check_leftovers(config, files, used, names, notes));

  auto impl = std::make_unique<Impl>(std::move(config), std::move(files), std::move(encoder));
  impl->folder = folder;
  impl->dtype = options.dtype;
  impl->device = options.device;
  impl->final_norm = std::move(final_norm);
  impl->heads = std::move(heads);
  impl->notes = std::move(notes);
  return std::shared_ptr<const VitClassifier>(new VitClassifier(std::move(impl)));
}

const ClassifierConfig& VitClassifier::config() const {
  return impl_->config;
}
const VitEncoder& VitClassifier::encoder() const {
  return impl_->encoder;
}
const WeightFiles& VitClassifier::weights() const {
  return impl_->files;
}
const std::string& VitClassifier::folder() const {
  return impl_->folder;
}
LinearDType VitClassifier::dtype() const {
  return impl_->dtype;
}
Device VitClassifier::device() const {
  return impl_->device;
}
const std::vector<std::string>& VitClassifier::notes() const {
  return impl_->notes;
}

std::int64_t VitClassifier::classes() const {
  return impl_->heads.empty() ? 0 : impl_->heads.front().outputs();
}

std::string VitClassifier::label(std::int64_t index) const {
  const auto& labels = impl_->config.labels;
  return index >= 0 && index < std::ssize(labels) ? labels[static_cast<std::size_t>(index)]
                                                  : "LABEL_" + std::to_string(index);
}

std::string VitClassifier::sha256() const {
  std::call_once(impl_->hash_once, [this] { impl_->hash = impl_->files.sha256(); });
  return impl_->hash;
}

Result<VitRows> VitClassifier::logits(Context& context, ConstTensorView pixels, TensorView out,
                                      const VitHooks& hooks) const {
  if (impl_->heads.empty()) {
    return make_error(ErrorCode::unsupported, "this model has no classification head")
        .in_file(impl_->folder);
  }
  const VitConfig& vit = impl_->config.vit;
  const std::int64_t pictures = pixels.shape.rank() == 4 ? pixels.shape[0] : 0;
  if (out.dtype != DType::f32 || out.shape != Shape{pictures, classes()}) {
    return make_error(ErrorCode::usage, "logits of " + std::to_string(pictures) +
                                            " pictures do not fit " + out.shape.to_string());
  }
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView hidden,
            context.workspace.take({pictures * vit.tokens(), vit.hidden_size}, DType::f32));
  FOVEA_TRY(VitRows rows, impl_->encoder.forward_batch(context, pixels, hidden, hooks));

  const auto heads = static_cast<std::int64_t>(impl_->heads.size());
  FOVEA_TRY(const TensorView token,
            context.workspace.take({pictures, vit.hidden_size}, DType::f32));
  FOVEA_TRY(const TensorView result, context.workspace.take(out.shape, DType::f32));
  for (std::int64_t head = 0; head < heads; ++head) {
    std::vector<std::int32_t> places;
    for (std::int64_t picture = 0; picture < pictures; ++picture) {
      places.push_back(static_cast<std::int32_t>(rows.first(picture) + head));
    }
    FOVEA_CHECK(gather_rows(context, hidden, places, token));
    FOVEA_CHECK(layer_norm(context, token, impl_->final_norm.weight.view(),
                           impl_->final_norm.bias.view(), static_cast<float>(vit.layer_norm_eps),
                           token));
    const Linear& linear = impl_->heads[static_cast<std::size_t>(head)];
    FOVEA_CHECK(linear.apply(context, token, result));
    if (head == 0) {
      FOVEA_CHECK(copy(context, result, out));
      continue;
    }
    const Workspace::Scope host_scope(context.host().workspace);
    FOVEA_TRY(const ConstTensorView part, to_host(context, result));
    for (std::int64_t picture = 0; picture < pictures; ++picture) {
      float* mean = out.row<float>(picture);
      const float* other = part.row<float>(picture);
      for (std::int64_t i = 0; i < classes(); ++i) mean[i] = (mean[i] + other[i]) / 2.0F;
    }
  }
  return rows;
}

std::vector<ClassScore> top_classes(std::span<const float> logits, std::int64_t top) {
  double largest = -INFINITY;
  for (const float value : logits) largest = std::max<double>(largest, value);
  double total = 0;
  for (const float value : logits) total += std::exp(value - largest);
  std::vector<ClassScore> scores;
  for (const std::int32_t index : top_k_ranked(logits, top)) {
    scores.push_back({index, std::exp(logits[static_cast<std::size_t>(index)] - largest) / total});
  }
  return scores;
}

}  // namespace fovea
