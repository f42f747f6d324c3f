#pragma once
// Keys and values of one sequence, in pages that copies share until one of them writes: a copy is a
// snapshot and costs no memory.

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/ops/attention/kv_view.h"
#include "kernels/tensor.h"

namespace fovea {

class KvCache {
 public:
  static constexpr std::int32_t kPageTokens = 64;

  KvCache() = default;
  KvCache(int layers, std::int64_t kv_heads, std::int64_t head_dim, DType dtype);

  /// Appends rows of keys and values, [tokens, kv_heads, head_dim] f32 (row strides allowed), to
  /// one layer. A shared last page is copied first. Errors: out_of_memory.
  Status append(int layer, ConstTensorView keys, ConstTensorView values);
  /// Forgets the tokens from `length` on.
  void truncate(int layer, std::int32_t length);

  std::int32_t length(int layer) const { return layers_[static_cast<std::size_t>(layer)].length; }
  int layers() const { return static_cast<int>(layers_.size()); }
  /// Valid until the next append, truncate or destruction.
  KvView view(int layer) const;
  /// Bytes of keys and values present (not of pages reserved).
  std::int64_t used_bytes() const;

 private:
  struct Page {
    Tensor keys, values;  // [kv_heads, kPageTokens, head_dim]
  };
  struct Layer {
    std::vector<std::shared_ptr<Page>> pages;
    std::vector<const std::byte*> key_pages, value_pages;
    std::int32_t length = 0;
  };

  Status make_writable(Layer& layer, std::size_t page);

  std::int64_t kv_heads_ = 0, head_dim_ = 0;
  DType dtype_ = DType::f32;
  std::vector<Layer> layers_;
};

}  // namespace fovea
