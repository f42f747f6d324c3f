#include "kernels/ops/linear/cublaslt.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "kernels/cuda/runtime.h"
#include "kernels/ops/linear/cublaslt_library.h"

namespace fovea {
namespace {

Result<bool> recording(const Context& context) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  FOVEA_CUDA_CHECK(cudaStreamIsCapturing(stream_of(context), &status));
  return status != cudaStreamCaptureStatusNone;
}

AlgorithmWords words_of(const cublasLtMatmulAlgo_t& algorithm) {
  AlgorithmWords words;
  static_assert(sizeof(algorithm.data) == sizeof(words));
  std::copy(std::begin(algorithm.data), std::end(algorithm.data), words.begin());
  return words;
}

/// A product's place in memory, for those that are timed.
struct Operands {
  ConstTensorView weight, x;
  const void* bias;
};

/// What all products of a bucket share: the row counts up to bucket.rows, and addresses at least as
/// aligned as any of its algorithms asks for.
ProductKey bucket_of(ProductKey key) {
  constexpr std::uint32_t kEnough = 16;
  key.rows = bucket_end(key.rows);
  for (std::uint32_t* alignment : {&key.weight_alignment, &key.x_alignment, &key.y_alignment}) {
    *alignment = std::min(*alignment, kEnough);
  }
  return key;
}

/// The algorithm that the table has for a bucket, as the library proposes it; nothing where it does
/// not.
std::optional<cublasLtMatmulAlgo_t> kept_algorithm(const CublasLibrary& library,
                                                   const ProductKey& bucket,
                                                   const CublasProduct& described,
                                                   const AlgorithmWords& words) {
  // What a file says goes to the library only where the library has proposed the same. Among its
  // first proposals another process may find others.
  for (const int count : {kCublasCandidates, 32 * kCublasCandidates}) {
    const auto candidates = algorithm_candidates(library.handle, bucket, described, count);
    if (!candidates) return std::nullopt;
    for (const cublasLtMatmulAlgo_t& candidate : *candidates) {
      if (words_of(candidate) == words) return candidate;
    }
  }
  return std::nullopt;
}

/// Times a product of `rows` rows and brings the table up to date.
Status tune(Context& context, CublasLibrary& library, const ProductKey& bucket, std::int64_t rows,
            const Operands& operands, const CublasProduct& described) {
  const auto known = library.table.products.find(bucket);
  if (!library.tuned.contains(bucket)) {
    FOVEA_TRY(const auto candidates,
              algorithm_candidates(library.handle, bucket, described, kCublasCandidates));
    FOVEA_TRY(const auto found, tune_product(context, library.handle, bucket, rows, operands.weight,
                                             operands.x, candidates));
    library.tuned.insert(bucket);
    const bool room = library.table.products.size() < AlgorithmTable::kMaxProducts;
    if (known == library.table.products.end() && !room) return {};
    KeptAlgorithm& kept = library.table.products[bucket];
    kept = {std::nullopt, rows, rows};
    if (found) kept = {words_of(found->algorithm), found->least, found->most};
  } else {
    if (known == library.table.products.end()) return {};
    KeptAlgorithm& kept = known->second;
    if (!kept.words || (rows >= kept.least && rows <= kept.most)) return {};
    ProductKey key = bucket;
    key.rows = rows;
    const auto algorithm = kept_algorithm(library, bucket, described, *kept.words);
    if (!algorithm) return {};
    FOVEA_TRY(const bool holds,
              beats_library(context, library.handle, key, operands.weight, operands.x, *algorithm));
    if (!holds) return {};
    kept.least = std::min(kept.least, rows);
    kept.most = std::max(kept.most, rows);
  }
  return write_algorithm_table(library.path, library.table);
}

/// What the table has for a product, after timing it where that is asked for; nothing: the library
/// may choose.
Result<std::optional<cublasLtMatmulAlgo_t>> tabled_algorithm(Context& context,
                                                             CublasLibrary& library,
                                                             const ProductKey& key,
                                                             const CublasProduct& described,
                                                             const Operands& operands, bool timed) {
  const ProductKey bucket = bucket_of(key);
  const std::optional<cublasLtMatmulAlgo_t> own;
  if (!timed && (library.autotune || !library.table.products.contains(bucket))) return own;
  CublasProduct whole;
  FOVEA_CHECK(describe_product(bucket, operands.bias, whole));
  if (timed) {
    const Status tuned = tune(context, library, bucket, key.rows, operands, whole);
    if (!tuned && tuned.error().code != ErrorCode::unsupported) return tuned.error();
  }
  const auto known = library.table.products.find(bucket);
  if (known == library.table.products.end()) return own;
  const KeptAlgorithm& kept = known->second;
  if (!kept.words || key.rows < kept.least || key.rows > kept.most) return own;
  const auto algorithm = kept_algorithm(library, bucket, whole, *kept.words);
  if (!algorithm || !algorithm_fits(library.handle, described, *algorithm)) return own;
  return algorithm;
}

Result<cublasLtMatmulAlgo_t> find_algorithm(Context& context, CublasLibrary& library,
                                            const ProductKey& key, const CublasProduct& described,
                                            const Operands& operands) {
  if (const auto known = library.resolved.find(key); known != library.resolved.end()) {
    return known->second;
  }
  FOVEA_TRY(const bool recorded, recording(context));
  const bool timed = library.autotune && !recorded;
  FOVEA_TRY(std::optional<cublasLtMatmulAlgo_t> chosen,
            tabled_algorithm(context, library, key, described, operands, timed));
  if (!chosen) {
    FOVEA_TRY(const auto own, algorithm_candidates(library.handle, key, described, 1));
    chosen = own.front();
  }
  // While work is recorded nothing can be timed: the next product of the kind shall be.
  if (!library.autotune || timed) library.resolved.emplace(key, *chosen);
  return *chosen;
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
  const ProductKey key{.rows = x.rows(),
                       .inputs = weight.shape[1],
                       .outputs = weight.shape[0],
                       .x_stride = stride(x),
                       .y_stride = stride(y),
                       .x = x.dtype,
                       .y = y.dtype,
                       .accumulate = accumulate,
                       .bias = !bias.empty(),
                       .weight_alignment = alignment(weight),
                       .x_alignment = alignment(x),
                       .y_alignment = alignment(y)};
  CublasProduct described;
  FOVEA_CHECK(describe_product(key, bias.data, described));
  CublasLibrary& library = cublas_library(context.device.index);
  cublasLtMatmulAlgo_t algorithm;
  {
    const std::lock_guard lock(library.mutex);
    if (library.handle == nullptr) FOVEA_CUBLAS_CHECK(cublasLtCreate(&library.handle));
    FOVEA_TRY(algorithm, find_algorithm(context, library, key, described, {weight, x, bias.data}));
  }
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(
      const TensorView scratch,
      context.workspace.take({static_cast<std::int64_t>(kCublasWorkspaceBytes) + 256}, DType::u8));
  const auto address = (reinterpret_cast<std::uintptr_t>(scratch.data) + 255) / 256 * 256;
  const float one = 1.0f, beta = accumulate ? 1.0f : 0.0f;
  FOVEA_CUBLAS_CHECK(cublasLtMatmul(
      library.handle, &described.product, &one, weight.data, &described.weight, x.data,
      &described.x, &beta, y.data, &described.y, y.data, &described.y, &algorithm,
      reinterpret_cast<void*>(address), kCublasWorkspaceBytes, stream_of(context)));
  return {};
}

}  // namespace fovea
