#pragma once
// Tiles of Hopper's attention kernel in shared memory, and how its first four warps fill them. For
// attention_hopper_cuda.cu alone.

#include "kernels/cuda/barrier.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "kernels/ops/attention/attention_launch.cuh"

namespace fovea::hopper {

inline constexpr int kGroupThreads = 128, kGroupRows = 64, kMostGroups = 2, kKeys = 128, kStages = 3;
inline constexpr int kPageKeys = 1 << kTilePageShift;
inline constexpr int kTileBytes = kKeys * kTileRowBytes;
static_assert(kMostGroups * kGroupRows == kKeys && kKeys == 2 * kPageKeys);

/// Of 128 rows, which are as many tiles wide as their channels take.
template <int kChannels>
constexpr int kTilesBytes = (kChannels + 63) / 64 * kTileBytes;
/// Rows of the block, then kStages times keys, then kStages times values.
template <int kChannels>
constexpr int kSharedBytes = (1 + 2 * kStages) * kTilesBytes<kChannels> + kTileRowGroupBytes;

/// Where a row's 16-byte piece lies in tiles.
__device__ __forceinline__ std::uint32_t place(std::uint32_t tiles, int row, int piece) {
  return tiles + piece / 8 * kTileBytes + row * kTileRowBytes + ((piece ^ row) % 8) * 16;
}

/// Where a thread of a group of 128 puts the 16-byte pieces of its rows, which are kDown apart.
template <int kChannels>
struct Places {
  static constexpr int kAcross = kChannels > 64 ? 16 : 8, kDown = kGroupThreads / kAcross;
  static constexpr int kBytesDown = kDown * kTileRowBytes;
  static_assert(kDown % 8 == 0, "so that a thread's pieces are swizzled alike");

  __device__ __forceinline__ explicit Places(int thread)
      : row(thread / kAcross),
        piece(thread % kAcross),
        offset(place(0, row, piece)) {}
  __device__ __forceinline__ bool used() const { return piece < kChannels / 8; }

  int row, piece;
  std::uint32_t offset;  // of the first piece in bytes
};

/// The keys (or values) of one kv head, and where 128 of them lie: 64 in a row, and 64 more.
template <class T>
struct Side {
  const std::byte* const* pages;
  std::int64_t head_offset, token_stride;
  const T* blocks[2];

  __device__ __forceinline__ void locate(const CudaSequence& sequence, int first, int limit) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const auto block = static_cast<std::uint32_t>(min(first + i * kPageKeys, limit - 1)) / kPageKeys;
      const std::uint32_t token = block * kPageKeys;
      const std::uint32_t slot = token & ((std::uint32_t{1} << sequence.page_shift) - 1);
      const std::byte* const page = pages[token >> sequence.page_shift];
      blocks[i] = reinterpret_cast<const T*>(page) + head_offset + slot * token_stride;
    }
  }
};

/// 128 tokens, of which `count` are there; zeros for the others.
template <class T, int kChannels>
__device__ __forceinline__ void fetch_tokens(const Side<T>& side, const Places<kChannels>& places, int count,
                                             std::uint32_t to) {
  using P = Places<kChannels>;
  constexpr int kPieces = kPageKeys / P::kDown;  // of a thread in 64 tokens
  if (!places.used()) return;
  to += places.offset;
#pragma unroll
  for (int b = 0; b < 2; ++b) {
    const T* from = side.blocks[b] + places.row * side.token_stride + 8 * places.piece;
    if (count >= (b + 1) * kPageKeys) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        copy_async_16(to + (b * kPieces + i) * P::kBytesDown, from, true);
        from += P::kDown * side.token_stride;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const bool there = b * kPageKeys + places.row + i * P::kDown < count;
        copy_async_16(to + (b * kPieces + i) * P::kBytesDown, there ? from : side.blocks[b], there);
        from += P::kDown * side.token_stride;
      }
    }
  }
}

/// A ring of tiles that one side fills and the other empties.
struct Ring {
  std::uint32_t tiles, full, empty;  // addresses; of the first of kStages
};

/// Tells the groups that tiles are there, once their copies are done.
struct Announcement {
  std::uint32_t pending = 0;

  template <int kLater>
  __device__ __forceinline__ void make(int lane) {
    if (pending == 0) return;
    wait_copies<kLater>();
    show_shared_to_tensor_cores();
    __syncwarp();
    if (lane == 0) arrive(pending);
    pending = 0;
  }
};

/// Fills both rings with all `limit` keys and values.
template <class T, int kChannels>
__device__ __forceinline__ void load_all(const CudaSequence& sequence, Side<T> (&sides)[2],
                                         const Ring (&rings)[2], int limit) {
  const int lane = threadIdx.x % 32;
  const Places<kChannels> places(static_cast<int>(threadIdx.x));
  Announcement announcement;
  if (limit > 0) {
    for (Side<T>& side : sides) side.locate(sequence, 0, limit);
  }
  for (int first = 0, stage = 0, turn = 1; first < limit; first += kKeys) {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const std::uint32_t empty = rings[s].empty + 8 * stage;
      if (!__any_sync(0xFFFFFFFFu, passed(empty, turn))) announcement.make<0>(lane);
      await(empty, turn);
      fetch_tokens<T, kChannels>(sides[s], places, limit - first,
                                 rings[s].tiles + stage * kTilesBytes<kChannels>);
      commit_copies();
      if (first + kKeys < limit) sides[s].locate(sequence, first + kKeys, limit);
      announcement.make<1>(lane);
      announcement.pending = rings[s].full + 8 * stage;
    }
    if (++stage == kStages) {
      stage = 0;
      turn ^= 1;
    }
  }
  announcement.make<0>(lane);
}

/// A group's 64 rows, the last one again where there are fewer.
template <class T, int kChannels>
__device__ __forceinline__ void fetch_query(const AttentionLaunch& launch, const CudaSequence& sequence,
                                            int head, int first_row, std::uint32_t to) {
  using P = Places<kChannels>;
  const P places(static_cast<int>(threadIdx.x % kGroupThreads));
  if (!places.used()) return;
  const T* query = reinterpret_cast<const T*>(launch.query) + std::int64_t{head} * kChannels + 8 * places.piece;
#pragma unroll
  for (int i = 0; i < kGroupRows / P::kDown; ++i) {
    const int row = sequence.first_row + min(first_row + places.row + i * P::kDown, sequence.rows - 1);
    copy_async_16(to + places.offset + i * P::kBytesDown, query + row * launch.query_stride, true);
  }
}

}  // namespace fovea::hopper
