#pragma once
// Hopper's product of a warpgroup: 64 rows, asynchronous, one or both factors in shared memory. PTX
// of sm_90a alone: code that uses it stands between #ifdef FOVEA_WGMMA and #endif.

#include <cstdint>

#include "kernels/cuda/element.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define FOVEA_WGMMA 1
#endif

namespace fovea {

/// Rows of a tile in shared memory are 128 bytes long, and 16-byte piece i of row r lies where piece
/// i ^ (r % 8) would; a tile begins at a multiple of 1024 bytes. Wider rows are several tiles side by
/// side, `tile_bytes` apart.
inline constexpr int kTileRowBytes = 128;
inline constexpr int kTileRowGroupBytes = 8 * kTileRowBytes;  // after which the order repeats

/// Tiles as a factor. For one whose channels are summed over, `address` may lie 32 bytes further for
/// each sixteen channels within a tile; for one whose rows are, sixteen rows further. Adding to the
/// result adds sixteenths of bytes to the address.
__device__ __forceinline__ std::uint64_t tile_descriptor(std::uint32_t address, int tile_bytes) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  return std::uint64_t{(address & 0x3FFFF) >> 4} | static_cast<std::uint64_t>(tile_bytes >> 4) << 16 |
         static_cast<std::uint64_t>(kTileRowGroupBytes >> 4) << 32 | kSwizzle128;
}

/// Before the first product, and when registers that it reads or adds to were touched since the last.
__device__ __forceinline__ void order_registers() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// The products since the last call are a group.
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most kPending groups are under way.
template <int kPending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// After a wait keeps the compiler from reading results before it, and before a wait from leaving for
/// later what was to be done in the meantime.
template <int kCount>
__device__ __forceinline__ void pin(float (&sums)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

template <int kCount>
__device__ __forceinline__ void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// Products of 64 rows with kColumns columns over sixteen summands. A thread's sum 4 n + e belongs to
/// row 16 warp + lane / 4 + 8 (e / 2), column 8 n + 2 (lane % 4) + e % 2.
template <class T, int kColumns>
struct WarpgroupProduct;

#define FOVEA_SUMS_8(s, i)                                                                          \
  "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]),       \
      "+f"(s[i + 6]), "+f"(s[i + 7])
#define FOVEA_SUMS_32(s, i) \
  FOVEA_SUMS_8(s, i), FOVEA_SUMS_8(s, i + 8), FOVEA_SUMS_8(s, i + 16), FOVEA_SUMS_8(s, i + 24)

// SUMS: the sums as operands; LIST: their places; A to E: the places behind them.
#define FOVEA_WARPGROUP_PRODUCT(TYPE, NAME, COLUMNS, SUMS, LIST, A, B, C, D, E)                      \
  template <>                                                                                       \
  struct WarpgroupProduct<TYPE, COLUMNS> {                                                          \
    /* Both factors in shared memory, summed over channels; `add` 0 begins anew. */                 \
    static __device__ __forceinline__ void of_tiles(float (&sums)[COLUMNS / 2], std::uint64_t a,    \
                                                    std::uint64_t b, int add) {                     \
      asm volatile(                                                                                 \
          "{\n"                                                                                     \
          ".reg .pred p;\n"                                                                         \
          "setp.ne.b32 p, " C ", 0;\n"                                                              \
          "wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." NAME "." NAME " {" LIST "}, " A   \
          ", " B ", p, 1, 1, 0, 0;\n"                                                               \
          "}"                                                                                       \
          : SUMS                                                                                    \
          : "l"(a), "l"(b), "r"(add)                                                                \
          : "memory");                                                                              \
    }                                                                                               \
    /* sums += a b with `a` in registers, as mma.sync has it, and tiles summed over their rows. */  \
    static __device__ __forceinline__ void of_registers(float (&sums)[COLUMNS / 2],                 \
                                                        const std::uint32_t (&a)[4],                \
                                                        std::uint64_t b) {                          \
      asm volatile(                                                                                 \
          "{\n"                                                                                     \
          ".reg .pred p;\n"                                                                         \
          "setp.eq.b32 p, 0, 0;\n"                                                                  \
          "wgmma.mma_async.sync.aligned.m64n" #COLUMNS "k16.f32." NAME "." NAME " {" LIST "}, {" A  \
          ", " B ", " C ", " D "}, " E ", p, 1, 1, 1;\n"                                            \
          "}"                                                                                       \
          : SUMS                                                                                    \
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)                                      \
          : "memory");                                                                              \
    }                                                                                               \
  };

#define FOVEA_PLACES_16 "%0, %1, %2, %3, %4, %5, %6, %7"
#define FOVEA_ALL_SUMS_16 FOVEA_SUMS_8(sums, 0)
#define FOVEA_PLACES_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define FOVEA_ALL_SUMS_32 FOVEA_SUMS_8(sums, 0), FOVEA_SUMS_8(sums, 8)
#define FOVEA_PLACES_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define FOVEA_ALL_SUMS_64 FOVEA_SUMS_32(sums, 0)
#define FOVEA_PLACES_80 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, " \
  "%34, %35, %36, %37, %38, %39"
#define FOVEA_ALL_SUMS_80 FOVEA_SUMS_32(sums, 0), FOVEA_SUMS_8(sums, 32)
#define FOVEA_PLACES_96 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, " \
  "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define FOVEA_ALL_SUMS_96 FOVEA_SUMS_32(sums, 0), FOVEA_SUMS_8(sums, 32), FOVEA_SUMS_8(sums, 40)
#define FOVEA_PLACES_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, " \
  "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, " \
  "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define FOVEA_ALL_SUMS_128 FOVEA_SUMS_32(sums, 0), FOVEA_SUMS_32(sums, 32)

FOVEA_WARPGROUP_PRODUCT(__nv_bfloat16, "bf16", 16, FOVEA_ALL_SUMS_16, FOVEA_PLACES_16,
                        "%8", "%9", "%10", "%11", "%12")
FOVEA_WARPGROUP_PRODUCT(__half, "f16", 16, FOVEA_ALL_SUMS_16, FOVEA_PLACES_16,
                        "%8", "%9", "%10", "%11", "%12")
FOVEA_WARPGROUP_PRODUCT(__nv_bfloat16, "bf16", 32, FOVEA_ALL_SUMS_32, FOVEA_PLACES_32,
                        "%16", "%17", "%18", "%19", "%20")
FOVEA_WARPGROUP_PRODUCT(__half, "f16", 32, FOVEA_ALL_SUMS_32, FOVEA_PLACES_32,
                        "%16", "%17", "%18", "%19", "%20")
FOVEA_WARPGROUP_PRODUCT(__nv_bfloat16, "bf16", 64, FOVEA_ALL_SUMS_64, FOVEA_PLACES_64,
                        "%32", "%33", "%34", "%35", "%36")
FOVEA_WARPGROUP_PRODUCT(__half, "f16", 64, FOVEA_ALL_SUMS_64, FOVEA_PLACES_64,
                        "%32", "%33", "%34", "%35", "%36")
FOVEA_WARPGROUP_PRODUCT(__nv_bfloat16, "bf16", 80, FOVEA_ALL_SUMS_80, FOVEA_PLACES_80,
                        "%40", "%41", "%42", "%43", "%44")
FOVEA_WARPGROUP_PRODUCT(__half, "f16", 80, FOVEA_ALL_SUMS_80, FOVEA_PLACES_80,
                        "%40", "%41", "%42", "%43", "%44")
FOVEA_WARPGROUP_PRODUCT(__nv_bfloat16, "bf16", 96, FOVEA_ALL_SUMS_96, FOVEA_PLACES_96,
                        "%48", "%49", "%50", "%51", "%52")
FOVEA_WARPGROUP_PRODUCT(__half, "f16", 96, FOVEA_ALL_SUMS_96, FOVEA_PLACES_96,
                        "%48", "%49", "%50", "%51", "%52")
FOVEA_WARPGROUP_PRODUCT(__nv_bfloat16, "bf16", 128, FOVEA_ALL_SUMS_128, FOVEA_PLACES_128,
                        "%64", "%65", "%66", "%67", "%68")
FOVEA_WARPGROUP_PRODUCT(__half, "f16", 128, FOVEA_ALL_SUMS_128, FOVEA_PLACES_128,
                        "%64", "%65", "%66", "%67", "%68")

#undef FOVEA_WARPGROUP_PRODUCT
#undef FOVEA_SUMS_8
#undef FOVEA_SUMS_32
#undef FOVEA_PLACES_16
#undef FOVEA_ALL_SUMS_16
#undef FOVEA_PLACES_32
#undef FOVEA_ALL_SUMS_32
#undef FOVEA_PLACES_64
#undef FOVEA_ALL_SUMS_64
#undef FOVEA_PLACES_80
#undef FOVEA_ALL_SUMS_80
#undef FOVEA_PLACES_96
#undef FOVEA_ALL_SUMS_96
#undef FOVEA_PLACES_128
#undef FOVEA_ALL_SUMS_128

}  // namespace fovea
