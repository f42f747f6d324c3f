// The innermost part of the packed product: a few rows of x times a few panels, the sums held in
// registers. Compiled once per instruction set (Highway).

// Include guard of Highway: this file is meant to be compiled once for each target.
#if defined(FOVEA_KERNELS_OPS_LINEAR_PACKED_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_OPS_LINEAR_PACKED_TILE_INL_H
#undef FOVEA_KERNELS_OPS_LINEAR_PACKED_TILE_INL_H
#else
#define FOVEA_KERNELS_OPS_LINEAR_PACKED_TILE_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;
using Words = hn::RebindToUnsigned<Floats>;
using WordVector = hn::Vec<Words>;

// A tile of kTileRows rows and one panel holds its sums in 12 of 16 or 24 of 32 registers.
constexpr int kTileRows = 6;
constexpr int kVectors = HWY_CAP_GE512 ? 4 : 2;
constexpr std::int64_t kLanes = HWY_LANES(float);
constexpr std::int64_t kPanel = kVectors * kLanes;

// Ways to multiply. A panel consists of 32-bit units, one per output; a unit meets kInputs elements
// of x, each 32 bits. term() makes a factor out of units, broadcast() the other one out of x.

struct MathF32 {
  using Unit = float;
  using Input = float;
  using Units = Vector;
  using Term = Vector;
  static constexpr int kInputs = 1;
  static HWY_INLINE Units load(const Unit* units) { return hn::Load(Floats(), units); }
  static HWY_INLINE Term term(Units units, int /*which*/) { return units; }
  static HWY_INLINE Term broadcast(const Input* x) { return hn::Set(Floats(), *x); }
  static HWY_INLINE Vector multiply_add(Term x, Term weight, Vector sum) {
    return hn::MulAdd(x, weight, sum);
  }
};

/// A unit is a pair of bfloat16 inputs, widened one after the other.
struct MathBf16 {
  using Unit = std::uint32_t;
  using Input = float;
  using Units = WordVector;
  using Term = Vector;
  static constexpr int kInputs = 2;
  static HWY_INLINE Units load(const Unit* units) { return hn::Load(Words(), units); }
  // Two shifts rather than a mask: AVX2 has no register left for the mask.
  static HWY_INLINE Term term(Units units, int which) {
    const Units low = which == 0 ? units : hn::ShiftRight<16>(units);
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(low));
  }
  static HWY_INLINE Term broadcast(const Input* x) { return hn::Set(Floats(), *x); }
  static HWY_INLINE Vector multiply_add(Term x, Term weight, Vector sum) {
    return hn::MulAdd(x, weight, sum);
  }
};

#if HWY_CAP_GE512
/// Pairs of weights times pairs of x, both bfloat16, by the AVX512_BF16 instruction, which Highway
/// 1.0.3 does not offer.
struct MathBf16Dot {
  using Unit = std::uint32_t;
  using Input = std::uint32_t;
  using Units = WordVector;
  using Term = WordVector;
  static constexpr int kInputs = 1;
  static HWY_INLINE Units load(const Unit* units) { return hn::Load(Words(), units); }
  static HWY_INLINE Term term(Units units, int /*which*/) { return units; }
  static HWY_INLINE Term broadcast(const Input* x) { return hn::Set(Words(), *x); }
  static HWY_INLINE Vector multiply_add(Term x, Term weight, Vector sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(weight.raw));
    return sum;
  }
};
#endif

/// Sums of kRows rows over kColumns vectors of outputs, in registers. In memory they lie as
/// [panel][row][kPanel].
template <class Math, int kRows, int kColumns>
class Sums {
  using Unit = typename Math::Unit;
  using Input = typename Math::Input;
  using Term = typename Math::Term;

 public:
  HWY_INLINE void clear() {
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) at_[row][column] = hn::Zero(Floats());
    }
  }
  HWY_INLINE void load(const float* from) {
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) {
        at_[row][column] = hn::Load(Floats(), from + sum_offset(row, column));
      }
    }
  }
  HWY_INLINE void store(float* to) const {
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) {
        hn::Store(at_[row][column], Floats(), to + sum_offset(row, column));
      }
    }
  }

  /// Adds x[which] of every row (rows x_stride apart) times the units' part `which`. The weights
  /// are held while the rows pass.
  HWY_INLINE void add_by_row(const Input* x, std::int64_t x_stride, const Unit* units,
                             std::int64_t panel_stride, int which) {
    Term weights[kColumns];
#pragma GCC unroll 16
    for (int column = 0; column < kColumns; ++column) {
      weights[column] = Math::term(Math::load(units + unit_offset(column, panel_stride)), which);
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      const Term value = Math::broadcast(x + row * x_stride + which);
#pragma GCC unroll 16
      for (int column = 0; column < kColumns; ++column) {
        at_[row][column] = Math::multiply_add(value, weights[column], at_[row][column]);
      }
    }
  }

  /// The same for all parts of the units. The values of x are held while the weights pass.
  HWY_INLINE void add_by_column(const Input* x, std::int64_t x_stride, const Unit* units,
                                std::int64_t panel_stride) {
    Term values[Math::kInputs][kRows];
#pragma GCC unroll 2
    for (int which = 0; which < Math::kInputs; ++which) {
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        values[which][row] = Math::broadcast(x + row * x_stride + which);
      }
    }
#pragma GCC unroll 16
    for (int column = 0; column < kColumns; ++column) {
      const auto loaded = Math::load(units + unit_offset(column, panel_stride));
#pragma GCC unroll 2
      for (int which = 0; which < Math::kInputs; ++which) {
        const Term weight = Math::term(loaded, which);
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          at_[row][column] = Math::multiply_add(values[which][row], weight, at_[row][column]);
        }
      }
    }
  }

 private:
  static HWY_INLINE std::int64_t sum_offset(int row, int column) {
    return (column / kVectors * kRows + row) * kPanel + column % kVectors * kLanes;
  }
  static HWY_INLINE std::int64_t unit_offset(int column, std::int64_t panel_stride) {
    return column / kVectors * panel_stride + column % kVectors * kLanes;
  }

  Vector at_[kRows][kColumns];
};

/// One row waits for its weights: asks for them earlier than the processor's own prefetching does.
/// What lies behind the end of a panel may be fetched in vain.
template <int kPanels, class Unit>
HWY_INLINE void fetch_ahead(const Unit* units, std::int64_t panel_stride) {
  constexpr std::int64_t kAhead = 2048;  // bytes
  constexpr std::int64_t kLine = 64;
  for (int panel = 0; panel < kPanels; ++panel) {
    const auto* from = reinterpret_cast<const char*>(units + panel * panel_stride) + kAhead;
    for (std::int64_t at = 0; at < kPanel * std::int64_t{sizeof(Unit)}; at += kLine) {
      __builtin_prefetch(from + at, 0, 3);
    }
  }
}

/// sums (+)= `inputs` columns of kRows rows of x times as much of kPanels neighbouring panels,
/// which are panel_stride units apart. With `resume` the sums go on from where they stood.
template <class Math, int kRows, int kPanels>
HWY_INLINE void multiply_tile(const typename Math::Input* HWY_RESTRICT x, std::int64_t x_stride,
                              const typename Math::Unit* HWY_RESTRICT units,
                              std::int64_t panel_stride, std::int64_t inputs, bool resume,
                              float* HWY_RESTRICT sums) {
  constexpr int kInputs = Math::kInputs;
  Sums<Math, kRows, kPanels * kVectors> registers;
  if (resume) {
    registers.load(sums);
  } else {
    registers.clear();
  }
  std::int64_t input = 0;
#pragma GCC unroll 2
  for (; input + kInputs <= inputs; input += kInputs) {
    if constexpr (kRows == 1) fetch_ahead<kPanels>(units, panel_stride);
    if constexpr (kRows <= 2) {
      registers.add_by_column(x + input, x_stride, units, panel_stride);
    } else {
#pragma GCC unroll 2
      for (int which = 0; which < kInputs; ++which) {
        // Hides that both parts of a unit come from the same place: keeping units beside the sums
        // takes more registers than there are, and spilling them costs a third.
        if (which > 0) asm("" : "+r"(units));
        registers.add_by_row(x + input, x_stride, units, panel_stride, which);
      }
    }
    units += kPanel;
  }
  if (input < inputs) registers.add_by_row(x + input, x_stride, units, panel_stride, 0);
  registers.store(sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#endif  // include guard
