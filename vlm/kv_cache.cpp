#include "vlm/kv_cache.h"

#include <algorithm>
#include <atomic>
#include <span>

#include "kernels/copy.h"

namespace fovea {

namespace {

std::uint64_t next_version() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

KvCache::KvCache(int layers, std::int64_t kv_heads, std::int64_t head_dim, DType dtype,
                 Device device)
    : kv_heads_(kv_heads),
      head_dim_(head_dim),
      dtype_(dtype),
      device_(device),
      layers_(static_cast<std::size_t>(layers)) {}

// Tables belong to one cache: a copy makes its own when it needs them.
KvCache::KvCache(const KvCache& other)
    : kv_heads_(other.kv_heads_),
      head_dim_(other.head_dim_),
      dtype_(other.dtype_),
      device_(other.device_),
      layers_(other.layers_),
      pages_version_(other.pages_version_) {}

KvCache& KvCache::operator=(const KvCache& other) {
  if (this != &other) *this = KvCache(other);
  return *this;
}

Status KvCache::make_writable(Context& context, Layer& layer, std::size_t page) {
  const Shape shape{kv_heads_, kPageTokens, head_dim_};
  const bool exists = page < layer.pages.size();
  if (exists && layer.pages[page].use_count() == 1) return {};

  auto fresh = std::make_shared<Page>();
  FOVEA_TRY(fresh->keys, Tensor::allocate(shape, dtype_, device_));
  FOVEA_TRY(fresh->values, Tensor::allocate(shape, dtype_, device_));
  if (exists) {  // shared with a snapshot: write to a copy
    FOVEA_CHECK(copy(context, layer.pages[page]->keys.view(), fresh->keys.view()));
    FOVEA_CHECK(copy(context, layer.pages[page]->values.view(), fresh->values.view()));
    layer.pages[page] = fresh;
  } else {
    layer.pages.push_back(fresh);
    layer.key_pages.push_back(nullptr);
    layer.value_pages.push_back(nullptr);
  }
  pages_version_ = next_version();
  layer.key_pages[page] = fresh->keys.view().data;
  layer.value_pages[page] = fresh->values.view().data;
  return {};
}

Status KvCache::make_room(Context& context, int layer_index, std::int64_t rows) {
  Layer& layer = layers_[static_cast<std::size_t>(layer_index)];
  const auto first_page = static_cast<std::size_t>(layer.length / kPageTokens);
  const auto end_page =
      static_cast<std::size_t>((layer.length + rows + kPageTokens - 1) / kPageTokens);
  for (std::size_t page = first_page; page < end_page; ++page) {
    FOVEA_CHECK(make_writable(context, layer, page));
  }
  if (!on_device()) return {};
  if (tables_ != nullptr && static_cast<std::int64_t>(end_page) > tables_->capacity)
    tables_ = nullptr;
  return prepare(context);
}

Status KvCache::append_all(Context& context, int layer_index, std::span<KvCache* const> caches,
                           std::span<const std::int64_t> rows, ConstTensorView keys,
                           ConstTensorView values) {
  std::vector<KvRows> sequences;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < caches.size(); ++i) {
    KvCache& cache = *caches[i];
    if (!cache.on_device()) {
      FOVEA_CHECK(cache.append(context, layer_index, keys.slice(first, rows[i]),
                               values.slice(first, rows[i])));
      first += rows[i];
      continue;
    }
    FOVEA_CHECK(cache.make_room(context, layer_index, rows[i]));
    Layer& layer = cache.layers_[static_cast<std::size_t>(layer_index)];
    const auto page = static_cast<std::size_t>(layer.length / kPageTokens);
    sequences.push_back({cache.table(layer_index), layer.length,
                         std::span(layer.key_pages).subspan(page),
                         std::span(layer.value_pages).subspan(page), rows[i]});
    layer.length += static_cast<std::int32_t>(rows[i]);
  }
  return sequences.empty() ? Status{} : append_rows(context, sequences, keys, values);
}

Status KvCache::append(Context& context, int layer_index, ConstTensorView keys,
                       ConstTensorView values) {
  Layer& layer = layers_[static_cast<std::size_t>(layer_index)];
  const std::int64_t count = keys.rows();
  const auto first_page = static_cast<std::size_t>(layer.length / kPageTokens);
  FOVEA_CHECK(make_room(context, layer_index, count));
  if (on_device()) {
    FOVEA_CHECK(append_rows(context, table(layer_index), layer.length,
                            std::span(layer.key_pages).subspan(first_page),
                            std::span(layer.value_pages).subspan(first_page), keys, values));
    layer.length += static_cast<std::int32_t>(count);
    return {};
  }
  std::int64_t done = 0;
  while (done < count) {
    const std::size_t page = static_cast<std::size_t>(layer.length / kPageTokens);
    const std::int32_t slot = layer.length % kPageTokens;
    const std::int64_t here = std::min<std::int64_t>(count - done, kPageTokens - slot);
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
  tables_ = nullptr;
  layer.length = length;
  const std::size_t pages = static_cast<std::size_t>((length + kPageTokens - 1) / kPageTokens);
  if (pages < layer.pages.size()) pages_version_ = next_version();
  layer.pages.resize(pages);
  layer.key_pages.resize(pages);
  layer.value_pages.resize(pages);
}

Status KvCache::prepare(Context& context) const {
  if (!on_device() || tables_ != nullptr) return {};
  // Room to grow: an answer of some length does not make tables anew.
  constexpr std::int64_t kSpare = 16;
  auto made = std::make_unique<Tables>();
  made->capacity = most_pages() + kSpare;
  const auto count = static_cast<std::int64_t>(layers_.size());
  FOVEA_TRY(Tensor pages, Tensor::allocate({count, 2, made->capacity}, DType::i64));
  FOVEA_TRY(Tensor lengths, Tensor::allocate({count}, DType::i32));
  FOVEA_CHECK(list_pages(made->capacity, pages.as<std::int64_t>()));
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    lengths.as<std::int32_t>()[layer] = layers_[layer].length;
  }
  FOVEA_TRY(made->pages, Tensor::allocate(pages.shape(), DType::i64, device_));
  FOVEA_TRY(made->lengths, Tensor::allocate(lengths.shape(), DType::i32, device_));
  FOVEA_CHECK(copy(context, pages.view(), made->pages.view()));
  FOVEA_CHECK(copy(context, lengths.view(), made->lengths.view()));
  tables_ = std::move(made);
  return {};
}

Status KvCache::list_pages(std::int64_t capacity, std::int64_t* addresses) const {
  const auto room = static_cast<std::size_t>(capacity);
  for (const Layer& layer : layers_) {
    for (const auto* list : {&layer.key_pages, &layer.value_pages}) {
      if (list->size() > room) {
        return make_error(ErrorCode::internal,
                          "more pages of keys and values than the model's context has");
      }
      for (std::size_t page = 0; page < room; ++page) {
        addresses[page] =
            page < list->size() ? reinterpret_cast<std::int64_t>((*list)[page]) : std::int64_t{0};
      }
      addresses += capacity;
    }
  }
  return {};
}

Status KvCache::reserve(Context& context, std::int32_t tokens) {
  tables_ = nullptr;
  for (Layer& layer : layers_) {
    const auto first = static_cast<std::size_t>(layer.length / kPageTokens);
    const auto end =
        static_cast<std::size_t>((layer.length + tokens + kPageTokens - 1) / kPageTokens);
    for (std::size_t page = first; page < end; ++page) {
      FOVEA_CHECK(make_writable(context, layer, page));
    }
  }
  return {};
}

std::int64_t KvCache::most_pages() const {
  std::size_t most = 0;
  for (const Layer& layer : layers_) most = std::max(most, layer.pages.size());
  return static_cast<std::int64_t>(most);
}

void KvCache::advance(std::int32_t tokens) {
  tables_ = nullptr;
  for (Layer& layer : layers_) layer.length += tokens;
}

KvTable KvCache::table(int layer_index) const {
  KvTable table;
  auto** pages = tables_->pages.as<const std::byte*>() + layer_index * 2 * tables_->capacity;
  table.key_pages = pages;
  table.value_pages = pages + tables_->capacity;
  table.length = tables_->lengths.as<std::int32_t>() + layer_index;
  table.page_tokens = kPageTokens;
  table.dtype = dtype_;
  return table;
}

KvView KvCache::view(int layer_index) const {
  const Layer& layer = layers_[static_cast<std::size_t>(layer_index)];
  if (on_device()) return table(layer_index).view(layer.length, kv_heads_, head_dim_);
  const KvTable none{.page_tokens = kPageTokens, .dtype = dtype_};
  KvView view = none.view(layer.length, kv_heads_, head_dim_);
  view.key_pages = layer.key_pages.data();
  view.value_pages = layer.value_pages.data();
  view.length = &layer.length;
  return view;
}

std::int64_t KvCache::used_bytes() const {
  std::int64_t tokens = 0;
  for (const Layer& layer : layers_) tokens += layer.length;
  return tokens * 2 * kv_heads_ * head_dim_ * static_cast<std::int64_t>(dtype_size(dtype_));
}

}  // namespace fovea
