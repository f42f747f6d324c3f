// Probabilities of chosen rows and columns, recomputed from query, key and log-sum-exp. A task is
// one block of columns with all rows and heads, so that nothing is reduced across threads.

#include "kernels/ops/attention/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/attention/attention_scores_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "kernels/base/parallel.h"
#include "kernels/ops/attention/attention-inl.h"
#include "kernels/ops/attention/attention_checks.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/attention/attention_cuda.h"
#endif
#include "kernels/ops/attention/attention_plan.h"

#ifndef FOVEA_ATTENTION_SCORES_BLOCKS
#define FOVEA_ATTENTION_SCORES_BLOCKS
namespace fovea {
namespace {

/// Columns of a task: three vectors of sixteen lanes, or a multiple of three of fewer.
constexpr std::int64_t kColumns = 48;
/// Rows whose probabilities are held at a time.
constexpr std::int64_t kRowBlock = 128;

std::int64_t scratch_floats(std::int64_t head_dim) {
  return kColumns * (2 * kRowBlock + 2 + 2 * head_dim);
}

}  // namespace
}  // namespace fovea
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {

struct ColumnBlock {
  std::int64_t first, count;        // places in args.columns
  const std::byte* keys[kColumns];  // of one kv head
  std::int32_t index[kColumns];     // key index; beyond count, more than any row sees
  float bias[kColumns];             // in units of log2(e)
};

/// Scratch of one task; all [.., kColumns].
struct Buffers {
  float* p;           // [kRowBlock]: one head's probabilities
  float* maxima;      // [kRowBlock]: over heads
  float* row_total;   // rows reduced
  float* head_total;  // rows and heads reduced
  float* packed;      // [kColumns, head_dim] keys
  float* transposed;  // [head_dim, kColumns] keys
};

/// to[i] = from[i] for one row of columns, or their sum, or the larger.
HWY_INLINE void combine(Reduction how, bool first, const float* from, float* to,
                        std::int64_t count) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    V value = hn::LoadU(d, from + i);
    if (!first) {
      const V other = hn::LoadU(d, to + i);
      value = how == Reduction::max ? hn::Max(other, value) : hn::Add(other, value);
    }
    hn::StoreU(value, d, to + i);
  }
  for (; i < count; ++i) {
    if (first) {
      to[i] = from[i];
    } else {
      to[i] = how == Reduction::max ? std::max(to[i], from[i]) : to[i] + from[i];
    }
  }
}

HWY_INLINE void finish(Reduction how, std::int64_t over, float* to, std::int64_t count) {
  if (how != Reduction::mean) return;
  const float share = 1.0f / static_cast<float>(over);
  for (std::int64_t i = 0; i < count; ++i) to[i] *= share;
}

/// Keys a row sees; 0 where the row cannot matter.
HWY_INLINE std::int32_t row_limit(const ScoreArgs& args, std::int64_t head, std::int64_t row) {
  if (args.lse.row<float>(head)[row] == kMinusInfinity) return 0;
  return args.visible.empty() ? std::numeric_limits<std::int32_t>::max()
                              : args.visible[static_cast<std::size_t>(row)];
}

HWY_INLINE float row_weight(const ScoreArgs& args, std::int64_t head, std::int64_t row) {
  if (args.row_weights.empty()) return 1.0f;
  if (args.row_weights.shape.rank() == 1) return args.row_weights.as<float>()[row];
  return args.row_weights.row<float>(head)[row];
}

/// Dot products of one row to probabilities, in place.
HWY_INLINE void to_probabilities(const ScoreArgs& args, const ColumnBlock& block, std::int64_t head,
                                 std::int64_t row, float* p) {
  const D d;
  const hn::RebindToSigned<D> whole;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const V scale = hn::Set(d, static_cast<float>(args.scale * kLog2E));
  const V lse = hn::Set(d, static_cast<float>(args.lse.row<float>(head)[row] * kLog2E));
  const V weight = hn::Set(d, row_weight(args, head, row));
  const auto limit = hn::Set(whole, row_limit(args, head, row));
  for (std::int64_t i = 0; i < kColumns; i += lanes) {
    const V shift = hn::Sub(hn::LoadU(d, block.bias + i), lse);
    const V x = hn::MulAdd(hn::LoadU(d, p + i), scale, shift);
    const V value = hn::Mul(exp2_lanes(d, hn::Min(hn::Set(d, 127.0f), x)), weight);
    const auto seen = hn::RebindMask(d, hn::Lt(hn::LoadU(whole, block.index + i), limit));
    hn::StoreU(hn::IfThenElseZero(seen, value), d, p + i);
  }
}

/// s[r, j] = query[r] . key[j] for kRows rows and all columns, from transposed keys.
template <int kRows>
HWY_INLINE void dot_columns(const float* query, std::int64_t query_stride, const float* transposed,
                            std::int64_t channels, float* s) {
  constexpr int kVectors = 3;
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t j = 0; j < kColumns; j += kVectors * lanes) {
    V sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
    }
    const float* keys = transposed + j;
    for (std::int64_t c = 0; c < channels; ++c, keys += kColumns) {
      V key[kVectors];
      for (int v = 0; v < kVectors; ++v) key[v] = hn::LoadU(d, keys + v * lanes);
      for (int r = 0; r < kRows; ++r) {
        const V q = hn::Set(d, query[r * query_stride + c]);
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(q, key[v], sum[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        hn::StoreU(sum[r][v], d, s + r * kColumns + j + v * lanes);
      }
    }
  }
}

/// The same straight from the pages, for too few rows to be worth a transposition.
template <class T, int kRows>
HWY_INLINE void dot_columns_direct(const ColumnBlock& block, const float* query,
                                   std::int64_t query_stride, std::int64_t channels, float* s) {
  constexpr int kKeys = 8 / kRows;
  std::int64_t j = 0;
  for (; j + kKeys <= block.count; j += kKeys) {
    dot_keys<T, kRows, kKeys>(block.keys + j, query, query_stride, channels, s + j, kColumns);
  }
  for (; j < block.count; ++j) {
    dot_keys<T, kRows, 1>(block.keys + j, query, query_stride, channels, s + j, kColumns);
  }
  for (int r = 0; r < kRows; ++r) {
    for (j = block.count; j < kColumns; ++j) s[r * kColumns + j] = 0.0f;
  }
}

template <int kRows>
HWY_INLINE void dot_rows(const ScoreArgs& args, const ColumnBlock& block, bool transposed,
                         std::int64_t head, std::int64_t row, const Buffers& buffers, float* s) {
  const std::int64_t channels = args.query.shape[2];
  const float* query = args.query.row<float>(row) + head * channels;
  const std::int64_t stride = args.query.row_stride;
  if (transposed) {
    dot_columns<kRows>(query, stride, buffers.transposed, channels, s);
  } else if (args.kv.dtype == DType::f32) {
    dot_columns_direct<float, kRows>(block, query, stride, channels, s);
  } else {
    dot_columns_direct<bf16, kRows>(block, query, stride, channels, s);
  }
}

/// buffers.p[r] = probabilities of rows first_row + r of one head.
HWY_INLINE void compute_rows(const ScoreArgs& args, const ColumnBlock& block, bool transposed,
                             std::int64_t head, std::int64_t first_row, std::int64_t count,
                             const Buffers& buffers) {
  constexpr std::int64_t kStep = 4;
  const auto matters = [&](std::int64_t row) {
    return row_limit(args, head, row) > block.index[0] && row_weight(args, head, row) != 0.0f;
  };
  for (std::int64_t r = 0; r < count; r += kStep) {
    const std::int64_t step = std::min(kStep, count - r);
    const std::int64_t row = first_row + r;
    float* s = buffers.p + r * kColumns;
    bool any = false;
    for (std::int64_t k = 0; k < step; ++k) any = any || matters(row + k);
    if (!any) {
      std::fill_n(s, step * kColumns, 0.0f);
      continue;
    }
    if (step == kStep) {
      dot_rows<kStep>(args, block, transposed, head, row, buffers, s);
    } else {
      for (std::int64_t k = 0; k < step; ++k) {
        dot_rows<1>(args, block, transposed, head, row + k, buffers, s + k * kColumns);
      }
    }
    for (std::int64_t k = 0; k < step; ++k) {
      to_probabilities(args, block, head, row + k, s + k * kColumns);
    }
  }
}

/// to[c, j] = from[j, c] for j < count; further columns become 0.
HWY_INLINE void transpose(const float* from, std::int64_t count, std::int64_t channels, float* to) {
  for (std::int64_t c = 0; c < channels; ++c) {
    std::fill(to + c * kColumns + count, to + (c + 1) * kColumns, 0.0f);
  }
  std::int64_t j = 0;
#if HWY_TARGET != HWY_SCALAR
  // Squares of four, in the 128-bit vectors that every instruction set has.
  const hn::Full128<float> d;
  const hn::Full128<double> pairs;
  const auto join = [d, pairs](auto a, auto b, bool upper) HWY_ATTR {
    const auto left = hn::BitCast(pairs, a);
    const auto right = hn::BitCast(pairs, b);
    return hn::BitCast(d, upper ? hn::InterleaveUpper(pairs, left, right)
                                : hn::InterleaveLower(pairs, left, right));
  };
  for (; j + 4 <= count; j += 4) {
    const float* row = from + j * channels;
    std::int64_t c = 0;
    for (; c + 4 <= channels; c += 4) {
      const auto a = hn::LoadU(d, row + c);
      const auto b = hn::LoadU(d, row + channels + c);
      const auto e = hn::LoadU(d, row + 2 * channels + c);
      const auto f = hn::LoadU(d, row + 3 * channels + c);
      const auto ab_low = hn::InterleaveLower(d, a, b);
      const auto ab_high = hn::InterleaveUpper(d, a, b);
      const auto ef_low = hn::InterleaveLower(d, e, f);
      const auto ef_high = hn::InterleaveUpper(d, e, f);
      float* out = to + c * kColumns + j;
      hn::StoreU(join(ab_low, ef_low, false), d, out);
      hn::StoreU(join(ab_low, ef_low, true), d, out + kColumns);
      hn::StoreU(join(ab_high, ef_high, false), d, out + 2 * kColumns);
      hn::StoreU(join(ab_high, ef_high, true), d, out + 3 * kColumns);
    }
    for (; c < channels; ++c) {
      for (std::int64_t k = 0; k < 4; ++k) to[c * kColumns + j + k] = row[k * channels + c];
    }
  }
#endif
  for (; j < count; ++j) {
    for (std::int64_t c = 0; c < channels; ++c) to[c * kColumns + j] = from[j * channels + c];
  }
}

HWY_INLINE void load_keys(const ScoreArgs& args, bool transposed, std::int64_t kv_head,
                          const Buffers& buffers, ColumnBlock& block) {
  for (std::int64_t j = 0; j < block.count; ++j) {
    locate_keys(args.kv, kv_head, block.index[j], 1, &block.keys[j]);
  }
  if (!transposed) return;
  const std::int64_t channels = args.query.shape[2];
  if (args.kv.dtype == DType::f32) {
    pack_rows<float>(block.keys, block.count, channels, buffers.packed);
  } else {
    pack_rows<bf16>(block.keys, block.count, channels, buffers.packed);
  }
  transpose(buffers.packed, block.count, channels, buffers.transposed);
}

/// Maximum over heads for every row and column, then the reduction over rows.
HWY_INLINE void reduce_heads_first(const ScoreArgs& args, bool transposed, const Buffers& buffers,
                                   ColumnBlock& block) {
  const std::int64_t rows = args.query.shape[0];
  const std::int64_t heads = args.query.shape[1];
  const std::int64_t group = heads / args.kv.kv_heads;
  for (std::int64_t row = 0; row < rows; row += kRowBlock) {
    const std::int64_t count = std::min(kRowBlock, rows - row);
    for (std::int64_t head = 0; head < heads; ++head) {
      if (head % group == 0) load_keys(args, transposed, head / group, buffers, block);
      compute_rows(args, block, transposed, head, row, count, buffers);
      combine(Reduction::max, head == 0, buffers.p, buffers.maxima, count * kColumns);
    }
    for (std::int64_t r = 0; r < count; ++r) {
      const float* from = buffers.maxima + r * kColumns;
      if (args.rows == Reduction::none) {
        std::copy_n(from, block.count, args.out.row<float>(row + r) + block.first);
      } else {
        combine(args.rows, row + r == 0, from, buffers.row_total, kColumns);
      }
    }
  }
  if (args.rows == Reduction::none) return;
  finish(args.rows, rows, buffers.row_total, kColumns);
  std::copy_n(buffers.row_total, block.count, args.out.as<float>() + block.first);
}

/// The reduction over rows of each head, then the one over heads.
HWY_INLINE void reduce_rows_first(const ScoreArgs& args, bool transposed, const Buffers& buffers,
                                  ColumnBlock& block) {
  const std::int64_t rows = args.query.shape[0];
  const std::int64_t heads = args.query.shape[1];
  const std::int64_t group = heads / args.kv.kv_heads;
  const bool keep_rows = args.rows == Reduction::none;
  const bool keep_heads = args.heads == Reduction::none;
  for (std::int64_t head = 0; head < heads; ++head) {
    if (head % group == 0) load_keys(args, transposed, head / group, buffers, block);
    for (std::int64_t row = 0; row < rows; row += kRowBlock) {
      const std::int64_t count = std::min(kRowBlock, rows - row);
      compute_rows(args, block, transposed, head, row, count, buffers);
      for (std::int64_t r = 0; r < count; ++r) {
        const float* from = buffers.p + r * kColumns;
        if (!keep_rows) {
          combine(args.rows, row + r == 0, from, buffers.row_total, kColumns);
        } else if (keep_heads) {
          float* out = args.out.row<float>(head) + (row + r) * args.out.shape[2];
          std::copy_n(from, block.count, out + block.first);
        } else {
          float* out = args.out.row<float>(row + r) + block.first;
          combine(args.heads, head == 0, from, out, block.count);
          if (head + 1 == heads) finish(args.heads, heads, out, block.count);
        }
      }
    }
    if (keep_rows) continue;
    finish(args.rows, rows, buffers.row_total, kColumns);
    if (keep_heads) {
      std::copy_n(buffers.row_total, block.count, args.out.row<float>(head) + block.first);
    } else {
      combine(args.heads, head == 0, buffers.row_total, buffers.head_total, kColumns);
    }
  }
  if (keep_rows || keep_heads) return;
  finish(args.heads, heads, buffers.head_total, kColumns);
  std::copy_n(buffers.head_total, block.count, args.out.as<float>() + block.first);
}

/// Columns [first, first + kColumns) of args.columns.
void score_columns(const ScoreArgs& args, std::int64_t first, float* scratch) {
  ColumnBlock block;
  block.first = first;
  block.count = std::min(kColumns, static_cast<std::int64_t>(args.columns.size()) - first);
  std::fill_n(block.index, kColumns, std::numeric_limits<std::int32_t>::max());
  std::fill_n(block.bias, kColumns, 0.0f);
  for (std::int64_t j = 0; j < block.count; ++j) {
    block.index[j] = args.columns[static_cast<std::size_t>(first + j)];
    if (args.key_bias != nullptr) {
      block.bias[j] = static_cast<float>(args.key_bias[block.index[j]] * kLog2E);
    }
  }
  const std::int64_t channels = args.query.shape[2];
  Buffers buffers;
  buffers.p = scratch;
  buffers.maxima = buffers.p + kRowBlock * kColumns;
  buffers.row_total = buffers.maxima + kRowBlock * kColumns;
  buffers.head_total = buffers.row_total + kColumns;
  buffers.packed = buffers.head_total + kColumns;
  buffers.transposed = buffers.packed + kColumns * channels;

  // A transposition of the keys pays from about so many rows on that use them.
  constexpr std::int64_t kRowsWorthTransposing = 12;
  const std::int64_t uses = args.query.shape[0] * (args.query.shape[1] / args.kv.kv_heads);
  const bool transposed = uses >= kRowsWorthTransposing;
  if (args.heads == Reduction::max) {
    reduce_heads_first(args, transposed, buffers, block);
  } else {
    reduce_rows_first(args, transposed, buffers, block);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {

HWY_EXPORT(score_columns);

Status attention_scores(Context& context, const ScoreArgs& args) {
  FOVEA_CHECK(check_attention_scores(context, args));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) return attention_scores_cuda(context, args);
#endif
  const Shape& query = args.query.shape;
  const auto columns = static_cast<std::int64_t>(args.columns.size());
  if (args.out.shape.elements() == 0) return {};
  if (query[0] == 0) {  // sums over no rows
    for (std::int64_t row = 0; row < args.out.rows(); ++row) {
      std::fill_n(args.out.row<float>(row), args.out.inner_elements(), 0.0f);
    }
    return {};
  }

  constexpr std::int64_t kWorkPerThread = 100'000;  // multiply-adds worth waking a thread
  const std::int64_t blocks = (columns + kColumns - 1) / kColumns;
  const std::int64_t useful = query.elements() * columns / kWorkPerThread + 1;
  const int workers = static_cast<int>(
      std::min({blocks, useful, static_cast<std::int64_t>(std::max(context.threads, 1))}));
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(
      const TensorView scratch,
      context.workspace.take({workers, (scratch_floats(query[2]) + 15) / 16 * 16}, DType::f32));
  const auto run = HWY_DYNAMIC_DISPATCH(score_columns);
  std::atomic<std::int64_t> next{0};
  parallel_for(workers, workers, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t worker = begin; worker < end; ++worker) {
      for (std::int64_t block = next++; block < blocks; block = next++) {
        run(args, block * kColumns, scratch.row<float>(worker));
      }
    }
  });
  return {};
}

}  // namespace fovea
#endif  // HWY_ONCE
