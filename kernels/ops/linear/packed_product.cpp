// The product over packed weights, compiled once per instruction set.
//
// Up to kTileRows rows: one pass over each panel, the sums in registers. It runs at the speed at
// which memory delivers the weight.
// More rows: the blocking of GotoBLAS and BLIS (Goto and van de Geijn, ACM TOMS 34(3), 2008). A
// block of a panel stays in L1 while all rows of a block of x, copied once into L2, pass over it.
// bfloat16 is widened in the innermost loop: shift and mask run on ports the multiplications leave
// idle, which is as fast as a float32 weight and faster than widening blocks into scratch memory.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/linear/packed_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/base/parallel.h"
#include "kernels/ops/activation/activation-inl.h"
#include "kernels/ops/linear/packed_weight.h"

#ifndef FOVEA_PACKED_PRODUCT_SHARED
#define FOVEA_PACKED_PRODUCT_SHARED
namespace fovea {
namespace {

// One worker's part of a product: some rows of x and y, and panels [panel_begin, panel_end).
struct ProductPart {
  const float* x;  // first row of the part
  std::int64_t x_stride;
  std::int64_t rows;
  std::int64_t panel_begin, panel_end;
  float* y;  // first row of the part
  std::int64_t y_stride;
  const float* bias;  // of all outputs, or null
  Epilogue epilogue;
  float* x_block;       // scratch, kInputBlockBytes
  float* partial_sums;  // scratch, [kPassOutputs / panel][min(rows, kPassRows)][panel]
};

// Rows whose partial sums are kept at once, and outputs likewise: together with the x block they
// bound the scratch memory of a worker to some 4 MiB.
constexpr std::int64_t kPassRows = 768;
constexpr std::int64_t kPassOutputs = 1024;
// Bytes of a panel block (half of the smallest L1 in use) and of an x block (under half of L2).
constexpr std::int64_t kPanelBlockBytes = 16 << 10;
constexpr std::int64_t kInputBlockBytes = 192 << 10;

}  // namespace
}  // namespace fovea
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;
using Words = hn::RebindToUnsigned<Floats>;

// A tile of kTileRows x (kVectors registers) holds its sums in 12 of 16 or 24 of 32 registers.
constexpr int kTileRows = 6;
constexpr int kVectors = HWY_CAP_GE512 ? 4 : 2;
constexpr std::int64_t kLanes = HWY_LANES(float);
constexpr std::int64_t kPanel = kVectors * kLanes;

// Weight formats. A unit is 32 bits of one output and holds kDepth inputs; widen() gives one of
// them for a vector of units.
struct WeightF32 {
  using Unit = float;
  using Units = Vector;
  static constexpr int kDepth = 1;
  static HWY_INLINE Units load(const Unit* units) { return hn::Load(Floats(), units); }
  static HWY_INLINE Vector widen(Units units, int /*which*/) { return units; }
};
struct WeightBf16 {
  using Unit = std::uint32_t;
  using Units = hn::Vec<Words>;
  static constexpr int kDepth = 2;
  static HWY_INLINE Units load(const Unit* units) { return hn::Load(Words(), units); }
  // Two shifts rather than a mask: AVX2 has no register left for the mask.
  static HWY_INLINE Vector widen(Units units, int which) {
    const Units low = which == 0 ? units : hn::ShiftRight<16>(units);
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(low));
  }
};

/// Sums of kRows rows over kColumns vectors of outputs, in registers. In memory they lie as
/// [panel][row][kPanel].
template <int kRows, int kColumns>
struct Sums {
  Vector at[kRows][kColumns];

  static HWY_INLINE std::int64_t offset(int row, int column) {
    return (column / kVectors * kRows + row) * kPanel + column % kVectors * kLanes;
  }
  HWY_INLINE void clear() {
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) at[row][column] = hn::Zero(Floats());
    }
  }
  HWY_INLINE void load(const float* from) {
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) {
        at[row][column] = hn::Load(Floats(), from + offset(row, column));
      }
    }
  }
  HWY_INLINE void store(float* to) const {
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) {
        hn::Store(at[row][column], Floats(), to + offset(row, column));
      }
    }
  }
  /// Adds input x[which] of every row (rows x_stride apart) times the weights of all columns. The
  /// weights are held while the rows pass.
  template <class Weight>
  HWY_INLINE void add_by_row(const float* x, std::int64_t x_stride,
                             const typename Weight::Unit* units, std::int64_t panel_stride,
                             int which) {
    Vector weights[kColumns];
#pragma GCC unroll 16
    for (int column = 0; column < kColumns; ++column) {
      weights[column] =
          Weight::widen(Weight::load(units + unit_offset(column, panel_stride)), which);
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      const Vector value = hn::Set(Floats(), x[row * x_stride + which]);
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) {
        at[row][column] = hn::MulAdd(value, weights[column], at[row][column]);
      }
    }
  }
  /// The same for all kDepth inputs of the units. The inputs are held while the weights pass.
  template <class Weight>
  HWY_INLINE void add_by_column(const float* x, std::int64_t x_stride,
                                const typename Weight::Unit* units, std::int64_t panel_stride) {
    Vector values[Weight::kDepth][kRows];
#pragma GCC unroll 2
    for (int which = 0; which < Weight::kDepth; ++which) {
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        values[which][row] = hn::Set(Floats(), x[row * x_stride + which]);
      }
    }
#pragma GCC unroll 16
    for (int column = 0; column < kColumns; ++column) {
      const auto loaded = Weight::load(units + unit_offset(column, panel_stride));
#pragma GCC unroll 2
      for (int which = 0; which < Weight::kDepth; ++which) {
        const Vector weight = Weight::widen(loaded, which);
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          at[row][column] = hn::MulAdd(values[which][row], weight, at[row][column]);
        }
      }
    }
  }

 private:
  static HWY_INLINE std::int64_t unit_offset(int column, std::int64_t panel_stride) {
    return column / kVectors * panel_stride + column % kVectors * kLanes;
  }
};

/// sums (+)= x block times panel blocks over `depth` inputs; kPanels neighbouring panels at once,
/// panel_stride units apart.
template <class Weight, int kRows, int kPanels>
HWY_INLINE void multiply(const float* HWY_RESTRICT x, std::int64_t x_stride,
                         const typename Weight::Unit* HWY_RESTRICT weight,
                         std::int64_t panel_stride, std::int64_t depth, bool resume,
                         float* HWY_RESTRICT sums) {
  constexpr int kColumns = kPanels * kVectors;
  Sums<kRows, kColumns> registers;
  if (resume) {
    registers.load(sums);
  } else {
    registers.clear();
  }
  std::int64_t input = 0;
#pragma GCC unroll 2
  for (; input + Weight::kDepth <= depth; input += Weight::kDepth) {
    if constexpr (kRows <= 2) {
      registers.template add_by_column<Weight>(x + input, x_stride, weight, panel_stride);
    } else {
#pragma GCC unroll 2
      for (int which = 0; which < Weight::kDepth; ++which) {
        // Hides that both inputs of a pair come from the same place: keeping pairs beside the sums
        // takes more registers than there are, and spilling them costs a third.
        if (which > 0) asm("" : "+r"(weight));
        registers.template add_by_row<Weight>(x + input, x_stride, weight, panel_stride, which);
      }
    }
    weight += kPanel;
  }
  if (input < depth) {
    registers.template add_by_row<Weight>(x + input, x_stride, weight, panel_stride, 0);
  }
  registers.store(sums);
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

/// The same for `rows` rows of a panel: sums are [rows][kPanel].
void finish_panel(const ProductPart& part, std::int64_t outputs, std::int64_t panel,
                  std::int64_t row, std::int64_t rows, const float* sums) {
  const std::int64_t output = panel * kPanel;
  const std::int64_t width = std::min(kPanel, outputs - output);
  for (std::int64_t i = 0; i < rows; ++i) {
    finish(sums + i * kPanel, width, part.bias == nullptr ? nullptr : part.bias + output,
           part.epilogue, part.y + (row + i) * part.y_stride + output);
  }
}

template <class Weight, int kRows, int kPanels>
void few_rows(const ProductPart& part, const PackedWeight& weight) {
  const auto* units = reinterpret_cast<const typename Weight::Unit*>(weight.data.as<float>());
  const std::int64_t panel_stride = weight.padded_inputs / Weight::kDepth * kPanel;
  HWY_ALIGN float sums[kPanels * kRows * kPanel];
  std::int64_t panel = part.panel_begin;
  for (; panel + kPanels <= part.panel_end; panel += kPanels) {
    multiply<Weight, kRows, kPanels>(part.x, part.x_stride, units + panel * panel_stride,
                                     panel_stride, weight.inputs, false, sums);
    for (int i = 0; i < kPanels; ++i) {
      finish_panel(part, weight.outputs, panel + i, 0, kRows, sums + i * kRows * kPanel);
    }
  }
  for (; panel < part.panel_end; ++panel) {
    multiply<Weight, kRows, 1>(part.x, part.x_stride, units + panel * panel_stride, panel_stride,
                               weight.inputs, false, sums);
    finish_panel(part, weight.outputs, panel, 0, kRows, sums);
  }
}

/// A tile of any number of rows up to kTileRows.
template <class Weight>
HWY_INLINE void multiply_rows(std::int64_t rows, const float* x, std::int64_t x_stride,
                              const typename Weight::Unit* weight, std::int64_t depth, bool resume,
                              float* sums) {
  switch (rows) {
    case 1:
      return multiply<Weight, 1, 1>(x, x_stride, weight, 0, depth, resume, sums);
    case 2:
      return multiply<Weight, 2, 1>(x, x_stride, weight, 0, depth, resume, sums);
    case 3:
      return multiply<Weight, 3, 1>(x, x_stride, weight, 0, depth, resume, sums);
    case 4:
      return multiply<Weight, 4, 1>(x, x_stride, weight, 0, depth, resume, sums);
    case 5:
      return multiply<Weight, 5, 1>(x, x_stride, weight, 0, depth, resume, sums);
    default:
      return multiply<Weight, 6, 1>(x, x_stride, weight, 0, depth, resume, sums);
  }
}

/// Inputs of a panel block, and rows of the x block that goes with it.
template <class Weight>
constexpr std::int64_t kBlockInputs = kPanelBlockBytes /
                                      (kPanel * sizeof(typename Weight::Unit)) * Weight::kDepth;
template <class Weight>
constexpr std::int64_t kBlockRows = kInputBlockBytes /
                                    (kBlockInputs<Weight> * sizeof(float)) / kTileRows* kTileRows;

/// All rows of an x block times one panel block. `next` is what will be read after it: it comes
/// from memory, so every tile fetches a part of it.
template <class Weight>
HWY_INLINE void multiply_panel_block(const float* x_block, std::int64_t rows,
                                     const typename Weight::Unit* block, const void* next,
                                     std::int64_t depth, bool resume, float* sums) {
  constexpr std::int64_t kLine = 64;
  const std::int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  const std::int64_t lines =
      (depth / Weight::kDepth * kPanel * static_cast<std::int64_t>(sizeof(float)) + kLine - 1) /
      kLine;
  const std::int64_t lines_per_tile = (lines + tiles - 1) / tiles;
  const char* fetch = static_cast<const char*>(next);
  for (std::int64_t row = 0; row < rows; row += kTileRows) {
    for (std::int64_t line = 0; line < lines_per_tile; ++line, fetch += kLine) {
      __builtin_prefetch(fetch, 0, 2);
    }
    float* tile = sums + row * kPanel;
    const auto* next_tile = reinterpret_cast<const char*>(tile + kTileRows * kPanel);
    for (std::int64_t at = 0; at < kTileRows * kPanel * 4; at += kLine) {
      __builtin_prefetch(next_tile + at, 1, 3);
    }
    multiply_rows<Weight>(std::min<std::int64_t>(kTileRows, rows - row),
                          x_block + row * kBlockInputs<Weight>, kBlockInputs<Weight>, block, depth,
                          resume, tile);
  }
}

template <class Weight>
HWY_NOINLINE void many_rows(const ProductPart& part, const PackedWeight& weight) {
  using Unit = typename Weight::Unit;
  constexpr std::int64_t kInputs = kBlockInputs<Weight>;
  constexpr std::int64_t kRows = kBlockRows<Weight>;
  constexpr std::int64_t kPassPanels = kPassOutputs / kPanel;
  static_assert(kRows >= kTileRows && kInputs >= Weight::kDepth && kPassPanels >= 1);
  const auto* units = reinterpret_cast<const Unit*>(weight.data.as<float>());
  const std::int64_t panel_stride = weight.padded_inputs / Weight::kDepth * kPanel;

  for (std::int64_t pass = 0; pass < part.rows; pass += kPassRows) {
    const std::int64_t pass_rows = std::min(kPassRows, part.rows - pass);
    // Row blocks of equal size, so that none is left with a few rows.
    const std::int64_t blocks = (pass_rows + kRows - 1) / kRows;
    const std::int64_t tiles = (pass_rows + kTileRows - 1) / kTileRows;
    const std::int64_t block_rows = (tiles + blocks - 1) / blocks * kTileRows;
    for (std::int64_t first = part.panel_begin; first < part.panel_end; first += kPassPanels) {
      const std::int64_t last = std::min(first + kPassPanels, part.panel_end);
      for (std::int64_t input = 0; input < weight.inputs; input += kInputs) {
        const std::int64_t depth = std::min(kInputs, weight.inputs - input);
        for (std::int64_t row = 0; row < pass_rows; row += block_rows) {
          const std::int64_t rows = std::min(block_rows, pass_rows - row);
          for (std::int64_t i = 0; i < rows; ++i) {
            std::memcpy(part.x_block + i * kInputs,
                        part.x + (pass + row + i) * part.x_stride + input,
                        static_cast<std::size_t>(depth) * sizeof(float));
          }
          for (std::int64_t panel = first; panel < last; ++panel) {
            const Unit* block = units + panel * panel_stride + input / Weight::kDepth * kPanel;
            const Unit* next = panel + 1 < last ? block + panel_stride : block;
            float* sums = part.partial_sums + ((panel - first) * pass_rows + row) * kPanel;
            multiply_panel_block<Weight>(part.x_block, rows, block, next, depth, input > 0, sums);
            if (input + depth == weight.inputs) {
              finish_panel(part, weight.outputs, panel, pass + row, rows, sums);
            }
          }
        }
      }
    }
  }
}

template <class Weight>
void multiply_part(const ProductPart& part, const PackedWeight& weight) {
  // As many panels at once as the registers allow: each panel is a stream of its own from memory,
  // and independent sums hide the latency of the additions.
  constexpr int kMore = 4 / kVectors;
  switch (part.rows) {
    case 1:
      return few_rows<Weight, 1, 2 * kMore>(part, weight);
    case 2:
      return few_rows<Weight, 2, kMore>(part, weight);
    case 3:
      return few_rows<Weight, 3, 1>(part, weight);
    case 4:
      return few_rows<Weight, 4, 1>(part, weight);
    case 5:
      return few_rows<Weight, 5, 1>(part, weight);
    case 6:
      return few_rows<Weight, 6, 1>(part, weight);
    default:
      return many_rows<Weight>(part, weight);
  }
}

void product_part(const ProductPart& part, const PackedWeight& weight) {
  if (weight.dtype == LinearDType::bf16) {
    multiply_part<WeightBf16>(part, weight);
  } else {
    multiply_part<WeightF32>(part, weight);
  }
}

std::int64_t target_panel() {
  return kPanel;
}

void finish_row(float* y, std::int64_t width, const float* bias, Activation activation) {
  for (std::int64_t i = 0; bias != nullptr && i < width; ++i) y[i] += bias[i];
  activate_span(activation, y, static_cast<std::size_t>(width));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(product_part);
HWY_EXPORT(target_panel);
HWY_EXPORT(finish_row);

// Below this many multiplications a thread costs more to wake than it saves.
constexpr std::int64_t kWorkPerThread = 64 << 10;

/// Cuts [rows x panels] among workers: the grid with the smallest largest part, rather more panel
/// parts than row parts, because every row part reads the weight again.
struct Grid {
  std::int64_t row_parts = 1;
  std::int64_t panel_parts = 1;
};

Grid share_work(std::int64_t threads, std::int64_t rows, std::int64_t panels) {
  constexpr std::int64_t kRowGrain = 24;  // four tiles
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

std::int64_t input_multiple(LinearDType dtype) {
  return dtype == LinearDType::bf16 ? 2 : 1;
}
std::int64_t panel_outputs() {
  return HWY_DYNAMIC_DISPATCH(target_panel)();
}

Status packed_product(Context& context, const PackedWeight& weight, ConstTensorView x,
                      const float* bias, TensorView y, const Epilogue& epilogue) {
  const std::int64_t rows = x.rows();
  if (rows == 0) return {};
  const std::int64_t work = rows * weight.inputs * weight.outputs;
  const std::int64_t threads =
      std::clamp<std::int64_t>(work / kWorkPerThread, 1, std::max(context.threads, 1));
  const Grid grid = share_work(threads, rows, weight.panels());
  const std::int64_t workers = grid.row_parts * grid.panel_parts;

  Workspace::Scope scope(context.workspace);
  const std::int64_t panels = (weight.panels() + grid.panel_parts - 1) / grid.panel_parts;
  const std::int64_t part_rows = (rows + grid.row_parts - 1) / grid.row_parts;
  const std::int64_t block_floats = kInputBlockBytes / static_cast<std::int64_t>(sizeof(float));
  const std::int64_t sum_floats =
      std::min(kPassRows, part_rows) * std::min(kPassOutputs, panels * weight.panel);
  FOVEA_TRY(const TensorView scratch,
            context.workspace.take({workers, block_floats + sum_floats}, DType::f32));

  parallel_for(static_cast<int>(workers), workers, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t worker = first; worker < last; ++worker) {
      const std::int64_t row_part = worker / grid.panel_parts;
      const std::int64_t panel_part = worker % grid.panel_parts;
      const std::int64_t row = rows * row_part / grid.row_parts;
      ProductPart part;
      part.x = x.row<float>(row);
      part.x_stride = x.row_stride;
      part.rows = rows * (row_part + 1) / grid.row_parts - row;
      part.panel_begin = weight.panels() * panel_part / grid.panel_parts;
      part.panel_end = weight.panels() * (panel_part + 1) / grid.panel_parts;
      part.y = y.row<float>(row);
      part.y_stride = y.row_stride;
      part.bias = bias;
      part.epilogue = epilogue;
      part.x_block = scratch.row<float>(worker);
      part.partial_sums = part.x_block + block_floats;
      HWY_DYNAMIC_DISPATCH(product_part)(part, weight);
    }
  });
  return {};
}

void finish_rows(int threads, TensorView y, const float* bias, Activation activation) {
  parallel_for(threads, y.rows(), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      HWY_DYNAMIC_DISPATCH(finish_row)(y.row<float>(row), y.shape[1], bias, activation);
    }
  });
}

}  // namespace fovea
#endif
