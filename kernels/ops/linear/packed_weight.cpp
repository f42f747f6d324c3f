#include "kernels/ops/linear/packed_weight.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/base/parallel.h"

namespace fovea {
namespace {

// Inputs per pass over the rows of a panel: such a block of rows stays in the L1 cache while it is
// transposed.
constexpr std::int64_t kBlockInputs = 128;
constexpr std::int64_t kUnitBytes = 4;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// What inputs are filled up to: whole units, and for AVX512_BF16 the blocks of oneDNN's layout.
std::int64_t input_multiple(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::f32:
      return 1;
    case Arithmetic::bf16:
      return 2;
    case Arithmetic::bf16_dot:
      return 32;
  }
  return 1;
}

/// Transposes 32-bit units (one f32 input or two bf16 inputs) from [panel][kBlockInputs inputs] to
/// [units][panel].
void interleave(const std::byte* from, std::int64_t row_bytes, std::int64_t panel,
                std::int64_t units, std::byte* to) {
  for (std::int64_t unit = 0; unit < units; ++unit) {
    for (std::int64_t output = 0; output < panel; ++output) {
      std::memcpy(to + (unit * panel + output) * kUnitBytes,
                  from + output * row_bytes + unit * kUnitBytes, kUnitBytes);
    }
  }
}

/// Fills one panel of `packed`. raw, converted: scratch for [panel, kBlockInputs], in the type of
/// the weight and of the panel.
Status pack_panel(ConstTensorView weight, PackedWeight& packed, std::int64_t index, TensorView raw,
                  TensorView converted) {
  const std::int64_t panel = packed.panel;
  const std::int64_t outputs = std::min(panel, packed.outputs - index * panel);
  const auto from_size = static_cast<std::int64_t>(dtype_size(raw.dtype));
  const auto to_size = static_cast<std::int64_t>(dtype_size(converted.dtype));
  for (std::int64_t input = 0; input < packed.padded_inputs; input += kBlockInputs) {
    const std::int64_t width = std::min(kBlockInputs, packed.padded_inputs - input);
    const std::int64_t given = std::clamp<std::int64_t>(packed.inputs - input, 0, width);
    std::memset(raw.data, 0, static_cast<std::size_t>(panel * kBlockInputs * from_size));
    for (std::int64_t output = 0; output < outputs; ++output) {
      const std::int64_t element = (index * panel + output) * packed.inputs + input;
      std::memcpy(raw.data + output * kBlockInputs * from_size, weight.data + element * from_size,
                  static_cast<std::size_t>(given * from_size));
    }
    FOVEA_CHECK(convert(raw, converted));
    interleave(converted.data, kBlockInputs * to_size, panel, width * to_size / kUnitBytes,
               packed.data.view().data + (index * packed.padded_inputs + input) * panel * to_size);
  }
  return {};
}

}  // namespace

void prefer_huge_pages(Tensor& tensor) {
  auto begin = reinterpret_cast<std::uintptr_t>(tensor.view().data);
  const std::uintptr_t end = (begin + tensor.bytes()) / kHugePage * kHugePage;
  begin = (begin + kHugePage - 1) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

Result<PackedWeight> pack_weight(Context& context, ConstTensorView weight, Arithmetic arithmetic) {
  PackedWeight packed;
  packed.outputs = weight.shape[0];
  packed.inputs = weight.shape[1];
  packed.panel = packed_layout().panel;
  packed.arithmetic = arithmetic;
  const DType stored = arithmetic == Arithmetic::f32 ? DType::f32 : DType::bf16;
  const std::int64_t multiple = input_multiple(arithmetic);
  packed.padded_inputs = (packed.inputs + multiple - 1) / multiple * multiple;
  FOVEA_TRY(packed.data,
            Tensor::allocate({packed.panels(), packed.padded_inputs, packed.panel}, stored));
  prefer_huge_pages(packed.data);

  const int workers = std::max(context.threads, 1);
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView raw,
            context.workspace.take({workers, packed.panel, kBlockInputs}, weight.dtype));
  FOVEA_TRY(const TensorView converted,
            context.workspace.take({workers, packed.panel, kBlockInputs}, stored));
  std::vector<Status> states(static_cast<std::size_t>(workers));
  parallel_for(workers, workers, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t worker = first; worker < last; ++worker) {
      const std::int64_t begin = packed.panels() * worker / workers;
      const std::int64_t end = packed.panels() * (worker + 1) / workers;
      Status& state = states[static_cast<std::size_t>(worker)];
      for (std::int64_t index = begin; index < end && state; ++index) {
        state = pack_panel(weight, packed, index, raw.slice(worker, 1), converted.slice(worker, 1));
      }
    }
  });
  for (Status& state : states) FOVEA_CHECK(std::move(state));
  return packed;
}

}  // namespace fovea
