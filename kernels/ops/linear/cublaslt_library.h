#pragma once
// What the files of cuBLASLt's products share: descriptions, candidates, and what is kept per
// device. For the sources of this folder alone, in builds with CUDA.

#include <cublasLt.h>

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/linear/algorithm_table.h"

namespace fovea {

inline constexpr std::size_t kCublasWorkspaceBytes = std::size_t{32} << 20;
/// How many of the library's proposals are timed; a table's algorithm is one of them.
inline constexpr int kCublasCandidates = 32;

Error cublas_error(cublasStatus_t status, const char* what);

/// One per device, for the life of the process.
struct CublasLibrary {
  std::mutex mutex;  // over everything here
  cublasLtHandle_t handle = nullptr;
  bool autotune = false;
  std::string path;        // of the table; empty before use_algorithm_table() and without a folder
  bool from_file = false;  // the table was read
  AlgorithmTable table;
  std::set<ProductKey> tuned;                           // buckets timed by this process
  std::map<ProductKey, cublasLtMatmulAlgo_t> resolved;  // by the rows as they are
};
CublasLibrary& cublas_library(int device);

/// In cuBLAS's column-major eyes: y^T [outputs, rows] = W [outputs, inputs] x^T [inputs, rows].
struct CublasProduct {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t weight, x, y;
};
Status describe_product(const ProductKey& key, const void* bias, CublasProduct& made);

/// The library's proposals, the one it holds best first; at least one. Errors: unsupported.
Result<std::vector<cublasLtMatmulAlgo_t>> algorithm_candidates(cublasLtHandle_t handle,
                                                               const ProductKey& key,
                                                               const CublasProduct& described,
                                                               int count);

/// Whether the algorithm makes this product within the workspace.
bool algorithm_fits(cublasLtHandle_t handle, const CublasProduct& described,
                    const cublasLtMatmulAlgo_t& algorithm);

/// An algorithm that makes products of `least` to `most` rows sooner than the library's own choice.
struct TunedProduct {
  cublasLtMatmulAlgo_t algorithm;
  std::int64_t least = 0, most = 0;
};
/// The candidate that makes products of `rows` rows soonest, as x (of that many) and the weight lie
/// in memory, among those whose results are float32 sums with the bias, rounded once; and how much
/// of the bucket it holds for. Nothing where the library's own choice for these rows is as fast, or
/// where there is no room to try. Writes to neither. Waits for the device. Errors: unsupported when
/// no candidate's results are that, device.
Result<std::optional<TunedProduct>> tune_product(
    Context& context, cublasLtHandle_t handle, const ProductKey& bucket, std::int64_t rows,
    ConstTensorView weight, ConstTensorView x, const std::vector<cublasLtMatmulAlgo_t>& candidates);

/// Whether an algorithm so found is no slower than the library's own choice for other rows too.
Result<bool> beats_library(Context& context, cublasLtHandle_t handle, const ProductKey& key,
                           ConstTensorView weight, ConstTensorView x,
                           const cublasLtMatmulAlgo_t& algorithm);

}  // namespace fovea

#define FOVEA_CUBLAS_CHECK(call)                                                             \
  do {                                                                                       \
    if (const cublasStatus_t fovea_status = (call); fovea_status != CUBLAS_STATUS_SUCCESS) { \
      return ::fovea::cublas_error(fovea_status, #call);                                     \
    }                                                                                        \
  } while (false)
