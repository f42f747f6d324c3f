#include "vlm/kv_cache.h"

#include <algorithm>
#include <cstring>

namespace fovea {

KvCache::KvCache(int layers, std::int64_t kv_heads, std::int64_t head_dim, DType dtype)
    : kv_heads_(kv_heads),
      head_dim_(head_dim),
      dtype_(dtype),
      layers_(static_cast<std::size_t>(layers)) {}

Status KvCache::make_writable(Layer& layer, std::size_t page) {
  const Shape shape{kv_heads_, kPageTokens, head_dim_};
  const bool exists = page < layer.pages.size();
  if (exists && layer.pages[page].use_count() == 1) return {};

  auto fresh = std::make_shared<Page>();
  FOVEA_TRY(fresh->keys, Tensor::allocate(shape, dtype_));
  FOVEA_TRY(fresh->values, Tensor::allocate(shape, dtype_));
  if (exists) {  // shared with a snapshot: write to a copy
    std::memcpy(fresh->keys.view().data, layer.pages[page]->keys.view().data, fresh->keys.bytes());
    std::memcpy(fresh->values.view().data, layer.pages[page]->values.view().data,
                fresh->values.bytes());
    layer.pages[page] = fresh;
  } else {
    layer.pages.push_back(fresh);
    layer.key_pages.push_back(nullptr);
    layer.value_pages.push_back(nullptr);
  }
  layer.key_pages[page] = fresh->keys.view().data;
  layer.value_pages[page] = fresh->values.view().data;
  return {};
}

Status KvCache::append(int layer_index, ConstTensorView keys, ConstTensorView values) {
  Layer& layer = layers_[static_cast<std::size_t>(layer_index)];
  std::int64_t done = 0;
  const std::int64_t count = keys.rows();
  while (done < count) {
    const std::size_t page = static_cast<std::size_t>(layer.length / kPageTokens);
    const std::int32_t slot = layer.length % kPageTokens;
    const std::int64_t here = std::min<std::int64_t>(count - done, kPageTokens - slot);
    FOVEA_CHECK(make_writable(layer, page));
    for (std::int64_t head = 0; head < kv_heads_; ++head) {
      // One head of `here` tokens: strided rows in, contiguous rows of the page out.
      const auto copy_head = [&](ConstTensorView from, Tensor& to) {
        ConstTensorView source = from.slice(done, here);
        source.data += static_cast<std::size_t>(head * head_dim_) * dtype_size(from.dtype);
        source.shape = Shape{here, head_dim_};
        TensorView target(
            to.view().data + static_cast<std::size_t>((head * kPageTokens + slot) * head_dim_) *
                                 dtype_size(dtype_),
            dtype_, Shape{here, head_dim_});
        return convert(source, target);
      };
      FOVEA_CHECK(copy_head(keys, layer.pages[page]->keys));
      FOVEA_CHECK(copy_head(values, layer.pages[page]->values));
    }
    layer.length += static_cast<std::int32_t>(here);
    done += here;
  }
  return {};
}

void KvCache::truncate(int layer_index, std::int32_t length) {
  Layer& layer = layers_[static_cast<std::size_t>(layer_index)];
  if (length >= layer.length) return;
  layer.length = length;
  const std::size_t pages = static_cast<std::size_t>((length + kPageTokens - 1) / kPageTokens);
  layer.pages.resize(pages);
  layer.key_pages.resize(pages);
  layer.value_pages.resize(pages);
}

KvView KvCache::view(int layer_index) const {
  const Layer& layer = layers_[static_cast<std::size_t>(layer_index)];
  KvView view;
  view.key_pages = layer.key_pages.data();
  view.value_pages = layer.value_pages.data();
  view.page_tokens = kPageTokens;
  view.length = &layer.length;
  view.kv_heads = static_cast<std::int32_t>(kv_heads_);
  view.head_dim = static_cast<std::int32_t>(head_dim_);
  view.key_head_stride = view.value_head_stride = kPageTokens * head_dim_;
  view.key_token_stride = view.value_token_stride = head_dim_;
  view.dtype = dtype_;
  return view;
}

std::int64_t KvCache::used_bytes() const {
  std::int64_t tokens = 0;
  for (const Layer& layer : layers_) tokens += layer.length;
  return tokens * 2 * kv_heads_ * head_dim_ * static_cast<std::int64_t>(dtype_size(dtype_));
}

}  // namespace fovea
