// The names under which a checkpoint keeps its parts. Three are in use: that of the published
// files, that of what transformers 5 saves (the tower without "vision_model"), and that of a model
// in memory (everything below "model.").

#include <array>
#include <string>

#include "kernels/weights/safetensors.h"
#include "vlm/llava_config.h"

namespace fovea {
namespace {

// One tensor every checkpoint has, for each part; the prefix stands before it.
constexpr const char* kTowerKey = "embeddings.patch_embedding.weight";
constexpr const char* kProjectorKey = "linear_1.weight";
constexpr const char* kDecoderKey = "embed_tokens.weight";

struct Layout {
  const char* name;
  const char* tower;
  const char* projector;
  const char* decoder;
  const char* lm_head;
};
constexpr std::array<Layout, 4> kLayouts{{
    {"published", "vision_tower.vision_model.", "multi_modal_projector.", "language_model.model.",
     "language_model.lm_head.weight"},
    {"published without vision_model", "vision_tower.", "multi_modal_projector.",
     "language_model.model.", "language_model.lm_head.weight"},
    {"in memory", "model.vision_tower.vision_model.", "model.multi_modal_projector.",
     "model.language_model.", "lm_head.weight"},
    {"in memory without vision_model", "model.vision_tower.", "model.multi_modal_projector.",
     "model.language_model.", "lm_head.weight"},
}};

std::string first_file(const WeightFiles& files) {
  return files.files().empty() ? std::string() : files.files().front();
}

}  // namespace

Result<LlavaNaming> detect_llava_naming(const WeightFiles& files) {
  const Layout* found = nullptr;
  for (const Layout& layout : kLayouts) {
    if (!files.contains(std::string(layout.tower) + kTowerKey) ||
        !files.contains(std::string(layout.projector) + kProjectorKey) ||
        !files.contains(std::string(layout.decoder) + kDecoderKey)) {
      continue;
    }
    if (found != nullptr) {
      return make_error(ErrorCode::bad_model,
                        std::string("holds the same parts twice, named as \"") + found->name +
                            "\" and as \"" + layout.name + "\"")
          .in_file(first_file(files));
    }
    found = &layout;
  }
  if (found != nullptr) {
    return LlavaNaming{found->tower, found->projector, found->decoder, found->lm_head, found->name};
  }
  if (files.contains("model.mm_projector.0.weight") ||
      files.contains("model.mm_projector.weight")) {
    return make_error(ErrorCode::unsupported, "a checkpoint in the original LLaVA layout")
        .in_file(first_file(files))
        .in_field("model.mm_projector")
        .with_remedy("Use the llava-hf conversion of it (for example llava-hf/llava-1.5-7b-hf)");
  }
  std::string looked_for;
  for (const Layout& layout : kLayouts) {
    if (!looked_for.empty()) looked_for += "; or ";
    looked_for += std::string(layout.tower) + kTowerKey + ", " + layout.projector + kProjectorKey +
                  " and " + layout.decoder + kDecoderKey;
  }
  return make_error(ErrorCode::bad_model, "no LLaVA naming fits: expected " + looked_for)
      .in_file(first_file(files));
}

}  // namespace fovea
