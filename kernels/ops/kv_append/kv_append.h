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

  /// For attention, where there are so many tokens at most.
  KvView view(std::int64_t most_tokens, std::int64_t kv_heads, std::int64_t head_dim) const;
};

/// Writes rows [tokens, kv_heads, head_dim] (any float type, row strides allowed) behind the first
/// `length` tokens. `pages` begin with the page that holds token `length`; they are entered into
/// the table, and the table's length becomes length + tokens.
Status append_rows(Context& context, const KvTable& table, std::int32_t length,
                   std::span<std::byte* const> key_pages, std::span<std::byte* const> value_pages,
                   ConstTensorView keys, ConstTensorView values);

/// What append_rows() is told of one of several sequences.
struct KvRows {
  KvTable table;
  std::int32_t length = 0;
  std::span<std::byte*const> key_pages, value_pages;
  std::int64_t rows = 0;
};

/// The same of several sequences whose rows lie one after another, in few launches; pages hold
/// equally many tokens of one type.
Status append_rows(Context& context, std::span<const KvRows> sequences, ConstTensorView keys,
                   ConstTensorView values);

/// rope() of one row's query [1, heads, head_dim] in place and of its key on the way, then key and
/// value [1, kv_heads, head_dim] become the last of the table's tokens, whose length and pages were
/// set before. Only the device knows where: the call can be recorded in a graph. position: i32 [1]
/// on the device, which no launch writes that may still run when this one begins: none of the same
/// graph. query, key and value are of one type, head_dim as for rope().
Status turn_and_write_last_row(Context& context, const KvTable& table, TensorView query,
                               ConstTensorView key, ConstTensorView value, ConstTensorView position,
                               float theta);

/// One layer's tables of several sequences: those of sequence s lie s strides behind the first's.
struct KvTables {
  KvTable first;
  std::int64_t page_stride = 0;    // in addresses
  std::int64_t length_stride = 0;  // in numbers

  KvTable at(std::int64_t sequence) const;
};

/// turn_and_write_last_row() of one row for each sequence: query [n, heads, head_dim], key and
/// value [n, kv_heads, head_dim] (row strides allowed), positions i32 [n]. A sequence without
/// tokens has nowhere to write to, and is left out.
Status turn_and_write_last_rows(Context& context, const KvTables& tables, TensorView query,
                                ConstTensorView keys, ConstTensorView values,
                                ConstTensorView positions, float theta);

/// numbers[r, c] += by[c]: i32 [rows, n] (row stride allowed) and [n], both on the device.
Status increase(Context& context, TensorView numbers, ConstTensorView by);

}  // namespace fovea
