#include "kernels/ops/linear/packed_weight.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/base/parallel.h"

namespace fovea {
namespace {

// Inputs per pass over the rows of a panel: such a block of rows stays in the L1 cache while it is
// transposed.
constexpr std::int64_t kBlockInputs = 128;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Asks for 2 MiB pages. Weights are read front to back, and the processor's prefetching stops at
/// page ends: with 4 KiB pages one thread reads a third slower. Only a wish, so no error.
void prefer_huge_pages(Tensor& tensor) {
  auto begin = reinterpret_cast<std::uintptr_t>(tensor.view().data);
  const std::uintptr_t end = (begin + tensor.bytes()) / kHugePage * kHugePage;
  begin = (begin + kHugePage - 1) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

/// Transposes 32-bit units (one f32 input or two bf16 inputs) from [panel][kBlockInputs inputs] to
/// [units][panel].
void interleave(const std::byte* from, std::int64_t row_bytes, std::int64_t panel,
                std::int64_t units, std::byte* to) {
  for (std::int64_t unit = 0; unit < units; ++unit) {
    for (std::int64_t output = 0; output < panel; ++output) {
      std::memcpy(to + (unit * panel + output) * 4, from + output * row_bytes + unit * 4, 4);
    }
  }
}

}  // namespace

Result<PackedWeight> pack_weight(Context& context, ConstTensorView weight, LinearDType dtype) {
  PackedWeight packed;
  packed.outputs = weight.shape[0];
  packed.inputs = weight.shape[1];
  packed.panel = panel_outputs();
  packed.dtype = dtype;
  const bool pairs = dtype == LinearDType::bf16;
  const DType stored = pairs ? DType::bf16 : DType::f32;
  const std::int64_t multiple = input_multiple(dtype);
  packed.padded_inputs = (packed.inputs + multiple - 1) / multiple * multiple;
  FOVEA_TRY(packed.data,
            Tensor::allocate({packed.panels(), packed.padded_inputs, packed.panel}, stored));
  prefer_huge_pages(packed.data);

  const std::int64_t panel = packed.panel;
  const int threads = std::max(context.threads, 1);
  Workspace::Scope scope(context.workspace);
  // Two blocks per thread: rows as stored, and rows converted.
  FOVEA_TRY(const TensorView raw,
            context.workspace.take({threads, panel, kBlockInputs}, weight.dtype));
  FOVEA_TRY(const TensorView converted,
            context.workspace.take({threads, panel, kBlockInputs}, stored));
  const auto element = static_cast<std::int64_t>(dtype_size(weight.dtype));
  std::atomic<bool> failed = false;

  parallel_for(threads, threads, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t worker = first; worker < last; ++worker) {
      const TensorView source = raw.slice(worker, 1);
      const TensorView target = converted.slice(worker, 1);
      const std::int64_t begin = packed.panels() * worker / threads;
      const std::int64_t end = packed.panels() * (worker + 1) / threads;
      for (std::int64_t index = begin; index < end; ++index) {
        for (std::int64_t input = 0; input < packed.padded_inputs; input += kBlockInputs) {
          const std::int64_t width = std::min(kBlockInputs, packed.padded_inputs - input);
          const std::int64_t given = std::clamp<std::int64_t>(packed.inputs - input, 0, width);
          std::memset(source.data, 0, static_cast<std::size_t>(panel * kBlockInputs) * element);
          const std::int64_t outputs = std::min(panel, packed.outputs - index * panel);
          for (std::int64_t output = 0; output < outputs; ++output) {
            const std::int64_t offset = (index * panel + output) * packed.inputs + input;
            std::memcpy(source.data + static_cast<std::size_t>(output * kBlockInputs) * element,
                        weight.data + static_cast<std::size_t>(offset) * element,
                        static_cast<std::size_t>(given) * element);
          }
          if (!convert(source, target)) failed = true;
          const auto size = static_cast<std::int64_t>(dtype_size(stored));
          interleave(
              target.data, kBlockInputs * size, panel, width * size / 4,
              packed.data.view().data + (index * packed.padded_inputs + input) * panel * size);
        }
      }
    }
  });
  if (failed) {
    return make_error(ErrorCode::unsupported,
                      std::string("a weight of type ") + dtype_name(weight.dtype));
  }
  return packed;
}

}  // namespace fovea
