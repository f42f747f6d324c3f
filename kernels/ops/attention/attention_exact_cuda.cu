// Attention in float32 arithmetic for every type and every number of channels: a block takes 64 rows
// of one head and walks over the keys, 32 at a time.

#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_launch.cuh"

namespace fovea {
namespace {

constexpr int kRows = 64, kKeys = 32, kThreads = 256;
constexpr int kRowsEach = 4, kKeysEach = 2;  // of the 16 x 16 threads
constexpr int kProbabilityStride = kKeys + 4;

/// Floats between rows of channels in shared memory: whole float4, and an offset of one float4 so that
/// neighbouring rows lie in different banks.
__host__ __device__ constexpr int padded_channels(int channels) {
  return (channels + 3) / 4 * 4 + 4;
}

std::size_t shared_bytes(int channels) {
  return sizeof(float) * (static_cast<std::size_t>(padded_channels(channels)) * (kRows + 2 * kKeys) +
                          kRows * kProbabilityStride);
}

template <class T>
__device__ void load_tokens(const AttentionLaunch& launch, const CudaSequence& sequence, bool values,
                            int kv_head, int first, int limit, float* to) {
  const int channels = launch.head_dim, stride = padded_channels(channels);
  const std::byte* const* pages = values ? sequence.value_pages : sequence.key_pages;
  const std::int64_t offset =
      kv_head * (values ? sequence.value_head_stride : sequence.key_head_stride);
  const std::int64_t token_stride = values ? sequence.value_token_stride : sequence.key_token_stride;
  const int lane = threadIdx.x % 32;
  for (int key = threadIdx.x / 32; key < kKeys; key += kThreads / 32) {
    const int token = first + key;
    // What lies beyond the length was never written: zeros, because 0 times NaN is NaN.
    const T* from = token < limit ? token_channels<T>(sequence, pages, offset, token_stride, token) : nullptr;
    for (int c = lane; c < stride; c += 32) {
      to[key * stride + c] = from != nullptr && c < channels ? load_float(from[c]) : 0.0f;
    }
  }
}

__device__ void load_query(const AttentionLaunch& launch, const CudaSequence& sequence, int head, int first,
                           float* to) {
  const int channels = launch.head_dim, stride = padded_channels(channels);
  const int lane = threadIdx.x % 32;
  for (int row = threadIdx.x / 32; row < kRows; row += kThreads / 32) {
    const bool there = first + row < sequence.rows;
    const std::int64_t from =
        (sequence.first_row + first + row) * launch.query_stride + std::int64_t{head} * channels;
    for (int c = lane; c < stride; c += 32) {
      to[row * stride + c] =
          there && c < channels ? load_any(launch.query, launch.query_type, from + c) : 0.0f;
    }
  }
}

__device__ __forceinline__ float dot4(float4 a, float4 b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

/// The larger or the sum of values over the 16 threads that share rows.
__device__ __forceinline__ float max_of_16(float value) {
#pragma unroll
  for (int step = 8; step > 0; step /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, step));
  }
  return value;
}
__device__ __forceinline__ float sum_of_16(float value) {
#pragma unroll
  for (int step = 8; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  return value;
}

/// kWide blocks of 64 channels hold all of them.
template <class T, int kWide>
__global__ void __launch_bounds__(kThreads)
    exact_attention_kernel(const __grid_constant__ AttentionLaunch launch) {
  const CudaSequence& sequence = launch.sequence[blockIdx.z];
  const int head = blockIdx.y, kv_head = head / (launch.heads / launch.kv_heads);
  // The last rows of a causal sequence see the most keys and start first.
  const int first_row = (gridDim.x - 1 - blockIdx.x) * kRows;
  if (first_row >= sequence.rows) return;
  const int channels = launch.head_dim, stride = padded_channels(channels);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;

  extern __shared__ float4 shared4[];
  float* query = reinterpret_cast<float*>(shared4);
  float* keys = query + kRows * stride;
  float* values = keys + kKeys * stride;
  float* probabilities = values + kKeys * stride;

  const std::int32_t length = *sequence.length;
  const int last_row = min(first_row + kRows, sequence.rows) - 1;
  const int limit = visible_keys(launch, sequence, length, last_row);
  load_query(launch, sequence, head, first_row, query);

  int seen[kRowsEach];
  float maximum[kRowsEach], total[kRowsEach];
  float4 sums[kRowsEach][kWide];
  for (int i = 0; i < kRowsEach; ++i) {
    seen[i] = visible_keys(launch, sequence, length, first_row + ty * kRowsEach + i);
    maximum[i] = -INFINITY;
    total[i] = 0.0f;
#pragma unroll
    for (int w = 0; w < kWide; ++w) sums[i][w] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }

  for (int first = 0; first < limit; first += kKeys) {
    __syncthreads();
    load_tokens<T>(launch, sequence, false, kv_head, first, limit, keys);
    load_tokens<T>(launch, sequence, true, kv_head, first, limit, values);
    __syncthreads();

    float logit[kRowsEach][kKeysEach] = {};
    for (int c = 0; c < channels; c += 4) {
      float4 key[kKeysEach];
#pragma unroll
      for (int j = 0; j < kKeysEach; ++j) {
        key[j] = *reinterpret_cast<const float4*>(keys + (tx + 16 * j) * stride + c);
      }
#pragma unroll
      for (int i = 0; i < kRowsEach; ++i) {
        const float4 q = *reinterpret_cast<const float4*>(query + (ty * kRowsEach + i) * stride + c);
#pragma unroll
        for (int j = 0; j < kKeysEach; ++j) logit[i][j] = dot4(q, key[j], logit[i][j]);
      }
    }
    float bias[kKeysEach];
#pragma unroll
    for (int j = 0; j < kKeysEach; ++j) {
      const int token = first + tx + 16 * j;
      bias[j] = sequence.key_bias != nullptr && token < limit ? sequence.key_bias[token] * kLog2EFloat : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kRowsEach; ++i) {
      float highest = maximum[i];
#pragma unroll
      for (int j = 0; j < kKeysEach; ++j) {
        const float value = fmaf(logit[i][j], launch.scale, bias[j]);
        logit[i][j] = first + tx + 16 * j < seen[i] ? value : -INFINITY;
        highest = fmaxf(highest, logit[i][j]);
      }
      highest = max_of_16(highest);
      const float shift = highest == -INFINITY ? 0.0f : highest;
      const float fade = exp2f(maximum[i] - shift);
      maximum[i] = highest;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kKeysEach; ++j) {
        const float p = exp2f(logit[i][j] - shift);
        probabilities[(ty * kRowsEach + i) * kProbabilityStride + tx + 16 * j] = p;
        sum += p;
      }
      total[i] = fmaf(total[i], fade, sum_of_16(sum));
#pragma unroll
      for (int w = 0; w < kWide; ++w) {
        sums[i][w].x *= fade, sums[i][w].y *= fade, sums[i][w].z *= fade, sums[i][w].w *= fade;
      }
    }
    __syncwarp();  // the probabilities of a row are written and read by half a warp

    for (int key = 0; key < kKeys; key += 4) {
      float4 p[kRowsEach];
#pragma unroll
      for (int i = 0; i < kRowsEach; ++i) {
        p[i] = *reinterpret_cast<const float4*>(probabilities + (ty * kRowsEach + i) * kProbabilityStride + key);
      }
#pragma unroll
      for (int w = 0; w < kWide; ++w) {
        const int c = tx * 4 + 64 * w;
        if (c >= channels) continue;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float4 v = *reinterpret_cast<const float4*>(values + (key + k) * stride + c);
#pragma unroll
          for (int i = 0; i < kRowsEach; ++i) {
            const float weight = k == 0 ? p[i].x : k == 1 ? p[i].y : k == 2 ? p[i].z : p[i].w;
            sums[i][w].x = fmaf(weight, v.x, sums[i][w].x);
            sums[i][w].y = fmaf(weight, v.y, sums[i][w].y);
            sums[i][w].z = fmaf(weight, v.z, sums[i][w].z);
            sums[i][w].w = fmaf(weight, v.w, sums[i][w].w);
          }
        }
      }
    }
    __syncwarp();
  }

#pragma unroll
  for (int i = 0; i < kRowsEach; ++i) {
    const int row = first_row + ty * kRowsEach + i;
    if (row >= sequence.rows) continue;
    const std::int64_t place = sequence.first_row + row;
    const float inverse = total[i] == 0.0f ? 0.0f : 1.0f / total[i];
#pragma unroll
    for (int w = 0; w < kWide; ++w) {
      const float out[4] = {sums[i][w].x, sums[i][w].y, sums[i][w].z, sums[i][w].w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int c = tx * 4 + 64 * w + k;
        if (c < channels) {
          store_any(launch.out, launch.out_type, place * launch.out_stride + std::int64_t{head} * channels + c,
                    out[k] * inverse);
        }
      }
    }
    if (launch.lse != nullptr && tx == 0) {
      launch.lse[head * launch.lse_stride + place] = natural_lse(maximum[i], total[i]);
    }
  }
}

template <class T, int kWide>
Status launch_wide(const AttentionLaunch& launch, cudaStream_t stream) {
  const std::size_t bytes = shared_bytes(launch.head_dim);
  FOVEA_CUDA_CHECK(cudaFuncSetAttribute(exact_attention_kernel<T, kWide>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  const dim3 grid(static_cast<unsigned>((launch.most_rows + kRows - 1) / kRows),
                  static_cast<unsigned>(launch.heads), static_cast<unsigned>(launch.sequences));
  exact_attention_kernel<T, kWide><<<grid, kThreads, bytes, stream>>>(launch);
  FOVEA_LAUNCH_CHECK("exact attention");
  return {};
}

}  // namespace

Status launch_exact_attention(const AttentionLaunch& launch, DType kv_type, cudaStream_t stream) {
  return with_float_type(kv_type, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    if (launch.head_dim <= 64) return launch_wide<T, 1>(launch, stream);
    if (launch.head_dim <= 128) return launch_wide<T, 2>(launch, stream);
    return launch_wide<T, 4>(launch, stream);
  });
}

}  // namespace fovea
