// Speed of matrix products, beside what the machine can do.
//   linear_bench [threads]
// Products of many rows give GFLOP/s and their part of the measured peak of fused multiply-adds,
// products of one row GB/s of weight and their part of the measured read bandwidth. Weights rotate,
// so that one-row products read from memory. bf16 products on processors with AVX512_BF16 exceed
// the peak, which is float32's. Close other programs first: numbers are medians, but a busy machine
// still halves them.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/linear_bench.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// `rounds` times twelve independent multiply-adds; the floating-point operations done.
double multiply_adds(std::int64_t rounds, float* out) {
  const hn::ScalableTag<float> d;
  using V = decltype(hn::Zero(d));
  V sums[12];
  for (V& sum : sums) sum = hn::Zero(d);
  V factor = hn::Set(d, 0.999f);
  const V term = hn::Set(d, 1e-3f);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = hn::MulAdd(sums[j], factor, term);
  }
  V total = sums[0];
  for (int j = 1; j < 12; ++j) total = hn::Add(total, sums[j]);
  *out = hn::GetLane(total);
  return static_cast<double>(rounds) * 12 * 2 * static_cast<double>(hn::Lanes(d));
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "kernels/base/parallel.h"
#include "kernels/ops/floor/floor.h"

namespace fovea {
namespace {

HWY_EXPORT(multiply_adds);

/// Float32 operations per second of all threads: the best of several.
double measure_peak(int threads) {
  constexpr std::int64_t kRounds = 10'000'000;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    double operations = 0;
    parallel_for(threads, threads, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        volatile float sink = 0;
        float sum = 0;
        const double done = HWY_DYNAMIC_DISPATCH(multiply_adds)(kRounds, &sum);
        sink = sum;
        static_cast<void>(sink);
        if (i == 0) operations = done;
      }
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, operations * threads / seconds.count());
  }
  return best;
}

void print_product(Context& context, const ProductShape& shape, double peak, double bandwidth) {
  std::printf("%4lld x %5lld -> %5lld", static_cast<long long>(shape.rows),
              static_cast<long long>(shape.inputs), static_cast<long long>(shape.outputs));
  for (const LinearDType dtype : {LinearDType::f32, LinearDType::bf16}) {
    const auto report = measure_products_floor(context, {&shape, 1}, dtype);
    if (!report) {
      std::printf("  %s\n", report.error().to_string().c_str());
      return;
    }
    const ProductFloor& floor = report->products[0];
    const double weights = static_cast<double>(shape.inputs * shape.outputs);
    const bool one_row = shape.rows == 1;
    const double work = one_row ? weights * (dtype == LinearDType::f32 ? 4 : 2)
                                : 2 * weights * static_cast<double>(shape.rows);
    const double limit = one_row ? bandwidth : peak;
    const char* unit = one_row ? "GB/s" : "GFLOP/s";
    std::printf("  | %s own %6.1f %s %3.0f %%", dtype == LinearDType::f32 ? "f32" : "bf16",
                work / floor.own_seconds * 1e-9, unit, 100 * work / floor.own_seconds / limit);
    // Where oneDNN has no bfloat16 its float32 product was timed; as bandwidth that says nothing.
    if (floor.library_seconds > 0 && !(one_row && dtype == LinearDType::bf16)) {
      std::printf(", oneDNN %6.1f", work / floor.library_seconds * 1e-9);
    }
    std::printf(", best %s", report->product.c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace fovea

int main(int argc, char** argv) {
  using namespace fovea;
  Context context;
  context.threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : available_threads();
  const double peak = measure_peak(context.threads);
  const auto bandwidth = measure_read_bandwidth(context);
  if (!bandwidth) return 1;
  std::printf("%d threads: peak %.1f GFLOP/s in float32, read bandwidth %.1f GB/s\n",
              context.threads, peak * 1e-9, *bandwidth * 1e-9);
  constexpr std::int64_t kSizes[][2] = {{2048, 2560}, {2048, 2048},  {2048, 5632},
                                        {5632, 2048}, {2048, 32000}, {256, 512}};
  for (const std::int64_t rows : {640, 128, 1}) {
    for (const auto& size : kSizes) {
      // A model of 22 layers has that many weights of a shape; enough to leave most caches.
      print_product(context, {rows, size[0], size[1], 22}, peak, *bandwidth);
    }
  }
  return 0;
}
#endif
