#include "kernels/ops/floor/floor.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/floor/read_bandwidth_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>

#include "kernels/base/parallel.h"
#include "kernels/ops/floor/beyond_caches.h"
#include "kernels/ops/linear/packed_weight.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/floor/floor_cuda.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

/// All `count` words, a multiple of 512, in one by exclusive or. Vectors as wide as the processor
/// has them: narrower loads leave part of the memory's speed unused, and the floor would lie above
/// the products that it is meant to lie below.
std::uint64_t mix_words(const std::uint64_t* words, std::size_t count) {
  const hn::ScalableTag<std::uint64_t> d;
  const std::size_t lanes = hn::Lanes(d);
  // Independent, so that loads need not wait for each other's results.
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (std::size_t i = 0; i + 4 * lanes <= count; i += 4 * lanes) {
    a = hn::Xor(a, hn::LoadU(d, words + i));
    b = hn::Xor(b, hn::LoadU(d, words + i + lanes));
    c = hn::Xor(c, hn::LoadU(d, words + i + 2 * lanes));
    e = hn::Xor(e, hn::LoadU(d, words + i + 3 * lanes));
  }
  HWY_ALIGN std::uint64_t mixed[HWY_MAX_BYTES / sizeof(std::uint64_t)] = {};
  hn::Store(hn::Xor(hn::Xor(a, b), hn::Xor(c, e)), d, mixed);
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < lanes; ++i) all ^= mixed[i];
  return all;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(mix_words);

}  // namespace

Result<double> measure_read_bandwidth(Context& context) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return measure_read_bandwidth_cuda(context);
#endif
  using Clock = std::chrono::steady_clock;
  constexpr int kPasses = 7;
  constexpr std::int64_t kGrain = 512;  // words: 4 KiB
  const std::int64_t words = beyond_caches() / 8;
  FOVEA_TRY(Tensor block, Tensor::allocate({words}, DType::i64));
  prefer_huge_pages(block);
  auto* data = block.as<std::uint64_t>();
  parallel_for(context.threads, words, kGrain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      data[i] = static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15u;
  });
  const auto mix = HWY_DYNAMIC_DISPATCH(mix_words);
  double best = 0;
  std::atomic<std::uint64_t> sink = 0;  // keeps the reading from being left out
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    parallel_for(context.threads, words, kGrain, [&](std::int64_t first, std::int64_t last) {
      sink.fetch_xor(mix(data + first, static_cast<std::size_t>(last - first)),
                     std::memory_order_relaxed);
    });
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, static_cast<double>(words) * 8 / seconds);
  }
  return best;
}

}  // namespace fovea
#endif
