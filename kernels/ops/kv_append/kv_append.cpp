// What a table shows; and builds without CUDA, which have no device to which the rest could belong.

#include "kernels/ops/kv_append/kv_append.h"

namespace fovea {

KvView KvTable::view(std::int64_t most_tokens, std::int64_t kv_heads, std::int64_t head_dim) const {
  KvView view;
  view.key_pages = key_pages;
  view.value_pages = value_pages;
  view.length = length;
  view.max_length = static_cast<std::int32_t>(most_tokens);
  view.page_tokens = page_tokens;
  view.kv_heads = static_cast<std::int32_t>(kv_heads);
  view.head_dim = static_cast<std::int32_t>(head_dim);
  view.key_head_stride = view.value_head_stride = page_tokens * head_dim;
  view.key_token_stride = view.value_token_stride = head_dim;
  view.dtype = dtype;
  return view;
}

KvTable KvTables::at(std::int64_t sequence) const {
  KvTable table = first;
  table.key_pages += sequence * page_stride;
  table.value_pages += sequence * page_stride;
  table.length += sequence * length_stride;
  return table;
}

#ifndef FOVEA_WITH_CUDA

namespace {

Error no_device() {
  return make_error(ErrorCode::internal, "pages on a GPU in a build without CUDA");
}

}  // namespace

Status append_rows(Context&, const KvTable&, std::int32_t, std::span<std::byte* const>,
                   std::span<std::byte* const>, ConstTensorView, ConstTensorView) {
  return no_device();
}

Status append_rows(Context&, std::span<const KvRows>, ConstTensorView, ConstTensorView) {
  return no_device();
}

Status turn_and_write_last_row(Context&, const KvTable&, TensorView, ConstTensorView,
                               ConstTensorView, ConstTensorView, float) {
  return no_device();
}

Status turn_and_write_last_rows(Context&, const KvTables&, TensorView, ConstTensorView,
                                ConstTensorView, ConstTensorView, float) {
  return no_device();
}

Status increase(Context&, TensorView, ConstTensorView) {
  return no_device();
}

#endif

}  // namespace fovea
