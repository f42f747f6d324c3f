#include <array>
#include <utility>

#include "kernels/device.h"
#include "kernels/ops/linear/cublaslt_library.h"

namespace fovea {
namespace {

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

}  // namespace

Error cublas_error(cublasStatus_t status, const char* what) {
  ErrorCode code = ErrorCode::device;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) code = ErrorCode::out_of_memory;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) code = ErrorCode::unsupported;
  return make_error(code, std::string(what) + ": " + cublasLtGetStatusString(status))
      .with_remedy("Try again; if it stays so, use --device cpu");
}

CublasLibrary& cublas_library(int device) {
  static std::mutex mutex;
  static auto& libraries = *new std::map<int, CublasLibrary>();
  const std::lock_guard lock(mutex);
  return libraries[device];
}

Status describe_product(const ProductKey& key, const void* bias, CublasProduct& made) {
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

Result<std::vector<cublasLtMatmulAlgo_t>> algorithm_candidates(cublasLtHandle_t handle,
                                                               const ProductKey& key,
                                                               const CublasProduct& described,
                                                               int count) {
  cublasLtMatmulPreferenceOpaque_t preference;
  FOVEA_CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
  FOVEA_CUBLAS_CHECK(
      cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                           &kCublasWorkspaceBytes, sizeof(kCublasWorkspaceBytes)));
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
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<std::size_t>(count));
  int offered = 0;
  // The library's functions take descriptions without const, and only read them.
  CublasProduct given = described;
  FOVEA_CUBLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(handle, &given.product, &given.weight, &given.x,
                                                    &given.y, &given.y, &preference, count,
                                                    found.data(), &offered));
  std::vector<cublasLtMatmulAlgo_t> candidates;
  for (int i = 0; i < offered; ++i) {
    const auto& one = found[static_cast<std::size_t>(i)];
    if (one.state == CUBLAS_STATUS_SUCCESS) candidates.push_back(one.algo);
  }
  if (candidates.empty()) {
    return make_error(ErrorCode::unsupported, "cuBLASLt has no product of " + key.to_string());
  }
  return candidates;
}

bool algorithm_fits(cublasLtHandle_t handle, const CublasProduct& described,
                    const cublasLtMatmulAlgo_t& algorithm) {
  CublasProduct given = described;
  cublasLtMatmulHeuristicResult_t needs{};
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(
      handle, &given.product, &given.weight, &given.x, &given.y, &given.y, &algorithm, &needs);
  return status == CUBLAS_STATUS_SUCCESS && needs.state == CUBLAS_STATUS_SUCCESS &&
         needs.workspaceSize <= kCublasWorkspaceBytes;
}

Status use_cublaslt_table(int device, bool autotune) {
  FOVEA_TRY(const DeviceInfo info, cuda_device_info(device));
  AlgorithmTable table{.card = info.name, .library = cublasLtGetVersion(), .products = {}};
  const std::string folder = algorithm_cache_folder();
  if (folder.empty() && autotune) {
    return make_error(ErrorCode::usage, "there is no folder for the table of algorithms")
        .in_field("--autotune")
        .with_remedy("Name one in the environment as FOVEA_CACHE");
  }
  const std::string path =
      folder.empty() ? "" : algorithm_table_path(folder, table.card, table.library);
  CublasLibrary& library = cublas_library(device);
  const std::lock_guard lock(library.mutex);
  if (!library.table.card.empty() && library.path == path && library.autotune == autotune) {
    return {};
  }
  bool from_file = false;
  if (!path.empty()) {
    auto read = read_algorithm_table(path, table.card, table.library);
    if (!read && !autotune) return std::move(read).error();
    from_file = read && read->has_value();
    if (from_file) table = std::move(**read);
    // Better now than after the first product was timed.
    if (autotune) FOVEA_CHECK(write_algorithm_table(path, table));
  }
  library.autotune = autotune;
  library.path = path;
  library.from_file = from_file;
  library.table = std::move(table);
  library.tuned.clear();
  library.resolved.clear();
  return {};
}

std::string cublaslt_note(int device) {
  CublasLibrary& library = cublas_library(device);
  const std::lock_guard lock(library.mutex);
  const std::string count = std::to_string(library.table.products.size());
  if (library.autotune) return "matrix products are timed; the fastest go into " + library.path;
  if (library.from_file) {
    return "matrix products as timed before: " + count + " of them in " + library.path;
  }
  return "matrix products by cuBLASLt's own choice; no table for this card and version" +
         (library.path.empty() ? std::string() : " at " + library.path);
}

}  // namespace fovea
