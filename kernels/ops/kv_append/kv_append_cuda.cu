#include "kernels/ops/kv_append/kv_append.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/common/checks.h"
#include "kernels/ops/rope/rope.cuh"

namespace fovea {
namespace {

constexpr int kThreads = 256;
constexpr std::size_t kPagesAtOnce = 64;

/// Page addresses travel as parameters of the kernel that enters them into the table.
struct Pages {
  std::byte* keys[kPagesAtOnce];
  std::byte* values[kPagesAtOnce];
};

template <class From>
struct Source {
  const From* data;
  std::int64_t stride;
};

template <class From>
Source<From> source_of(ConstTensorView rows) {
  return {reinterpret_cast<const From*>(rows.data), rows.row_stride};
}

/// Numbers of a row that one access takes.
template <class From, class To>
constexpr int kPack = static_cast<int>(16 / std::max(sizeof(From), sizeof(To)));

/// A row's numbers, spread over its heads, in packs of kCount.
template <int kCount, class From, class To>
__device__ void write_row(const From* from, To* page, int slot, int page_tokens, int head_dim,
                          int width, int first, int step) {
  for (int i = first * kCount; i < width; i += step * kCount) {
    const int head = i / head_dim, channel = i - head * head_dim;
    const auto read = *reinterpret_cast<const Pack<From, kCount>*>(from + i);
    Pack<To, kCount> written;
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      written.values[c] = store_float<To>(load_float(read.values[c]));
    }
    *reinterpret_cast<Pack<To, kCount>*>(
        page + (static_cast<std::int64_t>(head) * page_tokens + slot) * head_dim + channel) =
        written;
  }
}

template <int kCount, class From, class To>
__global__ __launch_bounds__(kThreads) void append_kernel(Source<From> keys, Source<From> values,
                                                          const __grid_constant__ Pages pages,
                                                          int page_count, KvTable table, int length,
                                                          int tokens, int head_dim, int width) {
  let_next_prepare();
  wait_for_previous();
  const int token = blockIdx.x;
  const int first_page = length / table.page_tokens;
  const int page = (length + token) / table.page_tokens - first_page;
  const int slot = (length + token) % table.page_tokens;
  const Source<From>& source = blockIdx.y == 0 ? keys : values;
  std::byte* const target = blockIdx.y == 0 ? pages.keys[page] : pages.values[page];
  write_row<kCount>(source.data + token * source.stride, reinterpret_cast<To*>(target), slot,
                    table.page_tokens, head_dim, width, static_cast<int>(threadIdx.x), kThreads);
  if (token != 0 || blockIdx.y != 0) return;
  for (int i = threadIdx.x; i < page_count; i += kThreads) {
    table.key_pages[first_page + i] = pages.keys[i];
    table.value_pages[first_page + i] = pages.values[i];
  }
  if (threadIdx.x == 0) *table.length = length + tokens;
}

constexpr int kSequencesAtOnce = 32;
constexpr std::size_t kPagesTogether = 640;

/// Several sequences' part of one launch: parameters of the kernel, as page addresses are above.
struct Together {
  struct Sequence {
    KvTable table;
    std::int32_t length, first_row, rows, first_page, pages;
  };
  Sequence sequences[kSequencesAtOnce];
  std::int32_t count;
  std::byte* keys[kPagesTogether];
  std::byte* values[kPagesTogether];
};

template <int kCount, class From, class To>
__global__ __launch_bounds__(kThreads) void append_together_kernel(
    Source<From> keys, Source<From> values, const __grid_constant__ Together together,
    int head_dim, int width) {
  let_next_prepare();
  wait_for_previous();
  const int row = static_cast<int>(blockIdx.x);
  int s = 0;
  while (s + 1 < together.count && row >= together.sequences[s + 1].first_row) ++s;
  const Together::Sequence& own = together.sequences[s];
  const int page_tokens = own.table.page_tokens;
  const int token = own.length + row - own.first_row;
  const int first_page = own.length / page_tokens;
  const int page = token / page_tokens, slot = token - page * page_tokens;
  const int place = own.first_page + page - first_page;
  const Source<From>& source = blockIdx.y == 0 ? keys : values;
  std::byte* const target = blockIdx.y == 0 ? together.keys[place] : together.values[place];
  write_row<kCount>(source.data + row * source.stride, reinterpret_cast<To*>(target), slot,
                    page_tokens, head_dim, width, static_cast<int>(threadIdx.x), kThreads);
  if (row != own.first_row || blockIdx.y != 0) return;
  for (int i = static_cast<int>(threadIdx.x); i < own.pages; i += kThreads) {
    own.table.key_pages[first_page + i] = together.keys[own.first_page + i];
    own.table.value_pages[first_page + i] = together.values[own.first_page + i];
  }
  if (threadIdx.x == 0) *own.table.length = own.length + own.rows;
}

/// Row y of the grid. A thread has one pack of a head's first half and the one of its second with
/// which it turns.
template <int kCount, class From, class To>
__global__ __launch_bounds__(kThreads) void turned_row_kernel(Source<From> queries,
                                                              Source<From> keys,
                                                              Source<From> values, KvTables tables,
                                                              const std::int32_t* positions,
                                                              int heads, int kv_heads, int half,
                                                              double log2_ratio) {
  __shared__ Rotation rotation;
  let_next_prepare();
  const std::int64_t row = blockIdx.y;
  From* const query = const_cast<From*>(queries.data) + row * queries.stride;
  const From* const key = keys.data + row * keys.stride;
  const From* const value = values.data + row * values.stride;
  fill_rotation(rotation, positions[row], half, log2_ratio);
  wait_for_previous();
  const int packs = half / kCount;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int head = i / packs, channel = (i - head * packs) * kCount;
  if (head >= heads + 2 * kv_heads) return;
  const bool of_query = head < heads, of_key = !of_query && head < heads + kv_heads;
  const int kv_head = of_key ? head - heads : head - heads - kv_heads;
  const From* from =
      of_query ? query + head * 2 * half : (of_key ? key : value) + kv_head * 2 * half;
  auto first = *reinterpret_cast<const Pack<From, kCount>*>(from + channel);
  auto second = *reinterpret_cast<const Pack<From, kCount>*>(from + half + channel);
  if (of_query || of_key) turn(rotation, channel, first, second);
  if (of_query) {
    From* const to = query + head * 2 * half + channel;
    *reinterpret_cast<Pack<From, kCount>*>(to) = first;
    *reinterpret_cast<Pack<From, kCount>*>(to + half) = second;
    return;
  }
  const KvTable& table = tables.first;
  const int token = table.length[row * tables.length_stride] - 1;
  if (token < 0) return;
  const int page = token / table.page_tokens, slot = token % table.page_tokens;
  const std::byte* target =
      (of_key ? table.key_pages : table.value_pages)[row * tables.page_stride + page];
  To* const to = reinterpret_cast<To*>(const_cast<std::byte*>(target)) +
                 (static_cast<std::int64_t>(kv_head) * table.page_tokens + slot) * 2 * half +
                 channel;
  Pack<To, kCount> low, high;
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    low.values[c] = store_float<To>(load_float(first.values[c]));
    high.values[c] = store_float<To>(load_float(second.values[c]));
  }
  *reinterpret_cast<Pack<To, kCount>*>(to) = low;
  *reinterpret_cast<Pack<To, kCount>*>(to + half) = high;
}

__global__ void increase_columns_kernel(std::int32_t* numbers, std::int64_t stride, int width,
                                        const std::int32_t* by) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < width) numbers[blockIdx.y * stride + i] += by[i];
}

Status check_rows(const Context& context, ConstTensorView keys, ConstTensorView values) {
  FOVEA_CHECK(check_activation_shape(context, "kv keys", keys, keys.shape));
  FOVEA_CHECK(check_activation_shape(context, "kv values", values, keys.shape));
  if (keys.shape.rank() == 3 && keys.dtype == values.dtype) return {};
  return make_error(ErrorCode::usage,
                    "keys and values are [tokens, kv_heads, head_dim] of one type")
      .in_field("kv keys");
}

/// Whether rows can be read and pages written `count` numbers at a time.
bool takes_packs(ConstTensorView rows, int count) {
  const std::size_t bytes = dtype_size(rows.dtype) * static_cast<std::size_t>(count);
  return rows.shape[2] % count == 0 && (rows.rows() <= 1 || rows.row_stride % count == 0) &&
         reinterpret_cast<std::uintptr_t>(rows.data) % bytes == 0;
}

/// action(From, To) for the types of the rows and the pages.
template <class Action>
Status with_types(DType rows, DType pages, Action&& action) {
  return with_float_type(rows, [&](auto from) {
    return with_float_type(pages, [&](auto to) { return action(from, to); });
  });
}

}  // namespace

Status append_rows(Context& context, const KvTable& table, std::int32_t length,
                   std::span<std::byte* const> key_pages, std::span<std::byte* const> value_pages,
                   ConstTensorView keys, ConstTensorView values) {
  FOVEA_CHECK(check_rows(context, keys, values));
  const auto head_dim = static_cast<int>(keys.shape[2]);
  const auto width = static_cast<int>(keys.inner_elements());
  for (std::int64_t done = 0; done < keys.rows();) {
    const auto here_length = static_cast<std::int32_t>(length + done);
    const auto first =
        static_cast<std::size_t>(here_length / table.page_tokens - length / table.page_tokens);
    const std::size_t count = std::min(kPagesAtOnce, key_pages.size() - first);
    const std::int64_t room =
        static_cast<std::int64_t>(count) * table.page_tokens - here_length % table.page_tokens;
    const std::int64_t tokens = std::min(keys.rows() - done, room);
    Pages pages{};
    std::copy_n(key_pages.begin() + static_cast<std::ptrdiff_t>(first), count, pages.keys);
    std::copy_n(value_pages.begin() + static_cast<std::ptrdiff_t>(first), count, pages.values);
    const ConstTensorView key_part = keys.slice(done, tokens),
                          value_part = values.slice(done, tokens);
    FOVEA_CHECK(with_types(keys.dtype, table.dtype, [&](auto from_type, auto to_type) -> Status {
      using From = typename decltype(from_type)::type;
      using To = typename decltype(to_type)::type;
      constexpr int kCount = kPack<From, To>;
      const bool packed = takes_packs(key_part, kCount) && takes_packs(value_part, kCount);
      return launch_early(context, "append_rows",
                          packed ? append_kernel<kCount, From, To> : append_kernel<1, From, To>,
                          dim3(static_cast<unsigned>(tokens), 2), kThreads, 0,
                          source_of<From>(key_part), source_of<From>(value_part), pages,
                          static_cast<int>(count), table, here_length, static_cast<int>(tokens),
                          head_dim, width);
    }));
    done += tokens;
  }
  return {};
}

Status append_rows(Context& context, std::span<const KvRows> sequences, ConstTensorView keys,
                   ConstTensorView values) {
  FOVEA_CHECK(check_rows(context, keys, values));
  const auto head_dim = static_cast<int>(keys.shape[2]);
  const auto width = static_cast<int>(keys.inner_elements());
  std::int64_t done = 0;
  for (std::size_t s = 0; s < sequences.size();) {
    if (sequences[s].key_pages.size() > kPagesTogether) {
      const KvRows& one = sequences[s++];
      FOVEA_CHECK(append_rows(context, one.table, one.length, one.key_pages, one.value_pages,
                              keys.slice(done, one.rows), values.slice(done, one.rows)));
      done += one.rows;
      continue;
    }
    Together together{};
    std::int64_t rows = 0;
    std::size_t pages = 0;
    for (; s < sequences.size() && together.count < kSequencesAtOnce; ++s) {
      const KvRows& one = sequences[s];
      if (pages + one.key_pages.size() > kPagesTogether) break;
      if (one.rows == 0) continue;
      together.sequences[together.count++] = {one.table,
                                              one.length,
                                              static_cast<std::int32_t>(rows),
                                              static_cast<std::int32_t>(one.rows),
                                              static_cast<std::int32_t>(pages),
                                              static_cast<std::int32_t>(one.key_pages.size())};
      std::copy(one.key_pages.begin(), one.key_pages.end(), together.keys + pages);
      std::copy(one.value_pages.begin(), one.value_pages.end(), together.values + pages);
      rows += one.rows;
      pages += one.key_pages.size();
    }
    if (rows == 0) continue;
    const ConstTensorView key_part = keys.slice(done, rows), value_part = values.slice(done, rows);
    FOVEA_CHECK(with_types(keys.dtype, together.sequences[0].table.dtype,
                           [&](auto from_type, auto to_type) -> Status {
      using From = typename decltype(from_type)::type;
      using To = typename decltype(to_type)::type;
      constexpr int kCount = kPack<From, To>;
      const bool packed = takes_packs(key_part, kCount) && takes_packs(value_part, kCount);
      return launch_early(
          context, "append_rows",
          packed ? append_together_kernel<kCount, From, To> : append_together_kernel<1, From, To>,
          dim3(static_cast<unsigned>(rows), 2), kThreads, 0, source_of<From>(key_part),
          source_of<From>(value_part), together, head_dim, width);
    }));
    done += rows;
  }
  return {};
}

Status turn_and_write_last_row(Context& context, const KvTable& table, TensorView query,
                               ConstTensorView key, ConstTensorView value, ConstTensorView position,
                               float theta) {
  return turn_and_write_last_rows(context, {table, 0, 0}, query, key, value, position, theta);
}

Status turn_and_write_last_rows(Context& context, const KvTables& tables, TensorView query,
                                ConstTensorView key, ConstTensorView value,
                                ConstTensorView positions, float theta) {
  FOVEA_CHECK(check_rows(context, key, value));
  FOVEA_CHECK(check_activation_shape(context, "rope x", query, query.shape));
  const std::int64_t head_dim = key.shape[2];
  if (query.shape.rank() != 3 || query.shape[2] != head_dim || query.dtype != key.dtype ||
      query.rows() != key.rows() || positions.shape != Shape{key.rows()} || head_dim % 2 != 0 ||
      head_dim > 2 * kMostHalf) {
    return make_error(ErrorCode::usage,
                      "expected as many rows of query, key and value, of one type, and positions, "
                      "and an even head_dim up to " +
                          std::to_string(2 * kMostHalf))
        .in_field("kv keys");
  }
  const auto heads = static_cast<int>(query.shape[1]), kv_heads = static_cast<int>(key.shape[1]);
  const auto half = static_cast<int>(head_dim / 2);
  const double log2_ratio = -std::log2(static_cast<double>(theta)) / half;
  if (key.rows() == 0) return {};
  return with_types(key.dtype, tables.first.dtype, [&](auto from_type, auto to_type) -> Status {
    using From = typename decltype(from_type)::type;
    using To = typename decltype(to_type)::type;
    constexpr int kCount = kPack<From, To>, kShare = 64;
    const bool packed = half % kCount == 0 && takes_packs(query, kCount) &&
                        takes_packs(key, kCount) && takes_packs(value, kCount);
    const int threads = (heads + 2 * kv_heads) * half / (packed ? kCount : 1);
    return launch_early(
        context, "turn_and_write_last_row",
        packed ? turned_row_kernel<kCount, From, To> : turned_row_kernel<1, From, To>,
        dim3(static_cast<unsigned>((threads + kShare - 1) / kShare),
             static_cast<unsigned>(key.rows())),
        kShare, 0, source_of<From>(query), source_of<From>(key), source_of<From>(value), tables,
        positions.as<std::int32_t>(), heads, kv_heads, half, log2_ratio);
  });
}

Status increase(Context& context, TensorView numbers, ConstTensorView by) {
  const auto width = static_cast<int>(by.shape.elements());
  if (numbers.shape != Shape{numbers.rows(), width} || by.device != context.device) {
    return make_error(ErrorCode::usage, "expected a number for each column, on the device")
        .in_field("increase by");
  }
  if (numbers.shape.elements() == 0) return {};
  increase_columns_kernel<<<dim3(static_cast<unsigned>((width + 127) / 128),
                                 static_cast<unsigned>(numbers.rows())),
                            128, 0, stream_of(context)>>>(
      numbers.as<std::int32_t>(), numbers.row_stride, width, by.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("increase");
  return {};
}

}  // namespace fovea
