// The product over packed weights, compiled once per instruction set.
//
// Up to kTileRows rows: one pass over each panel, at the speed at which memory delivers the weight.
// More rows: the blocking of GotoBLAS and BLIS (Goto and van de Geijn, ACM TOMS 34(3), 2008). A
// block of a panel stays in L1 while all rows of a block of x, copied once into L2, pass over it.
// bfloat16 is widened in the innermost loop: shifts run on ports which the multiplications leave
// idle, so this is as fast as a float32 weight, and faster than widening blocks beforehand.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/linear/packed_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/base/parallel.h"
#include "kernels/ops/activation/activation-inl.h"
#include "kernels/ops/linear/packed_tile-inl.h"
#include "kernels/ops/linear/packed_weight.h"

#ifndef FOVEA_PACKED_PRODUCT_SHARED
#define FOVEA_PACKED_PRODUCT_SHARED
namespace fovea {
namespace {

// One worker's part of a product: some rows of x and y, and panels [panel_begin, panel_end).
struct ProductPart {
  const std::byte* x;     // first row of the part
  std::int64_t x_stride;  // in elements of 32 bits
  std::int64_t rows;
  std::int64_t panel_begin, panel_end;
  float* y;  // first row of the part
  std::int64_t y_stride;
  const float* bias;  // of all outputs, or null
  Epilogue epilogue;
  std::byte* x_block;   // scratch, kMaxInputBlockBytes
  float* partial_sums;  // scratch, [kPassOutputs / panel][min(rows, kPassRows)][panel]
};

// Rows whose partial sums are kept at once, and outputs likewise: together with the x block they
// bound the scratch memory of a worker to some 4 MiB.
constexpr std::int64_t kPassRows = 768;
constexpr std::int64_t kPassOutputs = 1024;
constexpr std::int64_t kMaxInputBlockBytes = 384 << 10;
constexpr std::int64_t kElementBytes = 4;

}  // namespace
}  // namespace fovea
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {

// Bytes of a panel block, about half of L1, and of an x block, under half of L2.
constexpr std::int64_t kPanelBlockBytes = HWY_CAP_GE512 ? 32 << 10 : 16 << 10;
constexpr std::int64_t kInputBlockBytes = HWY_CAP_GE512 ? 384 << 10 : 192 << 10;
static_assert(kInputBlockBytes <= kMaxInputBlockBytes);

/// Elements of x that go with a panel block, and rows of the x block.
template <class Math>
constexpr std::int64_t kBlockInputs = kPanelBlockBytes / (kPanel * kElementBytes) * Math::kInputs;
template <class Math>
constexpr std::int64_t kBlockRows = kInputBlockBytes /
                                    (kBlockInputs<Math> * kElementBytes) / kTileRows* kTileRows;

/// Elements of 32 bits in a row of x, and units of one output.
std::int64_t row_inputs(const PackedWeight& weight) {
  return weight.arithmetic == Arithmetic::bf16_dot ? (weight.inputs + 1) / 2 : weight.inputs;
}
std::int64_t panel_units(const PackedWeight& weight) {
  const bool pairs = weight.arithmetic != Arithmetic::f32;
  return (pairs ? weight.padded_inputs / 2 : weight.padded_inputs) * kPanel;
}

/// y[0, width) = activation(sums + bias), or y += sums + bias.
void finish(const float* sums, std::int64_t width, const float* bias, const Epilogue& epilogue,
            float* y) {
  HWY_ALIGN float line[kPanel];
  if (bias != nullptr) {
    for (std::int64_t i = 0; i < width; ++i) line[i] = sums[i] + bias[i];
    sums = line;
  }
  if (epilogue.accumulate) {
    for (std::int64_t i = 0; i < width; ++i) y[i] += sums[i];
    return;
  }
  std::memcpy(y, sums, static_cast<std::size_t>(width) * sizeof(float));
  activate_span(epilogue.activation, y, static_cast<std::size_t>(width));
}

/// The same for rows [row, row + rows) of a panel: sums are [rows][kPanel].
void finish_panel(const ProductPart& part, std::int64_t outputs, std::int64_t panel,
                  std::int64_t row, std::int64_t rows, const float* sums) {
  const std::int64_t output = panel * kPanel;
  const std::int64_t width = std::min(kPanel, outputs - output);
  const float* bias = part.bias == nullptr ? nullptr : part.bias + output;
  for (std::int64_t i = 0; i < rows; ++i) {
    finish(sums + i * kPanel, width, bias, part.epilogue,
           part.y + (row + i) * part.y_stride + output);
  }
}

template <class Math, int kRows, int kPanels>
void few_rows(const ProductPart& part, const PackedWeight& weight) {
  const auto* units = reinterpret_cast<const typename Math::Unit*>(weight.data.view().data);
  const auto* x = reinterpret_cast<const typename Math::Input*>(part.x);
  const std::int64_t panel_stride = panel_units(weight);
  const std::int64_t inputs = row_inputs(weight);
  HWY_ALIGN float sums[kPanels * kRows * kPanel];
  std::int64_t panel = part.panel_begin;
  for (; panel + kPanels <= part.panel_end; panel += kPanels) {
    multiply_tile<Math, kRows, kPanels>(x, part.x_stride, units + panel * panel_stride,
                                        panel_stride, inputs, false, sums);
    for (int i = 0; i < kPanels; ++i) {
      finish_panel(part, weight.outputs, panel + i, 0, kRows, sums + i * kRows * kPanel);
    }
  }
  for (; panel < part.panel_end; ++panel) {
    multiply_tile<Math, kRows, 1>(x, part.x_stride, units + panel * panel_stride, panel_stride,
                                  inputs, false, sums);
    finish_panel(part, weight.outputs, panel, 0, kRows, sums);
  }
}

/// A tile of any number of rows up to kTileRows, out of the x block.
template <class Math>
HWY_INLINE void multiply_rows(std::int64_t rows, const typename Math::Input* x,
                              const typename Math::Unit* units, std::int64_t inputs, bool resume,
                              float* sums) {
  constexpr std::int64_t kStride = kBlockInputs<Math>;
  switch (rows) {
    case 1:
      return multiply_tile<Math, 1, 1>(x, kStride, units, 0, inputs, resume, sums);
    case 2:
      return multiply_tile<Math, 2, 1>(x, kStride, units, 0, inputs, resume, sums);
    case 3:
      return multiply_tile<Math, 3, 1>(x, kStride, units, 0, inputs, resume, sums);
    case 4:
      return multiply_tile<Math, 4, 1>(x, kStride, units, 0, inputs, resume, sums);
    case 5:
      return multiply_tile<Math, 5, 1>(x, kStride, units, 0, inputs, resume, sums);
    default:
      return multiply_tile<Math, 6, 1>(x, kStride, units, 0, inputs, resume, sums);
  }
}

/// All rows of an x block times one panel block. `next` is what will be read after it: it comes
/// from memory, so every tile fetches a part of it.
template <class Math>
HWY_INLINE void multiply_panel_block(const typename Math::Input* x_block, std::int64_t rows,
                                     const typename Math::Unit* block, const void* next,
                                     std::int64_t inputs, bool resume, float* sums) {
  constexpr std::int64_t kLine = 64;
  const std::int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  const std::int64_t lines = inputs / Math::kInputs * kPanel * kElementBytes / kLine;
  const std::int64_t lines_per_tile = (lines + tiles - 1) / tiles;
  const char* fetch = static_cast<const char*>(next);
  for (std::int64_t row = 0; row < rows; row += kTileRows) {
    for (std::int64_t line = 0; line < lines_per_tile; ++line, fetch += kLine) {
      __builtin_prefetch(fetch, 0, 2);
    }
    float* tile = sums + row * kPanel;
    const auto* next_tile = reinterpret_cast<const char*>(tile + kTileRows * kPanel);
    for (std::int64_t at = 0; at < kTileRows * kPanel * kElementBytes; at += kLine) {
      __builtin_prefetch(next_tile + at, 1, 3);
    }
    multiply_rows<Math>(std::min<std::int64_t>(kTileRows, rows - row),
                        x_block + row * kBlockInputs<Math>, block, inputs, resume, tile);
  }
}

template <class Math>
HWY_NOINLINE void many_rows(const ProductPart& part, const PackedWeight& weight) {
  using Unit = typename Math::Unit;
  using Input = typename Math::Input;
  constexpr std::int64_t kInputs = kBlockInputs<Math>;
  constexpr std::int64_t kRows = kBlockRows<Math>;
  constexpr std::int64_t kPassPanels = kPassOutputs / kPanel;
  static_assert(kRows >= kTileRows && kInputs >= Math::kInputs && kPassPanels >= 1);
  const auto* units = reinterpret_cast<const Unit*>(weight.data.view().data);
  const auto* x = reinterpret_cast<const Input*>(part.x);
  auto* x_block = reinterpret_cast<Input*>(part.x_block);
  const std::int64_t panel_stride = panel_units(weight);
  const std::int64_t all_inputs = row_inputs(weight);

  for (std::int64_t pass = 0; pass < part.rows; pass += kPassRows) {
    const std::int64_t pass_rows = std::min(kPassRows, part.rows - pass);
    // Row blocks of equal size, so that none is left with a few rows.
    const std::int64_t blocks = (pass_rows + kRows - 1) / kRows;
    const std::int64_t tiles = (pass_rows + kTileRows - 1) / kTileRows;
    const std::int64_t block_rows = (tiles + blocks - 1) / blocks * kTileRows;
    for (std::int64_t first = part.panel_begin; first < part.panel_end; first += kPassPanels) {
      const std::int64_t last = std::min(first + kPassPanels, part.panel_end);
      for (std::int64_t input = 0; input < all_inputs; input += kInputs) {
        const std::int64_t inputs = std::min(kInputs, all_inputs - input);
        for (std::int64_t row = 0; row < pass_rows; row += block_rows) {
          const std::int64_t rows = std::min(block_rows, pass_rows - row);
          for (std::int64_t i = 0; i < rows; ++i) {
            std::memcpy(x_block + i * kInputs, x + (pass + row + i) * part.x_stride + input,
                        static_cast<std::size_t>(inputs) * sizeof(Input));
          }
          for (std::int64_t panel = first; panel < last; ++panel) {
            const Unit* block = units + panel * panel_stride + input / Math::kInputs * kPanel;
            const Unit* next = panel + 1 < last ? block + panel_stride : block;
            float* sums = part.partial_sums + ((panel - first) * pass_rows + row) * kPanel;
            multiply_panel_block<Math>(x_block, rows, block, next, inputs, input > 0, sums);
            if (input + inputs == all_inputs) {
              finish_panel(part, weight.outputs, panel, pass + row, rows, sums);
            }
          }
        }
      }
    }
  }
}

template <class Math>
void multiply_part(const ProductPart& part, const PackedWeight& weight) {
  // As many panels at once as the registers allow: each panel is a stream of its own from memory,
  // and independent sums hide the latency of the additions.
  constexpr int kMore = 4 / kVectors;
  switch (part.rows) {
    case 1:
      return few_rows<Math, 1, 2 * kMore>(part, weight);
    case 2:
      return few_rows<Math, 2, kMore>(part, weight);
    case 3:
      return few_rows<Math, 3, 1>(part, weight);
    case 4:
      return few_rows<Math, 4, 1>(part, weight);
    case 5:
      return few_rows<Math, 5, 1>(part, weight);
    case 6:
      return few_rows<Math, 6, 1>(part, weight);
    default:
      return many_rows<Math>(part, weight);
  }
}

void product_part(const ProductPart& part, const PackedWeight& weight) {
  switch (weight.arithmetic) {
    case Arithmetic::f32:
      return multiply_part<MathF32>(part, weight);
    case Arithmetic::bf16:
      return multiply_part<MathBf16>(part, weight);
    case Arithmetic::bf16_dot:
#if HWY_CAP_GE512
      multiply_part<MathBf16Dot>(part, weight);
#endif
      return;
  }
}

PackedLayout layout() {
#if HWY_CAP_GE512
  return {kPanel, static_cast<bool>(__builtin_cpu_supports("avx512bf16"))};
#else
  return {kPanel, false};
#endif
}

/// Floats to bfloat16, rounded to nearest even.
HWY_INLINE void round_vector(const float* from, std::uint16_t* to) {
  const Words words;
  const Vector value = hn::LoadU(Floats(), from);
  const WordVector bits = hn::BitCast(words, value);
  const WordVector odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1u));
  const WordVector rounded = hn::Add(hn::Add(bits, hn::Set(words, 0x7fffu)), odd);
  const WordVector quiet = hn::Or(bits, hn::Set(words, 0x00400000u));  // of a NaN
  const WordVector chosen =
      hn::IfThenElse(hn::RebindMask(words, hn::Ne(value, value)), quiet, rounded);
  const hn::RebindToSigned<Floats> integers;
  const hn::Rebind<std::uint16_t, Floats> halves;
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(integers, hn::ShiftRight<16>(chosen))), halves, to);
}

/// Rounds one row and writes `padded` elements, zeros behind `width`.
void round_row(const float* from, std::int64_t width, std::int64_t padded, std::uint16_t* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) round_vector(from + i, to + i);
  float tail[kLanes] = {};
  std::uint16_t rounded[kLanes] = {};
  std::copy(from + i, from + width, tail);
  round_vector(tail, rounded);
  std::copy(rounded, rounded + (padded - i), to + i);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(product_part);
HWY_EXPORT(layout);
HWY_EXPORT(round_row);

// Below this many multiplications a thread costs more to wake than it saves.
constexpr std::int64_t kWorkPerThread = 64 << 10;
constexpr std::int64_t kElementsPerThread = 64 << 10;

/// How rows and panels are cut among workers.
struct Grid {
  std::int64_t row_parts = 1;
  std::int64_t panel_parts = 1;
};

/// The grid with the smallest largest part; among equals the one with fewest row parts, because
/// every row part reads the weight again.
Grid share_work(std::int64_t threads, std::int64_t rows, std::int64_t panels) {
  constexpr std::int64_t kRowGrain = 24;  // some tiles
  const std::int64_t row_grains = (rows + kRowGrain - 1) / kRowGrain;
  Grid best;
  std::int64_t best_cost = row_grains * panels;
  for (std::int64_t row_parts = 1; row_parts <= std::min(threads, row_grains); ++row_parts) {
    const std::int64_t panel_parts = std::min(threads / row_parts, panels);
    const std::int64_t cost =
        (row_grains + row_parts - 1) / row_parts * ((panels + panel_parts - 1) / panel_parts);
    if (cost < best_cost) {
      best_cost = cost;
      best = {row_parts, panel_parts};
    }
  }
  return best;
}

}  // namespace

PackedLayout packed_layout() {
  return HWY_DYNAMIC_DISPATCH(layout)();
}

Result<TensorView> round_to_bf16(Context& context, ConstTensorView x) {
  const std::int64_t width = x.shape[1];
  const std::int64_t padded = (width + 1) / 2 * 2;
  FOVEA_TRY(TensorView rounded, context.workspace.take({x.rows(), padded}, DType::bf16));
  const auto threads = static_cast<int>(std::clamp<std::int64_t>(
      x.rows() * width / kElementsPerThread, 1, std::max(context.threads, 1)));
  parallel_for(threads, x.rows(), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      HWY_DYNAMIC_DISPATCH(round_row)
      (x.row<float>(row), width, padded, rounded.row<std::uint16_t>(row));
    }
  });
  rounded.shape[1] = width;
  return rounded;
}

Status packed_product(Context& context, const PackedWeight& weight, ConstTensorView x,
                      const float* bias, TensorView y, const Epilogue& epilogue) {
  const std::int64_t rows = x.rows();
  if (rows == 0) return {};
  const std::int64_t threads = std::clamp<std::int64_t>(
      rows * weight.inputs * weight.outputs / kWorkPerThread, 1, std::max(context.threads, 1));
  const Grid grid = share_work(threads, rows, weight.panels());
  const std::int64_t workers = grid.row_parts * grid.panel_parts;

  Workspace::Scope scope(context.workspace);
  const std::int64_t panels = (weight.panels() + grid.panel_parts - 1) / grid.panel_parts;
  const std::int64_t part_rows = (rows + grid.row_parts - 1) / grid.row_parts;
  const std::int64_t sum_bytes = std::min(kPassRows, part_rows) *
                                 std::min(kPassOutputs, panels * weight.panel) * kElementBytes;
  FOVEA_TRY(const TensorView scratch,
            context.workspace.take({workers, kMaxInputBlockBytes + sum_bytes}, DType::u8));
  const std::int64_t element = static_cast<std::int64_t>(dtype_size(x.dtype));

  parallel_for(static_cast<int>(workers), workers, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t worker = first; worker < last; ++worker) {
      const std::int64_t row_part = worker / grid.panel_parts;
      const std::int64_t panel_part = worker % grid.panel_parts;
      const std::int64_t row = rows * row_part / grid.row_parts;
      ProductPart part;
      part.x = x.data + row * x.row_stride * element;
      part.x_stride = x.row_stride * element / kElementBytes;
      part.rows = rows * (row_part + 1) / grid.row_parts - row;
      part.panel_begin = weight.panels() * panel_part / grid.panel_parts;
      part.panel_end = weight.panels() * (panel_part + 1) / grid.panel_parts;
      part.y = y.row<float>(row);
      part.y_stride = y.row_stride;
      part.bias = bias;
      part.epilogue = epilogue;
      part.x_block = scratch.row<std::byte>(worker);
      part.partial_sums = reinterpret_cast<float*>(part.x_block + kMaxInputBlockBytes);
      HWY_DYNAMIC_DISPATCH(product_part)(part, weight);
    }
  });
  return {};
}

}  // namespace fovea
#endif
