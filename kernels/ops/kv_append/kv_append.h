#pragma once
// Keys and values on their way into the pages of a cache on a GPU. (On the CPU a cache copies for
// itself.) Everything happens in stream order, and nothing of it needs the host to wait.

#include <cstdint>
#include <span>

#include "kernels/context.h"
#include "kernels/ops/attention/kv_view.h"

namespace fovea {

/// One layer's page tables and length, all on the device: what KvView points to. A page holds
/// [kv_heads, page_tokens, head_dim].
struct KvTable {
  const std::byte** key_pages = nullptr;
  const std::byte** value_pages = nullptr;
  std::int32_t* length = nullptr;
  std::int32_t page_tokens = 0;
  DType dtype = DType::f32;  // of the pages
};

/// Writes rows [tokens, kv_heads, head_dim] (any float type, row strides allowed) behind the first
/// `length` tokens. `pages` begin with the page that holds token `length`; they are entered into
/// the table, and the table's length becomes length + tokens.
Status append_rows(Context& context, const KvTable& table, std::int32_t length,
                   std::span<std::byte* const> key_pages, std::span<std::byte* const> value_pages,
                   ConstTensorView keys, ConstTensorView values);

/// rope() of one row's query [1, heads, head_dim] in place and of its key on the way, then key and
/// value [1, kv_heads, head_dim] become the last of the table's tokens, whose length and pages were
/// set before. Only the device knows where: the call can be recorded in a graph. position: i32 [1]
/// on the device, which no launch writes that may still run when this one begins: none of the same
/// graph. query, key and value are of one type, head_dim as for rope().
Status turn_and_write_last_row(Context& context, const KvTable& table, TensorView query,
                               ConstTensorView key, ConstTensorView value, ConstTensorView position,
                               float theta);

/// Adds `by` to i32 numbers on the device.
Status increase(Context& context, TensorView numbers, std::int32_t by);

}  // namespace fovea
