// Attention on the tensor cores, 16-bit in and out and float32 inside: a block of four warps takes 64
// rows of one head and walks over the keys, 64 at a time; the next keys and values arrive while these
// are worked on.

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_launch.cuh"

namespace fovea {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kRows = 16 * kWarps, kKeys = 64;

/// Elements between rows in shared memory: the offset of 16 bytes spreads the eight rows that one
/// ldmatrix reads over all banks, for every kChannels that is a multiple of 16.
template <int kChannels>
constexpr int kStride = kChannels + 8;

template <int kChannels>
constexpr int kTile = kKeys * kStride<kChannels>;  // elements of 64 keys or values
template <int kChannels>
constexpr std::size_t kSharedBytes = std::size_t{2} * (kRows * kStride<kChannels> + 4 * kTile<kChannels>);

static_assert(kKeys == 1 << kTilePageShift, "a tile lies within one page");

/// The keys (or values) of one kv head.
struct Side {
  const std::byte* const* pages;
  std::int64_t head_offset, token_stride;
};

/// Where tokens [first, first + kKeys) begin.
template <class T>
__device__ __forceinline__ const T* locate(const CudaSequence& sequence, const Side& side, int first) {
  const auto token = static_cast<std::uint32_t>(first);
  const std::uint32_t slot = token & ((std::uint32_t{1} << sequence.page_shift) - 1);
  return reinterpret_cast<const T*>(side.pages[token >> sequence.page_shift]) + side.head_offset +
         slot * side.token_stride;
}

/// kKeys tokens, of which `count` are there; zeros for the others.
template <class T, int kChannels>
__device__ __forceinline__ void fetch_tokens(const T* from, std::int64_t token_stride, int count, T* to) {
  constexpr int kPieces = kChannels / 8;
  const int last = count - 1;
#pragma unroll
  for (int n = 0; n < kKeys * kPieces / kThreads; ++n) {
    const int i = n * kThreads + threadIdx.x, key = i / kPieces, piece = i % kPieces;
    copy_async_16(shared_address(to + key * kStride<kChannels> + 8 * piece),
                  from + min(key, last) * token_stride + 8 * piece, key <= last);
  }
}

template <class T, int kChannels>
__device__ __forceinline__ void fetch_query(const AttentionLaunch& launch, const CudaSequence& sequence,
                                            int head, int first_row, T* to) {
  constexpr int kPieces = kChannels / 8;
  const T* query = reinterpret_cast<const T*>(launch.query) + std::int64_t{head} * kChannels;
  for (int i = threadIdx.x; i < kRows * kPieces; i += kThreads) {
    const int row = i / kPieces, piece = i % kPieces;
    const int place = sequence.first_row + min(first_row + row, sequence.rows - 1);
    copy_async_16(shared_address(to + row * kStride<kChannels> + 8 * piece),
                  query + place * launch.query_stride + 8 * piece, true);
  }
}

/// A thread holds two rows of its warp's sixteen: row lane / 4 and eight below; element e of an
/// accumulator belongs to row e / 2, column 2 * (lane % 4) + e % 2.
template <class T, int kChannels>
__global__ void __launch_bounds__(kThreads)
    tensor_attention_kernel(const __grid_constant__ AttentionLaunch launch) {
  let_next_prepare();
  wait_for_previous();
  constexpr int kStep = kStride<kChannels>;
  const CudaSequence& sequence = launch.sequence[blockIdx.z];
  const int head = blockIdx.y, kv_head = head / (launch.heads / launch.kv_heads);
  const int first_row = (gridDim.x - 1 - blockIdx.x) * kRows;  // the longest first
  if (first_row >= sequence.rows) return;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  extern __shared__ uint4 shared16[];
  T* const query = reinterpret_cast<T*>(shared16);
  T* const tiles = query + kRows * kStep;  // keys and values, twice

  const int length = *sequence.length;
  const int last_row = min(first_row + kRows, sequence.rows) - 1;
  const int limit = visible_keys(launch, sequence, length, last_row);
  const Side key_side{sequence.key_pages, kv_head * sequence.key_head_stride, sequence.key_token_stride};
  const Side value_side{sequence.value_pages, kv_head * sequence.value_head_stride, sequence.value_token_stride};

  int row[2], seen[2];
  float maximum[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};
  for (int i = 0; i < 2; ++i) {
    row[i] = first_row + warp * 16 + lane / 4 + 8 * i;
    seen[i] = visible_keys(launch, sequence, length, row[i]);
  }
  float sums[kChannels / 8][4] = {};

  const T* next_keys = nullptr;
  const T* next_values = nullptr;
  if (limit > 0) {
    next_keys = locate<T>(sequence, key_side, 0);
    next_values = locate<T>(sequence, value_side, 0);
    fetch_query<T, kChannels>(launch, sequence, head, first_row, query);
    fetch_tokens<T, kChannels>(next_keys, key_side.token_stride, limit, tiles);
    fetch_tokens<T, kChannels>(next_values, value_side.token_stride, limit, tiles + kTile<kChannels>);
    commit_copies();
    if (limit > kKeys) {
      next_keys = locate<T>(sequence, key_side, kKeys);
      next_values = locate<T>(sequence, value_side, kKeys);
    }
  }
  std::uint32_t q[kChannels / 16][4];
  // Keys that even the first row of the block sees need no mask.
  const int clear = min(limit, visible_keys(launch, sequence, length, first_row));
  // Exponents are logits times a factor, which the maximum may be taken before only if it is above 0.
  const bool plain = sequence.key_bias == nullptr && launch.scale > 0.0f;
  const float factor = plain ? launch.scale : 1.0f;

  for (int first = 0, side = 0; first < limit; first += kKeys, side ^= 1) {
    const T* const keys = tiles + 2 * side * kTile<kChannels>;
    const T* const values = keys + kTile<kChannels>;
    wait_copies<0>();
    __syncthreads();  // this tile is there, and nobody reads the one before any more
    if (first + kKeys < limit) {
      T* const to = tiles + 2 * (side ^ 1) * kTile<kChannels>;
      const int count = limit - first - kKeys;
      fetch_tokens<T, kChannels>(next_keys, key_side.token_stride, count, to);
      fetch_tokens<T, kChannels>(next_values, value_side.token_stride, count, to + kTile<kChannels>);
      commit_copies();
      if (first + 2 * kKeys < limit) {
        next_keys = locate<T>(sequence, key_side, first + 2 * kKeys);
        next_values = locate<T>(sequence, value_side, first + 2 * kKeys);
      }
    }
    if (first == 0) {
#pragma unroll
      for (int k = 0; k < kChannels / 16; ++k) {
        const T* from = query + (warp * 16 + lane % 16) * kStep + 16 * k + 8 * (lane / 16);
        load_matrices(q[k], shared_address(from));
      }
    }

    float logit[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kChannels / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        // Matrices: keys 0-7 and 8-15 of sixteen, each for both halves of the channels.
        std::uint32_t b[4];
        const T* from = keys + (16 * n + lane % 8 + 8 * (lane / 16)) * kStep + 16 * k + 8 * (lane / 8 % 2);
        load_matrices(b, shared_address(from));
        multiply_add<T>(logit[2 * n], q[k], b[0], b[1]);
        multiply_add<T>(logit[2 * n + 1], q[k], b[2], b[3]);
      }
    }

    if (!plain) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int token = first + 8 * n + 2 * (lane % 4) + e % 2;
          const bool biased = sequence.key_bias != nullptr && token < limit;
          logit[n][e] = fmaf(logit[n][e], launch.scale, biased ? sequence.key_bias[token] * kLog2EFloat : 0.0f);
        }
      }
    }
    if (first + kKeys > clear) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (first + 8 * n + 2 * (lane % 4) + e % 2 >= seen[e / 2]) logit[n][e] = -INFINITY;
        }
      }
    }
    float shift[2], fade[2], sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float highest = logit[0][2 * i];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        highest = fmaxf(highest, fmaxf(logit[n][2 * i], logit[n][2 * i + 1]));
      }
      highest = fmaxf(maximum[i], max_of_quad(highest) * factor);
      shift[i] = highest == -INFINITY ? 0.0f : highest;
      fade[i] = fast_exp2(maximum[i] - shift[i]);
      maximum[i] = highest;
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        logit[n][e] = fast_exp2(fmaf(logit[n][e], factor, -shift[e / 2]));
        sum[e / 2] += logit[n][e];
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) total[i] = fmaf(total[i], fade[i], sum[i]);
    // Once the maximum has settled, which it soon does, nothing fades any more.
    if (__any_sync(0xFFFFFFFFu, fade[0] != 1.0f || fade[1] != 1.0f)) {
#pragma unroll
      for (int n = 0; n < kChannels / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[n][e] *= fade[e / 2];
      }
    }

#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const std::uint32_t p[4] = {
          pack_pair<T>(logit[2 * k][0], logit[2 * k][1]), pack_pair<T>(logit[2 * k][2], logit[2 * k][3]),
          pack_pair<T>(logit[2 * k + 1][0], logit[2 * k + 1][1]),
          pack_pair<T>(logit[2 * k + 1][2], logit[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < kChannels / 16; ++n) {
        std::uint32_t b[4];
        const T* from = values + (16 * k + lane % 16) * kStep + 16 * n + 8 * (lane / 16);
        load_matrices_transposed(b, shared_address(from));
        multiply_add<T>(sums[2 * n], p, b[0], b[1]);
        multiply_add<T>(sums[2 * n + 1], p, b[2], b[3]);
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 2; ++i) {
    total[i] = sum_of_quad(total[i]);
    if (row[i] >= sequence.rows) continue;
    const std::int64_t place = sequence.first_row + row[i];
    const float inverse = total[i] == 0.0f ? 0.0f : 1.0f / total[i];
    T* const out = reinterpret_cast<T*>(launch.out) + place * launch.out_stride + std::int64_t{head} * kChannels;
#pragma unroll
    for (int n = 0; n < kChannels / 8; ++n) {
      *reinterpret_cast<std::uint32_t*>(out + 8 * n + 2 * (lane % 4)) =
          pack_pair<T>(sums[n][2 * i] * inverse, sums[n][2 * i + 1] * inverse);
    }
    if (launch.lse != nullptr && lane % 4 == 0) {
      launch.lse[head * launch.lse_stride + place] = natural_lse(maximum[i], total[i]);
    }
  }
}

template <class T, int kChannels>
Status launch_channels(const AttentionLaunch& launch, cudaStream_t stream) {
  constexpr std::size_t bytes = kSharedBytes<kChannels>;
  FOVEA_CUDA_CHECK(cudaFuncSetAttribute(tensor_attention_kernel<T, kChannels>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  const dim3 grid(static_cast<unsigned>((launch.most_rows + kRows - 1) / kRows),
                  static_cast<unsigned>(launch.heads), static_cast<unsigned>(launch.sequences));
  return launch_early(stream, "tensor attention", tensor_attention_kernel<T, kChannels>, grid, kThreads, bytes,
                      launch);
}

template <class T>
Status launch_type(const AttentionLaunch& launch, cudaStream_t stream) {
  switch (launch.head_dim) {
    case 32: return launch_channels<T, 32>(launch, stream);
    case 64: return launch_channels<T, 64>(launch, stream);
    case 80: return launch_channels<T, 80>(launch, stream);
    case 96: return launch_channels<T, 96>(launch, stream);
    default: return launch_channels<T, 128>(launch, stream);
  }
}

}  // namespace

bool tensor_attention_fits(std::int32_t head_dim) {
  return head_dim == 32 || head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128;
}

Status launch_tensor_attention(const AttentionLaunch& launch, DType type, cudaStream_t stream) {
  return type == DType::bf16 ? launch_type<__nv_bfloat16>(launch, stream) : launch_type<__half>(launch, stream);
}

}  // namespace fovea
