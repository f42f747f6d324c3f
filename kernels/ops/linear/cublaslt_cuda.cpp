#include "kernels/ops/linear/cublaslt.h"

#include <cublasLt.h>

#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

Error cublas_error(cublasStatus_t status, const char* what) {
  ErrorCode code = ErrorCode::device;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) code = ErrorCode::out_of_memory;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) code = ErrorCode::unsupported;
  return make_error(code, std::string(what) + ": " + cublasLtGetStatusString(status))
      .with_remedy("Try again; if it stays so, use --device cpu");
}

#define FOVEA_CUBLAS_CHECK(call)                                                             \
  do {                                                                                       \
    if (const cublasStatus_t fovea_status = (call); fovea_status != CUBLAS_STATUS_SUCCESS) { \
      return cublas_error(fovea_status, #call);                                              \
    }                                                                                        \
  } while (false)

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return CUDA_R_16F;
    case DType::bf16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_32F;
  }
}

/// What the choice of an algorithm depends on.
struct Case {
  std::int64_t rows, inputs, outputs, x_stride, y_stride;
  DType x, y;
  bool accumulate, bias;
  std::uint32_t weight_alignment, x_alignment, y_alignment;  // of the addresses, at most 256

  auto tied() const {
    return std::tie(rows, inputs, outputs, x_stride, y_stride, x, y, accumulate, bias,
                    weight_alignment, x_alignment, y_alignment);
  }
  bool operator<(const Case& other) const { return tied() < other.tied(); }
};

/// One per device, for the life of the process.
struct Library {
  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  std::map<Case, cublasLtMatmulAlgo_t> algorithms;
};

Library& library_of(int device) {
  static std::mutex mutex;
  static auto& libraries = *new std::map<int, Library>();
  const std::lock_guard lock(mutex);
  return libraries[device];
}

struct Description {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t weight, x, y;
};

/// In cuBLAS's column-major eyes: y^T [outputs, rows] = W [outputs, inputs] x^T [inputs, rows].
Status describe(const Case& key, const void* bias, Description& made) {
  const cudaDataType_t in = data_type(key.x), out = data_type(key.y);
  FOVEA_CUBLAS_CHECK(cublasLtMatmulDescInit(&made.product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  FOVEA_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(&made.product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                    &transposed, sizeof(transposed)));
  if (key.bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    FOVEA_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(&made.product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                      &epilogue, sizeof(epilogue)));
    FOVEA_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(
        &made.product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &out, sizeof(out)));
    FOVEA_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(&made.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                       static_cast<const void*>(&bias), sizeof(bias)));
  }
  const auto inputs = static_cast<std::uint64_t>(key.inputs);
  const auto outputs = static_cast<std::uint64_t>(key.outputs);
  const auto rows = static_cast<std::uint64_t>(key.rows);
  FOVEA_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&made.weight, in, inputs, outputs, key.inputs));
  FOVEA_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&made.x, in, inputs, rows, key.x_stride));
  FOVEA_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&made.y, out, outputs, rows, key.y_stride));
  return {};
}

Result<cublasLtMatmulAlgo_t> find_algorithm(Library& library, const Case& key,
                                            Description& described) {
  if (const auto known = library.algorithms.find(key); known != library.algorithms.end()) {
    return known->second;
  }
  cublasLtMatmulPreferenceOpaque_t preference;
  FOVEA_CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
  FOVEA_CUBLAS_CHECK(
      cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                           &kWorkspaceBytes, sizeof(kWorkspaceBytes)));
  for (const auto& [attribute, alignment] :
       {std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.weight_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.x_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.y_alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.y_alignment}}) {
    FOVEA_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &alignment,
                                                            sizeof(alignment)));
  }
  // Sums whose parts are made apart are added in float32, not in the type of the result.
  constexpr std::uint32_t kReductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  FOVEA_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(
      &preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &kReductions, sizeof(kReductions)));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  FOVEA_CUBLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(library.handle, &described.product,
                                                    &described.weight, &described.x, &described.y,
                                                    &described.y, &preference, 1, &found, &count));
  if (count < 1) {
    return make_error(ErrorCode::unsupported,
                      "cuBLASLt has no product of " + std::to_string(key.rows) +
                          " rows for a weight [" + std::to_string(key.outputs) + ", " +
                          std::to_string(key.inputs) + "] in " + dtype_name(key.x));
  }
  library.algorithms.emplace(key, found.algo);
  return found.algo;
}

}  // namespace

Status cublaslt_product(Context& context, ConstTensorView weight, ConstTensorView x,
                        ConstTensorView bias, TensorView y, bool accumulate) {
  const auto stride = [](ConstTensorView view) {
    return view.rows() > 1 ? view.row_stride : view.inner_elements();
  };
  const auto alignment = [](ConstTensorView view) {
    const auto address = reinterpret_cast<std::uintptr_t>(view.data) | 256u;
    return static_cast<std::uint32_t>(address & (~address + 1));
  };
  const Case key{x.rows(),      weight.shape[1],   weight.shape[0], stride(x),
                 stride(y),     x.dtype,           y.dtype,         accumulate,
                 !bias.empty(), alignment(weight), alignment(x),    alignment(y)};
  Description described;
  FOVEA_CHECK(describe(key, bias.data, described));
  Library& library = library_of(context.device.index);
  cublasLtMatmulAlgo_t algorithm;
  {
    const std::lock_guard lock(library.mutex);
    if (library.handle == nullptr) FOVEA_CUBLAS_CHECK(cublasLtCreate(&library.handle));
    FOVEA_TRY(algorithm, find_algorithm(library, key, described));
  }
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView scratch,
            context.workspace.take({static_cast<std::int64_t>(kWorkspaceBytes) + 256}, DType::u8));
  const auto address = (reinterpret_cast<std::uintptr_t>(scratch.data) + 255) / 256 * 256;
  const float one = 1.0f, beta = accumulate ? 1.0f : 0.0f;
  FOVEA_CUBLAS_CHECK(cublasLtMatmul(
      library.handle, &described.product, &one, weight.data, &described.weight, x.data,
      &described.x, &beta, y.data, &described.y, y.data, &described.y, &algorithm,
      reinterpret_cast<void*>(address), kWorkspaceBytes, stream_of(context)));
  return {};
}

}  // namespace fovea
