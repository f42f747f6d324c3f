#include <cudaTypedefs.h>

#include "kernels/cuda/tensor_map.h"

namespace fovea {
namespace {

/// The driver's function that makes descriptions; null where this driver has none.
Result<void*> encode_function() {
  constexpr unsigned kSince = 12000;  // the version of CUDA that has it as it is called here
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  FOVEA_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince,
                                                    cudaEnableDefault, &found));
  return found == cudaDriverEntryPointSuccess ? function : nullptr;
}

}  // namespace

Result<bool> describe_tiles(ConstTensorView matrix, int tile_rows, CUtensorMap& map) {
  static const Result<void*> function = encode_function();
  if (!function) return function.error();
  if (*function == nullptr) return false;
  const auto encode = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(*function);
  const std::int64_t stride = matrix.rows() > 1 ? matrix.row_stride : matrix.inner_elements();
  const auto u = [](std::int64_t value) { return static_cast<cuuint64_t>(value); };
  const cuuint64_t sizes[2] = {u(matrix.inner_elements()), u(matrix.rows())};
  const cuuint64_t bytes[1] = {u(stride) * dtype_size(matrix.dtype)};
  constexpr cuuint32_t kTileColumns = 64;
  const cuuint32_t tile[2] = {kTileColumns, static_cast<cuuint32_t>(tile_rows)}, steps[2] = {1, 1};
  const CUresult done = encode(
      &map,
      matrix.dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
      2, const_cast<std::byte*>(matrix.data), sizes, bytes, tile, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return done == CUDA_SUCCESS;
}

}  // namespace fovea
