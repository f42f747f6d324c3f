#include "kernels/ops/floor/floor.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <set>
#include <utility>

#include "kernels/base/parallel.h"
#include "kernels/ops/floor/beyond_caches.h"
#ifdef FOVEA_ONEDNN
#include "kernels/ops/floor/library_product.h"
#endif
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/floor/floor_cuda.h"
#endif

namespace fovea {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Uniform in [-1, 1): every element is a hash of its index, so that the blocks of all threads
/// together are the same as one thread's. Zeros would be multiplied faster on some processors.
void fill_random(Context& context, Tensor& tensor, std::uint64_t seed) {
  auto* values = tensor.as<float>();
  parallel_for(
      context.threads, tensor.shape().elements(), 4096, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          std::uint64_t bits = (static_cast<std::uint64_t>(i) + seed) * 0x9e3779b97f4a7c15u;
          bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
          values[i] = static_cast<float>(static_cast<std::int32_t>(bits >> 32)) * 0x1p-31f;
        }
      });
}

/// Seconds for one call of run(index), index rotating over `copies`: the median of several rounds.
Result<double> time_product(int copies, const std::function<Status(int)>& run) {
  constexpr double kSeconds = 0.15;
  constexpr std::size_t kRounds = 3;
  FOVEA_CHECK(run(0));
  std::vector<double> rounds;
  const auto start = Clock::now();
  while (rounds.size() < kRounds || seconds_since(start) < kSeconds) {
    const auto round = Clock::now();
    for (int index = 0; index < copies; ++index) FOVEA_CHECK(run(index));
    rounds.push_back(seconds_since(round) / copies);
  }
  const auto middle = rounds.begin() + static_cast<std::ptrdiff_t>(rounds.size() / 2);
  std::nth_element(rounds.begin(), middle, rounds.end());
  return *middle;
}

struct Measured {
  ProductFloor floor;
  std::string product;
};

Result<Measured> measure_product(Context& context, const ProductShape& shape, LinearDType dtype) {
  if (std::min({shape.rows, shape.inputs, shape.outputs, shape.count}) < 1) {
    return make_error(ErrorCode::usage, "the sizes of a product are at least 1");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) {
    FOVEA_TRY(const ProductFloor floor, measure_product_cuda(context, shape, dtype));
    const std::string maker = floor.seconds == floor.library_seconds ? "cublaslt-" : "fovea-cuda-";
    return Measured{floor, maker + linear_dtype_name(dtype)};
  }
#endif
  FOVEA_TRY(Tensor weight, Tensor::allocate({shape.outputs, shape.inputs}, DType::f32));
  FOVEA_TRY(Tensor x, Tensor::allocate({shape.rows, shape.inputs}, DType::f32));
  FOVEA_TRY(Tensor y, Tensor::allocate({shape.rows, shape.outputs}, DType::f32));
  fill_random(context, weight, 1);
  fill_random(context, x, 2);

  Measured measured;
  measured.floor.shape = shape;
  int copies = 1;
  {
    std::vector<Linear> products;
    do {
      FOVEA_TRY(Linear product, Linear::create(context, weight.view(), {}, dtype));
      const auto bytes = static_cast<std::int64_t>(product.weight_bytes());
      copies = static_cast<int>(std::min(shape.count, (beyond_caches() + bytes - 1) / bytes));
      products.push_back(std::move(product));
    } while (static_cast<int>(products.size()) < copies);
    FOVEA_TRY(measured.floor.own_seconds, time_product(copies, [&](int index) {
                return products[static_cast<std::size_t>(index)].apply(context, x.view(), y.view());
              }));
    measured.product = products[0].backend();
  }
  measured.floor.seconds = measured.floor.own_seconds;
#ifdef FOVEA_ONEDNN
  for (const auto way : {LibraryProduct::Way::packed, LibraryProduct::Way::plain}) {
    const auto library = LibraryProduct::create(way, context.threads, x.view(), weight.view(),
                                                y.view(), copies, dtype);
    if (!library) continue;
    FOVEA_TRY(const double seconds,
              time_product(copies, [&](int index) { return library->run(index); }));
    double& best = measured.floor.library_seconds;
    best = best == 0 ? seconds : std::min(best, seconds);
    if (seconds < measured.floor.seconds) {
      measured.floor.seconds = seconds;
      measured.product = library->name();
    }
  }
#endif
  return measured;
}

}  // namespace

Result<FloorReport> measure_products_floor(Context& context, std::span<const ProductShape> shapes,
                                           LinearDType dtype) {
  FloorReport report;
  std::set<std::string> names;
  for (const ProductShape& shape : shapes) {
    FOVEA_TRY(Measured measured, measure_product(context, shape, dtype));
    report.seconds += measured.floor.seconds * static_cast<double>(shape.count);
    report.products.push_back(measured.floor);
    names.insert(std::move(measured.product));
  }
  for (const std::string& name : names) {
    report.product += (report.product.empty() ? "" : "+") + name;
  }
  return report;
}

}  // namespace fovea
