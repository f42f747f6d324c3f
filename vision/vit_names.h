#pragma once
// Under which names checkpoints keep the parts of a Vision Transformer.

#include <array>
#include <string>

#include "kernels/weights/weight_reader.h"

namespace fovea {

/// Names below the tower's own prefix ("vit.", "vision_tower.vision_model.", ...). Those that end
/// in a dot are followed by "weight" or "bias"; those of a block follow the block's prefix and its
/// number. A null name means that the layout has no such part.
struct VitNames {
  const char* layout;  // for messages
  const char* class_token;
  const char* distillation_token;
  const char* positions;
  const char* patch;
  const char* pre_norm;
  const char* final_norm;
  const char* blocks;
  const char* norm1;
  const char* norm2;
  std::array<const char*, 3> qkv;  // query, key, value; or the fused product and two nulls
  const char* out;
  const char* fc1;
  const char* fc2;
  /// Axes before [rows, hidden] of the position table (and, one fewer, before [hidden] of the class
  /// tokens): CLIP has none, the others one batch axis.
  bool batch_axis;
};

/// The layout of the tensors below the reader's prefix, told by the parts every tower has; CLIP's
/// when none of them is there.
const VitNames& find_vit_names(const WeightReader& weights);

}  // namespace fovea
