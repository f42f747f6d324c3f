#pragma once
// What the attention kernels of the GPU are told, passed by value so that a recorded graph keeps it,
// and how they find keys and values. Logits are kept in units of log2(e).

#include <cstdint>

#include "kernels/cuda/vector.cuh"
#include "kernels/ops/attention/attention.h"

namespace fovea {

struct CudaSequence {
  const std::byte* const* key_pages;
  const std::byte* const* value_pages;
  const std::int32_t* length;
  const float* key_bias;  // null for none
  std::int64_t key_head_stride, key_token_stride;
  std::int64_t value_head_stride, value_token_stride;
  std::int32_t page_tokens;
  std::int32_t page_shift;  // of a page size that is a power of two, and 31 for a lone page; else -1
  std::int32_t first_row, rows;
};

inline constexpr int kSequencesPerLaunch = 32;

struct AttentionLaunch {
  const std::byte* query;
  std::byte* out;
  float* lse;  // null when nobody asks
  std::int64_t query_stride, out_stride, lse_stride;
  DType query_type, out_type;
  bool causal, history_settled;
  std::int32_t heads, kv_heads, head_dim;
  float scale;  // times log2(e)
  std::int32_t most_rows;
  std::int32_t sequences;
  CudaSequence sequence[kSequencesPerLaunch];
};

inline constexpr float kLog2EFloat = 1.44269504088896341f;

/// CudaSequence::page_shift of a view.
std::int32_t page_shift(const KvView& kv);

/// Any types, any channels up to 256, arithmetic in float32.
Status launch_exact_attention(const AttentionLaunch& launch, DType kv_type, cudaStream_t stream);
inline constexpr std::int32_t kMostExactChannels = 256;
Error too_many_channels(std::int64_t channels);

/// Query, keys, values and out of one 16-bit type, with as many channels as it has code for; page_shift
/// of every sequence at least kTilePageShift.
inline constexpr std::int32_t kTilePageShift = 6;
bool tensor_attention_fits(std::int32_t head_dim);
Status launch_tensor_attention(const AttentionLaunch& launch, DType type, cudaStream_t stream);

/// The same in code for Hopper; *launched is false where the device or head_dim is another.
Status launch_hopper_attention(const AttentionLaunch& launch, DType type, int multiprocessors,
                               cudaStream_t stream, bool* launched);

/// Few lanes (row, head within a kv head) a sequence. The keys of few sequences are split over the blocks
/// of a cluster. page_shift of every sequence at least 0.
inline constexpr std::int32_t kMostDecodeLanes = 16;
Status launch_decode_attention(const AttentionLaunch& launch, DType kv_type, int multiprocessors,
                               bool clusters, cudaStream_t stream);

#ifdef __CUDACC__

/// Keys that row `row` of the sequence sees.
__device__ __forceinline__ std::int32_t visible_keys(const AttentionLaunch& launch,
                                                     const CudaSequence& sequence, std::int32_t length,
                                                     std::int32_t row) {
  if (!launch.causal) return length;
  const std::int32_t seen = length - sequence.rows + row + 1;
  return seen < 0 ? 0 : seen;
}

/// First channel of a token's key (or value).
template <class T>
__device__ __forceinline__ const T* token_channels(const CudaSequence& sequence,
                                                   const std::byte* const* pages, std::int64_t head_offset,
                                                   std::int64_t token_stride, std::int32_t token) {
  const auto t = static_cast<std::uint32_t>(token);
  const auto size = static_cast<std::uint32_t>(sequence.page_tokens);
  const std::uint32_t page = sequence.page_shift >= 0 ? t >> sequence.page_shift : t / size;
  const std::uint32_t slot = t - page * size;
  return reinterpret_cast<const T*>(pages[page]) + head_offset + slot * token_stride;
}

/// Natural log-sum-exp from the maximum (log2 units) and the sum of exponentials below it.
__device__ __forceinline__ float natural_lse(float maximum, float total) {
  if (total == 0.0f) return -INFINITY;  // NaN is not nothing
  return static_cast<float>((maximum + log2(static_cast<double>(total))) * 0.693147180559945309);
}

#endif  // __CUDACC__

}  // namespace fovea
