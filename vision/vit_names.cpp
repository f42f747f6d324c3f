#include "vision/vit_names.h"

#include <algorithm>
#include <iterator>

namespace fovea {

namespace {

constexpr VitNames kLayouts[] = {
    {.layout = "CLIP",
     .class_token = "embeddings.class_embedding",
     .distillation_token = nullptr,
     .positions = "embeddings.position_embedding.weight",
     .patch = "embeddings.patch_embedding.",
     .pre_norm = "pre_layrnorm.",  // CLIP's spelling
     .final_norm = "post_layernorm.",
     .blocks = "encoder.layers.",
     .norm1 = "layer_norm1.",
     .norm2 = "layer_norm2.",
     .qkv = {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."},
     .out = "self_attn.out_proj.",
     .fc1 = "mlp.fc1.",
     .fc2 = "mlp.fc2.",
     .batch_axis = false},
    // Files of ViT and DeiT as transformers writes them.
    {.layout = "Hugging Face ViT",
     .class_token = "embeddings.cls_token",
     .distillation_token = "embeddings.distillation_token",
     .positions = "embeddings.position_embeddings",
     .patch = "embeddings.patch_embeddings.projection.",
     .pre_norm = nullptr,
     .final_norm = "layernorm.",
     .blocks = "encoder.layer.",
     .norm1 = "layernorm_before.",
     .norm2 = "layernorm_after.",
     .qkv = {"attention.attention.query.", "attention.attention.key.",
             "attention.attention.value."},
     .out = "attention.output.dense.",
     .fc1 = "intermediate.dense.",
     .fc2 = "output.dense.",
     .batch_axis = true},
    // The same as transformers 5 calls it in memory, for files written from a state dictionary.
    {.layout = "Hugging Face ViT in memory",
     .class_token = "embeddings.cls_token",
     .distillation_token = "embeddings.distillation_token",
     .positions = "embeddings.position_embeddings",
     .patch = "embeddings.patch_embeddings.projection.",
     .pre_norm = nullptr,
     .final_norm = "layernorm.",
     .blocks = "layers.",
     .norm1 = "layernorm_before.",
     .norm2 = "layernorm_after.",
     .qkv = {"attention.q_proj.", "attention.k_proj.", "attention.v_proj."},
     .out = "attention.o_proj.",
     .fc1 = "mlp.fc1.",
     .fc2 = "mlp.fc2.",
     .batch_axis = true},
    // timm's names, which DeiT's own files and what is trained from them share.
    {.layout = "timm",
     .class_token = "cls_token",
     .distillation_token = "dist_token",
     .positions = "pos_embed",
     .patch = "patch_embed.proj.",
     .pre_norm = "norm_pre.",
     .final_norm = "norm.",
     .blocks = "blocks.",
     .norm1 = "norm1.",
     .norm2 = "norm2.",
     .qkv = {"attn.qkv.", nullptr, nullptr},
     .out = "attn.proj.",
     .fc1 = "mlp.fc1.",
     .fc2 = "mlp.fc2.",
     .batch_axis = true},
};

}  // namespace

const VitNames& find_vit_names(const WeightReader& weights) {
  const auto has_block = [&](const VitNames& names) {
    return weights.contains(std::string(names.blocks) + "0." + names.norm1 + "weight");
  };
  // A file that lacks its first block is still told by its embeddings, so that the error is right.
  const auto has_embeddings = [&](const VitNames& names) {
    return weights.contains(names.class_token) || weights.contains(names.positions) ||
           weights.contains(std::string(names.patch) + "weight");
  };
  const auto* found = std::ranges::find_if(kLayouts, has_block);
  if (found == std::end(kLayouts)) found = std::ranges::find_if(kLayouts, has_embeddings);
  return found == std::end(kLayouts) ? kLayouts[0] : *found;
}

}  // namespace fovea
