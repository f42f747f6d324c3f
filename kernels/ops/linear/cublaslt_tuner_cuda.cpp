#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/cuda/runtime.h"
#include "kernels/ops/linear/cublaslt_library.h"

namespace fovea {
namespace {

constexpr std::size_t kRounds = 5;
constexpr std::int64_t kCheckedRows = 16;
constexpr std::int64_t kSlack = 512;  // room to place a block as the original lies
constexpr float kNever = std::numeric_limits<float>::max();
// What an algorithm must take at most of the time of the library's own choice: less of a difference
// is not worth leaving that.
constexpr float kGain = 0.985f;

struct Events {
  std::array<cudaEvent_t, 2> at{};
  ~Events() {
    for (const cudaEvent_t event : at) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
};

std::byte* placed(const Tensor& block, std::uint32_t alignment = 256) {
  const auto address = (reinterpret_cast<std::uintptr_t>(block.view().data) + 255) / 256 * 256;
  return reinterpret_cast<std::byte*>(address + (alignment < 16 ? alignment : 0));
}

/// Copies of what a product touches, so that nothing of the caller's is written.
struct Scratch {
  Tensor x, y, bias, workspace, flush;

  Status allocate(const ProductKey& key, Device device) {
    const auto take = [device](Tensor& block, std::int64_t bytes) -> Status {
      FOVEA_TRY(block, Tensor::allocate({bytes + kSlack}, DType::u8, device));
      return {};
    };
    const auto bytes = [&](std::int64_t stride, DType type) {
      return key.rows * stride * static_cast<std::int64_t>(dtype_size(type));
    };
    int cache = 0;
    FOVEA_CUDA_CHECK(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, device.index));
    FOVEA_CHECK(take(x, bytes(key.x_stride, key.x)));
    FOVEA_CHECK(
        take(y, std::max(bytes(key.y_stride, key.y),
                         kCheckedRows * key.outputs * static_cast<std::int64_t>(sizeof(float)))));
    FOVEA_CHECK(take(bias, key.outputs * static_cast<std::int64_t>(sizeof(float))));
    FOVEA_CHECK(take(workspace, static_cast<std::int64_t>(kCublasWorkspaceBytes)));
    return take(flush, std::int64_t{2} * cache);
  }
};

/// The rows of x, again and again, until all of the bucket's are there.
Status fill(const ProductKey& bucket, ConstTensorView x, std::byte* to, cudaStream_t stream) {
  const std::size_t size = dtype_size(bucket.x);
  const std::size_t pitch = static_cast<std::size_t>(bucket.x_stride) * size;
  for (std::int64_t row = 0; row < bucket.rows; row += x.rows()) {
    const auto count = static_cast<std::size_t>(std::min(x.rows(), bucket.rows - row));
    FOVEA_CUDA_CHECK(cudaMemcpy2DAsync(to + static_cast<std::size_t>(row) * pitch, pitch, x.data,
                                       pitch, static_cast<std::size_t>(bucket.inputs) * size, count,
                                       cudaMemcpyDeviceToDevice, stream));
  }
  return {};
}

/// One kind of product and where it is tried.
class Trial {
 public:
  Trial(cublasLtHandle_t handle, const ProductKey& key, const Scratch& scratch,
        ConstTensorView weight, cudaStream_t stream)
      : handle_(handle),
        key_(key),
        weight_(weight.data),
        x_(placed(scratch.x, key.x_alignment)),
        y_(placed(scratch.y, key.y_alignment)),
        workspace_(placed(scratch.workspace)),
        stream_(stream) {}

  Status describe(const std::byte* bias) { return describe_product(key_, bias, described_); }
  const CublasProduct& described() const { return described_; }

  cublasStatus_t run(const cublasLtMatmulAlgo_t& algorithm) {
    const float one = 1.0f, beta = key_.accumulate ? 1.0f : 0.0f;
    return cublasLtMatmul(handle_, &described_.product, &one, weight_, &described_.weight, x_,
                          &described_.x, &beta, y_, &described_.y, y_, &described_.y, &algorithm,
                          workspace_, kCublasWorkspaceBytes, stream_);
  }

  /// y's first rows, side by side.
  Result<std::vector<float>> first_rows(std::int64_t rows) const {
    const std::size_t size = dtype_size(key_.y);
    const auto width = static_cast<std::size_t>(key_.outputs) * size;
    const auto count = static_cast<std::size_t>(rows);
    std::vector<std::byte> raw(count * width);
    FOVEA_CUDA_CHECK(cudaMemcpy2DAsync(raw.data(), width, y_,
                                       static_cast<std::size_t>(key_.y_stride) * size, width, count,
                                       cudaMemcpyDeviceToHost, stream_));
    FOVEA_CUDA_CHECK(cudaStreamSynchronize(stream_));
    std::vector<float> values(count * static_cast<std::size_t>(key_.outputs));
    const Shape shape{static_cast<std::int64_t>(values.size())};
    FOVEA_CHECK(
        convert(ConstTensorView(raw.data(), key_.y, shape),
                TensorView(reinterpret_cast<std::byte*>(values.data()), DType::f32, shape)));
    return values;
  }

 private:
  cublasLtHandle_t handle_;
  ProductKey key_;
  CublasProduct described_{};
  const void* weight_;
  std::byte *x_, *y_, *workspace_;
  cudaStream_t stream_;
};

/// values, rounded to `type` and back.
Status round_to(DType type, std::vector<float>& values) {
  if (type == DType::f32) return {};
  const Shape shape{static_cast<std::int64_t>(values.size())};
  FOVEA_TRY(Tensor rounded, Tensor::allocate(shape, type));
  const TensorView all(reinterpret_cast<std::byte*>(values.data()), DType::f32, shape);
  FOVEA_CHECK(convert(ConstTensorView(all), rounded.view()));
  return convert(ConstTensorView(rounded.view()), all);
}

/// What the first rows of a product with a bias of our own must be, from sums in float32 that no
/// epilogue touched; the bias is left in scratch.bias.
Result<std::vector<float>> expected_rows(cublasLtHandle_t handle, const ProductKey& bucket,
                                         std::int64_t rows, const Scratch& scratch,
                                         ConstTensorView weight, cudaStream_t stream) {
  ProductKey plain = bucket;
  plain.rows = rows;
  plain.y = DType::f32;
  plain.y_stride = bucket.outputs;
  plain.y_alignment = 256;
  plain.accumulate = plain.bias = false;
  Trial sums(handle, plain, scratch, weight, stream);
  FOVEA_CHECK(sums.describe(nullptr));
  FOVEA_TRY(const auto algorithms, algorithm_candidates(handle, plain, sums.described(), 1));
  FOVEA_CUBLAS_CHECK(sums.run(algorithms.front()));
  FOVEA_TRY(std::vector<float> expected, sums.first_rows(rows));
  if (bucket.bias) {
    double squares = 0;
    for (const float value : expected) squares += static_cast<double>(value) * value;
    const double size = std::sqrt(squares / static_cast<double>(expected.size()));
    std::vector<float> bias(static_cast<std::size_t>(bucket.outputs));
    for (std::size_t i = 0; i < bias.size(); ++i) {
      bias[i] = static_cast<float>(size * (static_cast<double>(i * 37 % 64) - 31.5) / 16);
    }
    FOVEA_CHECK(round_to(bucket.y, bias));
    const Shape shape{bucket.outputs};
    FOVEA_TRY(Tensor typed, Tensor::allocate(shape, bucket.y));
    FOVEA_CHECK(
        convert(ConstTensorView(reinterpret_cast<const std::byte*>(bias.data()), DType::f32, shape),
                typed.view()));
    FOVEA_CUDA_CHECK(cudaMemcpyAsync(placed(scratch.bias), typed.view().data, typed.bytes(),
                                     cudaMemcpyHostToDevice, stream));
    FOVEA_CUDA_CHECK(cudaStreamSynchronize(stream));
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += bias[i % bias.size()];
  }
  FOVEA_CHECK(round_to(bucket.y, expected));
  return expected;
}

/// Whether results are sums in float32, rounded once at the end. Sums in another order move hardly
/// any result of 16 bits to a neighbour; what was rounded before moves a third of them.
bool rounded_once(const std::vector<float>& found, const std::vector<float>& expected, DType type) {
  constexpr double kOfTypes = 0.05, kOfSums = 2e-5;
  std::size_t moved = 0;
  double error = 0, size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(found[i]) && std::isnan(expected[i])) continue;
    const double meant = expected[i], off = found[i] - meant;
    if (off != 0) ++moved;
    error += off * off;
    size += meant * meant;
  }
  if (type == DType::f32) return error <= kOfSums * kOfSums * size;
  return static_cast<double>(moved) <= kOfTypes * static_cast<double>(found.size());
}

/// Those of the candidates that may be used.
Result<std::vector<cublasLtMatmulAlgo_t>> right_candidates(
    cublasLtHandle_t handle, const ProductKey& bucket, Scratch& scratch, ConstTensorView weight,
    const std::vector<cublasLtMatmulAlgo_t>& candidates, cudaStream_t stream) {
  const std::int64_t rows = std::min(kCheckedRows, bucket.rows);
  FOVEA_TRY(const std::vector<float> expected,
            expected_rows(handle, bucket, rows, scratch, weight, stream));
  Trial trial(handle, bucket, scratch, weight, stream);
  FOVEA_CHECK(trial.describe(placed(scratch.bias)));
  std::vector<cublasLtMatmulAlgo_t> right;
  for (const cublasLtMatmulAlgo_t& candidate : candidates) {
    FOVEA_CUDA_CHECK(cudaMemsetAsync(scratch.y.view().data, 0, scratch.y.bytes(), stream));
    if (trial.run(candidate) != CUBLAS_STATUS_SUCCESS) continue;
    FOVEA_TRY(const std::vector<float> found, trial.first_rows(rows));
    if (rounded_once(found, expected, bucket.y)) right.push_back(candidate);
  }
  if (right.empty()) {
    return make_error(ErrorCode::unsupported,
                      "no algorithm of cuBLASLt rounds once in a product of " + bucket.to_string());
  }
  return right;
}

/// Median milliseconds of products of the key's rows by each algorithm.
Result<std::vector<float>> times_of(const ProductKey& key, ConstTensorView x, Trial& trial,
                                    Scratch& scratch,
                                    const std::vector<cublasLtMatmulAlgo_t>& algorithms,
                                    cudaStream_t stream) {
  Events events;
  for (cudaEvent_t& event : events.at) FOVEA_CUDA_CHECK(cudaEventCreate(&event));
  FOVEA_CHECK(trial.describe(placed(scratch.bias)));
  std::vector<std::array<float, kRounds>> times(algorithms.size());
  // Round by round, so that a change of the clock meets all alike; the first loads the kernels.
  for (std::size_t round = 0; round <= kRounds; ++round) {
    for (std::size_t i = 0; i < algorithms.size(); ++i) {
      // In a model a weight comes from memory, what it multiplies from the cache.
      FOVEA_CUDA_CHECK(
          cudaMemsetAsync(scratch.flush.view().data, 0, scratch.flush.bytes(), stream));
      FOVEA_CHECK(fill(key, x, placed(scratch.x, key.x_alignment), stream));
      FOVEA_CUDA_CHECK(cudaEventRecord(events.at[0], stream));
      const cublasStatus_t status = trial.run(algorithms[i]);
      FOVEA_CUDA_CHECK(cudaEventRecord(events.at[1], stream));
      FOVEA_CUDA_CHECK(cudaEventSynchronize(events.at[1]));
      float milliseconds = kNever;
      if (status == CUBLAS_STATUS_SUCCESS) {
        FOVEA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events.at[0], events.at[1]));
      }
      if (round > 0) times[i][round - 1] = milliseconds;
    }
  }
  std::vector<float> medians;
  for (auto& of_one : times) {
    std::nth_element(of_one.begin(), of_one.begin() + kRounds / 2, of_one.end());
    medians.push_back(of_one[kRounds / 2]);
  }
  return medians;
}

/// Times of the algorithms, and last of the library's own choice for exactly these rows.
Result<std::vector<float>> compare(cublasLtHandle_t handle, const ProductKey& key,
                                   ConstTensorView weight, ConstTensorView x, Scratch& scratch,
                                   std::vector<cublasLtMatmulAlgo_t> algorithms,
                                   cudaStream_t stream) {
  Trial trial(handle, key, scratch, weight, stream);
  FOVEA_CHECK(trial.describe(placed(scratch.bias)));
  FOVEA_TRY(const auto own, algorithm_candidates(handle, key, trial.described(), 1));
  algorithms.push_back(own.front());
  return times_of(key, x, trial, scratch, algorithms, stream);
}

}  // namespace

Result<std::optional<TunedProduct>> tune_product(
    Context& context, cublasLtHandle_t handle, const ProductKey& bucket, std::int64_t rows,
    ConstTensorView weight, ConstTensorView x,
    const std::vector<cublasLtMatmulAlgo_t>& candidates) {
  const cudaStream_t stream = stream_of(context);
  Scratch scratch;
  if (const Status room = scratch.allocate(bucket, context.device); !room) {
    if (room.error().code == ErrorCode::out_of_memory) return std::optional<TunedProduct>();
    return room.error();
  }
  FOVEA_CHECK(fill(bucket, x, placed(scratch.x, bucket.x_alignment), stream));
  FOVEA_TRY(const std::vector<cublasLtMatmulAlgo_t> right,
            right_candidates(handle, bucket, scratch, weight, candidates, stream));
  ProductKey key = bucket;
  key.rows = rows;
  FOVEA_TRY(const std::vector<float> times,
            compare(handle, key, weight, x, scratch, right, stream));
  const auto best = std::min_element(times.begin(), times.end() - 1);
  if (*best > kGain * times.back()) return std::optional<TunedProduct>();
  TunedProduct tuned{right[static_cast<std::size_t>(best - times.begin())], rows, rows};
  for (std::int64_t* const end : {&tuned.least, &tuned.most}) {
    key.rows = end == &tuned.most ? bucket.rows : bucket_begin(bucket.rows);
    if (key.rows == rows) continue;
    FOVEA_TRY(const std::vector<float> there,
              compare(handle, key, weight, x, scratch, {tuned.algorithm}, stream));
    if (there[0] <= there[1]) *end = key.rows;
  }
  return std::optional(tuned);
}

Result<bool> beats_library(Context& context, cublasLtHandle_t handle, const ProductKey& key,
                           ConstTensorView weight, ConstTensorView x,
                           const cublasLtMatmulAlgo_t& algorithm) {
  Scratch scratch;
  if (const Status room = scratch.allocate(key, context.device); !room) {
    if (room.error().code == ErrorCode::out_of_memory) return false;
    return room.error();
  }
  FOVEA_TRY(const std::vector<float> times,
            compare(handle, key, weight, x, scratch, {algorithm}, stream_of(context)));
  return times[0] <= times[1];
}

}  // namespace fovea
