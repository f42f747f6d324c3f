#include "kernels/ops/floor/floor_cuda.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "kernels/cuda/runtime.h"
#include "kernels/ops/linear/cublaslt.h"
#include "kernels/ops/linear/linear_cuda.h"
#include "kernels/ops/random/random.h"

namespace fovea {
namespace {

constexpr std::int64_t kBeyondCaches = std::int64_t{256} << 20;
constexpr int kThreads = 512;

/// Two events around work on the context's stream.
class Timer {
 public:
  Timer() = default;
  ~Timer() {
    for (const cudaEvent_t event : events_) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  Result<double> seconds(Context& context, const std::function<Status()>& work) {
    for (cudaEvent_t& event : events_) {
      if (event == nullptr) FOVEA_CUDA_CHECK(cudaEventCreate(&event));
    }
    FOVEA_CUDA_CHECK(cudaEventRecord(events_[0], stream_of(context)));
    FOVEA_CHECK(work());
    FOVEA_CUDA_CHECK(cudaEventRecord(events_[1], stream_of(context)));
    FOVEA_CUDA_CHECK(cudaEventSynchronize(events_[1]));
    float milliseconds = 0;
    FOVEA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]));
    return 1e-3 * milliseconds;
  }

 private:
  cudaEvent_t events_[2] = {};
};

__global__ __launch_bounds__(kThreads) void read_kernel(const uint4* data, std::int64_t count,
                                                        unsigned* sink) {
  unsigned sum = 0;
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  for (; i + 7 * step < count; i += 8 * step) {
    uint4 parts[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) parts[j] = data[i + j * step];
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += parts[j].x + parts[j].y + parts[j].z + parts[j].w;
  }
  for (; i < count; i += step) sum += data[i].x;
  if (sum == 0x12345u) *sink = sum;  // keeps the sums from being left out
}

}  // namespace

Result<ProductFloor> measure_product_cuda(Context& context, const ProductShape& shape,
                                          LinearDType dtype) {
  const DType type = dtype == LinearDType::f32    ? DType::f32
                     : dtype == LinearDType::bf16 ? DType::bf16
                                                  : DType::f16;
  const std::int64_t bytes =
      shape.outputs * shape.inputs * static_cast<std::int64_t>(dtype_size(type));
  const std::int64_t copies = std::min(shape.count, (kBeyondCaches + bytes - 1) / bytes);
  std::vector<Tensor> weights;
  for (std::int64_t copy = 0; copy < copies; ++copy) {
    FOVEA_TRY(Tensor weight, Tensor::allocate({shape.outputs, shape.inputs}, type, context.device));
    FOVEA_CHECK(fill_uniform(context, weight.view(), 0.02f, static_cast<std::uint64_t>(copy)));
    weights.push_back(std::move(weight));
  }
  FOVEA_TRY(Tensor x, Tensor::allocate({shape.rows, shape.inputs}, type, context.device));
  FOVEA_TRY(Tensor y, Tensor::allocate({shape.rows, shape.outputs}, DType::f32, context.device));
  FOVEA_CHECK(fill_uniform(context, x.view(), 1.0f, 99));
  Timer timer;
  using Product = std::function<Result<bool>(const Tensor& weight)>;  // false: has none for this shape
  // Seconds for one product, 0 where there is none.
  const auto measure = [&](const Product& product) -> Result<double> {
    constexpr int kRounds = 7;
    std::vector<double> rounds;
    bool done = true;
    for (int round = 0; round < 1 + kRounds && done; ++round) {
      FOVEA_TRY(const double seconds, timer.seconds(context, [&]() -> Status {
        for (const Tensor& weight : weights) {
          FOVEA_TRY(done, product(weight));
          if (!done) break;
        }
        return {};
      }));
      if (round > 0) rounds.push_back(seconds / static_cast<double>(copies));
    }
    if (!done) return 0.0;
    std::sort(rounds.begin(), rounds.end());
    return rounds[kRounds / 2];
  };
  ProductFloor floor;
  floor.shape = shape;
  FOVEA_TRY(floor.own_seconds, measure([&](const Tensor& weight) {
    return (shape.rows == 1 ? one_row_product : few_rows_product)(context, weight.view(), x.view(), nullptr,
                                                                  y.view(), false);
  }));
  FOVEA_TRY(floor.library_seconds, measure([&](const Tensor& weight) -> Result<bool> {
    FOVEA_CHECK(cublaslt_product(context, weight.view(), x.view(), {}, y.view(), false));
    return true;
  }));
  floor.seconds = floor.own_seconds > 0 ? std::min(floor.own_seconds, floor.library_seconds) : floor.library_seconds;
  return floor;
}

Result<double> measure_read_bandwidth_cuda(Context& context) {
  constexpr std::int64_t kBytes = std::int64_t{2} << 30;
  FOVEA_TRY(Tensor block, Tensor::allocate({kBytes / 4}, DType::f32, context.device));
  FOVEA_TRY(Tensor sink, Tensor::allocate({1}, DType::i32, context.device));
  FOVEA_CHECK(fill_uniform(context, block.view(), 1.0f, 7));
  Timer timer;
  double best = 0;
  for (int pass = 0; pass < 7; ++pass) {
    FOVEA_TRY(const double seconds, timer.seconds(context, [&]() -> Status {
      read_kernel<<<context.cuda->multiprocessors * 4, kThreads, 0, stream_of(context)>>>(
          block.as<uint4>(), kBytes / 16, sink.as<unsigned>());
      FOVEA_LAUNCH_CHECK("read_bandwidth");
      return {};
    }));
    best = std::max(best, static_cast<double>(kBytes) / seconds);
  }
  return best;
}

}  // namespace fovea
