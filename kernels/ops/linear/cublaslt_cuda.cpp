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

/// The algorithm of a whole bucket: timed now, or from the table.
Result<cublasLtMatmulAlgo_t> bucket_algorithm(Context& context, CublasLibrary& library,
                                              const ProductKey& bucket, const Operands& operands,
                                              bool tune) {
  CublasProduct described;
  FOVEA_CHECK(describe_product(bucket, operands.bias, described));
  const auto kept = library.table.products.find(bucket);
  const bool known = kept != library.table.products.end();
  FOVEA_TRY(auto candidates, algorithm_candidates(library.handle, bucket, described,
                                                  tune || known ? kCublasCandidates : 1));
  if (tune && !library.tuned.contains(bucket)) {
    FOVEA_TRY(const std::size_t best, fastest_candidate(context, library.handle, bucket,
                                                        operands.weight, operands.x, candidates));
    library.tuned.insert(bucket);
    if (known || library.table.products.size() < AlgorithmTable::kMaxProducts) {
      library.table.products[bucket] = words_of(candidates[best]);
      FOVEA_CHECK(write_algorithm_table(library.path, library.table));
    }
    return candidates[best];
  }
  if (!known) return candidates.front();
  // What a file says goes to the library only where the library has proposed the same.
  for (const cublasLtMatmulAlgo_t& candidate : candidates) {
    if (words_of(candidate) == kept->second &&
        algorithm_fits(library.handle, described, candidate)) {
      return candidate;
    }
  }
  if (library.autotune) return candidates.front();
  return make_error(ErrorCode::bad_input, "the algorithm kept for a product of " +
                                              bucket.to_string() +
                                              " is none that cuBLASLt offers for it")
      .in_file(library.path)
      .in_field("algorithm")
      .with_remedy("Remove the file, or run with --autotune, which replaces it");
}

Result<cublasLtMatmulAlgo_t> find_algorithm(Context& context, CublasLibrary& library,
                                            const ProductKey& key, const CublasProduct& described,
                                            const Operands& operands) {
  if (const auto known = library.resolved.find(key); known != library.resolved.end()) {
    return known->second;
  }
  FOVEA_TRY(const bool recorded, recording(context));
  const bool tune = library.autotune && !recorded;
  const ProductKey bucket = bucket_of(key);
  std::optional<cublasLtMatmulAlgo_t> chosen;
  if (tune || library.table.products.contains(bucket)) {
    auto found = bucket_algorithm(context, library, bucket, operands, tune);
    if (!found && found.error().code != ErrorCode::unsupported) return found;
    if (found && algorithm_fits(library.handle, described, *found)) chosen = *found;
  }
  if (!chosen) {
    FOVEA_TRY(auto own, algorithm_candidates(library.handle, key, described, 1));
    chosen = own.front();
  }
  // While work is recorded nothing can be timed: the next product of the kind shall be.
  if (!(library.autotune && recorded)) library.resolved.emplace(key, *chosen);
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
