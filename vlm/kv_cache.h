#pragma once
// Keys and values of one sequence, in pages that copies share until one of them writes: a copy is a
// snapshot and costs no memory. Pages lie where the model computes; on a GPU so do the tables that
// attention finds them by.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/attention/kv_view.h"
#include "kernels/ops/kv_append/kv_append.h"
#include "kernels/tensor.h"

namespace fovea {

class KvCache {
 public:
  static constexpr std::int32_t kPageTokens = 64;

  KvCache() = default;
  KvCache(int layers, std::int64_t kv_heads, std::int64_t head_dim, DType dtype,
          Device device = {});
  KvCache(const KvCache& other);
  KvCache& operator=(const KvCache& other);
  KvCache(KvCache&&) noexcept = default;
  KvCache& operator=(KvCache&&) noexcept = default;

  /// Appends rows of keys and values, [tokens, kv_heads, head_dim] (row strides allowed; f32, on a
  /// GPU any float type), to one layer. A shared last page is copied first. Errors: out_of_memory.
  Status append(Context& context, int layer, ConstTensorView keys, ConstTensorView values);
  /// append() to each of several caches of one model, none twice, of so many rows each, which lie
  /// one after another.
  static Status append_all(Context& context, int layer, std::span<KvCache* const> caches,
                           std::span<const std::int64_t> rows, ConstTensorView keys,
                           ConstTensorView values);
  /// Forgets the tokens from `length` on.
  void truncate(int layer, std::int32_t length);

  std::int32_t length(int layer) const { return layers_[static_cast<std::size_t>(layer)].length; }
  int layers() const { return static_cast<int>(layers_.size()); }
  /// Valid until the next append, truncate or destruction. On a GPU only after an append to this
  /// cache or prepare().
  KvView view(int layer) const;
  /// Puts the tables of a copied or truncated cache on the device; nothing on the CPU.
  Status prepare(Context& context) const;

  /// GPU only, and like view(): what attention finds a layer's tokens by.
  KvTable table(int layer) const;
  DType dtype() const { return dtype_; }

  /// Pages for `tokens` more tokens in every layer, so that others may write their rows where
  /// list_pages() says; advance() counts them once they are written. Errors: out_of_memory.
  Status reserve(Context& context, std::int32_t tokens);
  /// Addresses of keys and values, i64 [layers, 2, capacity]; 0 behind the last page. Errors:
  /// internal when they do not fit.
  Status list_pages(std::int64_t capacity, std::int64_t* addresses) const;
  /// Pages of the layer that has most of them.
  std::int64_t most_pages() const;
  void advance(std::int32_t tokens);
  /// Caches of one number have the same list of pages; another list has another number, ever.
  std::uint64_t pages_version() const { return pages_version_; }

  /// Bytes of keys and values present (not of pages reserved).
  std::int64_t used_bytes() const;

 private:
  /// Pages for the rows that are about to be appended, and on a GPU tables that hold them.
  Status make_room(Context& context, int layer, std::int64_t rows);

  struct Page {
    Tensor keys, values;  // [kv_heads, kPageTokens, head_dim]
  };
  struct Layer {
    std::vector<std::shared_ptr<Page>> pages;
    std::vector<std::byte*> key_pages, value_pages;
    std::int32_t length = 0;
  };
  struct Tables {
    Tensor pages;    // i64 [layers, 2, capacity]: addresses
    Tensor lengths;  // i32 [layers]
    std::int64_t capacity = 0;
  };

  Status make_writable(Context& context, Layer& layer, std::size_t page);
  bool on_device() const { return device_.kind == DeviceKind::cuda; }

  std::int64_t kv_heads_ = 0, head_dim_ = 0;
  DType dtype_ = DType::f32;
  Device device_;
  std::vector<Layer> layers_;
  std::uint64_t pages_version_ = 0;
  mutable std::unique_ptr<Tables> tables_;  // on a GPU; null: not there yet
};

}  // namespace fovea
