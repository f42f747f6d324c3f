// Products of 2 to 64 rows on Hopper, which are bound by reading the weight once. A block takes 128
// outputs; the blocks of a cluster divide the inputs, and their sums meet in shared memory and are added
// in the order of the inputs. One thread keeps a ring of tiles filled for the tensor cores, with weights
// even before the kernel that makes the rows has ended.

#include <cooperative_groups.h>

#include <cstdint>

#include "kernels/cuda/barrier.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/tile_copy.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "kernels/ops/linear/linear_cuda.h"

namespace fovea {
namespace {

namespace cg = cooperative_groups;

constexpr int kOutputs = 128;               // of a block
constexpr int kInputs = kTileRowBytes / 2;  // of a tile
constexpr int kGroupThreads = 128, kThreads = kGroupThreads + 32;
constexpr int kWeightBytes = kOutputs * kTileRowBytes;
constexpr int kRingBytes = 100 * 1024;  // at most: two blocks fit a multiprocessor
constexpr int kMostRows = 64;           // beyond, reading rows takes its share and cuBLASLt is as fast
constexpr int kMostParts = 4;           // blocks of a cluster
constexpr int kLeastTiles = 4;          // of a block, where several divide the inputs
constexpr int kFour = 4;

template <int kRows>
constexpr int kTilesBytes = kWeightBytes + kRows * kTileRowBytes;
template <int kRows>
constexpr int kStages = kRingBytes / kTilesBytes<kRows>;
template <int kRows>
constexpr int kSharedBytes = kStages<kRows> * kTilesBytes<kRows> + kTileRowGroupBytes;

struct FewRows {
  const float* bias;  // null: none
  void* y;
  std::int64_t y_stride;
  DType y_type;  // f32 or the weight's
  int rows, outputs, tiles;
  bool accumulate;
  bool fours;  // y may be written four at a time
};

/// Adds bias and old result to four sums and writes those that there are.
template <class Y>
__device__ __forceinline__ void finish(const FewRows& product, int row, int output, float (&sum)[kFour]) {
  Y* const y = static_cast<Y*>(product.y) + row * product.y_stride + output;
  const int count = min(product.outputs - output, kFour);
  Pack<Y, kFour> pack;
  const bool whole = product.fours && count == kFour;
  if (product.accumulate && whole) pack = *reinterpret_cast<const Pack<Y, kFour>*>(y);
#pragma unroll
  for (int i = 0; i < kFour; ++i) {
    if (i >= count) continue;
    if (product.bias != nullptr) sum[i] += product.bias[output + i];
    if (product.accumulate) sum[i] += load_float(whole ? pack.values[i] : y[i]);
    pack.values[i] = store_float<Y>(sum[i]);
    if (!whole) y[i] = pack.values[i];
  }
  if (whole) *reinterpret_cast<Pack<Y, kFour>*>(y) = pack;
}

#if defined(FOVEA_WGMMA) || !defined(__CUDA_ARCH__)
constexpr int kBound = kThreads;
#else
constexpr int kBound = 32;  // tells the host that this code does nothing
#endif

/// Block x of a cluster has an equal share of the tiles of 64 inputs; block y, 128 outputs.
template <class T, int kRows>
__global__ void __launch_bounds__(kBound)
    few_rows_kernel(const __grid_constant__ CUtensorMap weight, const __grid_constant__ CUtensorMap x,
                    const FewRows product) {
#ifdef FOVEA_WGMMA
  constexpr int kRing = kStages<kRows>, kStageBytes = kTilesBytes<kRows>;
  constexpr int kHalf = kOutputs / 2;   // of one product of the warpgroup
  constexpr int kPitch = kOutputs + 4;  // from row to row of the sums: a warp's writes meet no bank twice
  static_assert(kRows * kPitch * sizeof(float) <= kRing * kStageBytes, "the sums take the ring's place");
  let_next_prepare();
  extern __shared__ uint4 shared16[];
  __shared__ std::uint64_t barriers[2 * kRing];
  const std::uint32_t begin_of_shared = shared_address(shared16);
  const std::uint32_t ring = (begin_of_shared + kTileRowGroupBytes - 1) / kTileRowGroupBytes * kTileRowGroupBytes;
  float* const own = reinterpret_cast<float*>(reinterpret_cast<char*>(shared16) + (ring - begin_of_shared));
  const std::uint32_t full = shared_address(barriers), empty = full + 8 * kRing;
  const int parts = static_cast<int>(gridDim.x), part = static_cast<int>(blockIdx.x);
  const int first_output = static_cast<int>(blockIdx.y) * kOutputs;
  const int begin = product.tiles * part / parts, count = product.tiles * (part + 1) / parts - begin;
  if (threadIdx.x == kGroupThreads) {
    for (int stage = 0; stage < kRing; ++stage) {
      start_barrier(full + 8 * stage, 1);
      start_barrier(empty + 8 * stage, kGroupThreads / 32);
    }
    show_barriers_to_copies();
  }
  __syncthreads();

  if (threadIdx.x == kGroupThreads) {
    const std::uint64_t once = read_once(), again = read_again();
    const auto load_weight = [&](int i, int stage) {
      arrive_expecting(full + 8 * stage, kStageBytes);
      copy_tile(weight, first_output, (begin + i) * kInputs, ring + stage * kStageBytes, full + 8 * stage, once);
    };
    const auto load_rows = [&](int i, int stage) {
      copy_tile(x, 0, (begin + i) * kInputs, ring + stage * kStageBytes + kWeightBytes, full + 8 * stage, again);
    };
    const int ahead = min(count, kRing);
    for (int i = 0; i < ahead; ++i) load_weight(i, i);
    wait_for_previous();
    for (int i = 0; i < ahead; ++i) load_rows(i, i);
    for (int i = ahead, stage = 0, turn = 0; i < count; ++i) {
      await(empty + 8 * stage, turn);
      load_weight(i, stage);
      load_rows(i, stage);
      if (++stage == kRing) {
        stage = 0;
        turn ^= 1;
      }
    }
  } else if (threadIdx.x < kGroupThreads) {
    float sums[2][kRows / 2] = {};
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    std::uint32_t before = 0;  // the stage whose products are under way, by its barrier
    for (int i = 0, stage = 0, turn = 0; i < count; ++i) {
      await(full + 8 * stage, turn);
      const std::uint32_t tiles = ring + stage * kStageBytes;
      order_registers();
#pragma unroll
      for (int k = 0; k < kInputs / 16; ++k) {
        const std::uint64_t rows = tile_descriptor(tiles + kWeightBytes + 32 * k, kTileRowBytes);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const std::uint32_t half = tiles + h * kHalf * kTileRowBytes;
          WarpgroupProduct<T, kRows>::of_tiles(sums[h], tile_descriptor(half + 32 * k, kTileRowBytes), rows, 1);
        }
      }
      commit_products();
      wait_products<1>();
      if (before != 0 && lane == 0) arrive(before);
      before = empty + 8 * stage;
      if (++stage == kRing) {
        stage = 0;
        turn ^= 1;
      }
    }
    wait_products<0>();
    pin(sums[0]);
    pin(sums[1]);
    meet(1, kGroupThreads);  // nobody's products read the ring any more
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) {
        const int row = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
        own[row * kPitch + h * kHalf + 16 * warp + lane / 4 + 8 * (i % 4 / 2)] = sums[h][i];
      }
    }
  }
  __syncwarp();

  const cg::cluster_group cluster = cg::this_cluster();
  parts > 1 ? cluster.sync() : __syncthreads();
  wait_for_previous();  // which may have read what is written now
  // Each block finishes its share of the outputs; the parts' sums are under way before the first is added.
  const int fours = kOutputs / kFour / parts;
  const int work = threadIdx.x < kGroupThreads ? product.rows * fours : 0;
  for (int i = threadIdx.x; i < work; i += kGroupThreads) {
    const int row = i / fours, within = (part * fours + i % fours) * kFour;
    float4 sums[kMostParts];
#pragma unroll
    for (int p = 0; p < kMostParts; ++p) {
      if (p >= parts) continue;
      sums[p] = *reinterpret_cast<const float4*>(cluster.map_shared_rank(own, p) + row * kPitch + within);
    }
    float sum[kFour] = {};
#pragma unroll
    for (int p = 0; p < kMostParts; ++p) {
      if (p >= parts) continue;
      sum[0] += sums[p].x, sum[1] += sums[p].y, sum[2] += sums[p].z, sum[3] += sums[p].w;
    }
    const int output = first_output + within;
    if (output >= product.outputs) continue;
    if (product.y_type == DType::f32) {
      finish<float>(product, row, output, sum);
    } else {
      finish<T>(product, row, output, sum);
    }
  }
  if (parts > 1) leave_cluster();
#endif
}

/// Blocks that divide the inputs: as many as it takes to occupy the card, whatever the number of rows.
int parts_of(int outputs, int tiles, int multiprocessors) {
  const int blocks = (outputs + kOutputs - 1) / kOutputs;
  int parts = 1;
  while (parts < kMostParts && 5 * blocks * parts < 7 * multiprocessors && tiles >= 2 * parts * kLeastTiles) parts *= 2;
  return parts;
}

template <class T, int kRows>
Result<bool> launch(Context& context, ConstTensorView weight, ConstTensorView x, const FewRows& product) {
  const auto kernel = few_rows_kernel<T, kRows>;
  cudaFuncAttributes attributes{};
  FOVEA_CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  if (attributes.maxThreadsPerBlock < kThreads) return false;
  CUtensorMap weight_tiles, x_tiles;
  FOVEA_TRY(const bool weight_fits, describe_tiles(weight, kOutputs, weight_tiles));
  FOVEA_TRY(const bool x_fits, describe_tiles(x, kRows, x_tiles));
  if (!weight_fits || !x_fits) return false;
  constexpr int bytes = kSharedBytes<kRows>;
  FOVEA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  const int parts = parts_of(product.outputs, product.tiles, context.cuda->multiprocessors);
  const dim3 grid(static_cast<unsigned>(parts), static_cast<unsigned>((product.outputs + kOutputs - 1) / kOutputs));
  FOVEA_CHECK(launch_early_in_clusters(stream_of(context), "few_rows_product", kernel, grid, kThreads, bytes, parts,
                                       weight_tiles, x_tiles, product));
  return true;
}

template <class T>
Result<bool> launch_type(Context& context, ConstTensorView weight, ConstTensorView x, const FewRows& product) {
  if (product.rows <= 16) return launch<T, 16>(context, weight, x, product);
  if (product.rows <= 32) return launch<T, 32>(context, weight, x, product);
  return launch<T, 64>(context, weight, x, product);
}

}  // namespace

Result<bool> few_rows_product(Context& context, ConstTensorView weight, ConstTensorView x, const float* bias,
                              TensorView y, bool accumulate) {
  constexpr std::int64_t kMost = std::int64_t{1} << 22;  // outputs: a grid has 65,535 blocks across
  if (weight.dtype == DType::f32 || x.rows() > kMostRows || weight.shape[0] > kMost) return false;
  const std::int64_t stride = x.rows() > 1 ? y.row_stride : y.inner_elements();
  const std::size_t four_bytes = kFour * dtype_size(y.dtype);
  const FewRows product{.bias = bias,
                        .y = y.data,
                        .y_stride = stride,
                        .y_type = y.dtype,
                        .rows = static_cast<int>(x.rows()),
                        .outputs = static_cast<int>(weight.shape[0]),
                        .tiles = static_cast<int>((weight.shape[1] + kInputs - 1) / kInputs),
                        .accumulate = accumulate,
                        .fours = stride % kFour == 0 && reinterpret_cast<std::uintptr_t>(y.data) % four_bytes == 0};
  return weight.dtype == DType::bf16 ? launch_type<__nv_bfloat16>(context, weight, x, product)
                                     : launch_type<__half>(context, weight, x, product);
}

}  // namespace fovea
