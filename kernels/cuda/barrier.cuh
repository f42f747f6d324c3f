#pragma once
// Barriers in shared memory between warps of different roles, and what else such warps need. PTX of
// sm_90.

#include <cstdint>

namespace fovea {

/// A barrier (8 bytes of shared memory) whose phases end with `arrivals` arrivals each.
__device__ __forceinline__ void start_barrier(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// What the thread did before is seen by those who wait.
__device__ __forceinline__ void arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Counts as one arrival; the phase ends only when `bytes` more have been copied in. For one thread.
__device__ __forceinline__ void arrive_expecting(std::uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Barriers that this thread started may be signalled by copies from here on.
__device__ __forceinline__ void show_barriers_to_copies() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// Whether the phase of that parity is over. Before the first phase has ended, the phase of parity 1
/// counts as over.
__device__ __forceinline__ bool passed(std::uint32_t barrier, std::uint32_t parity) {
  std::uint32_t over;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.test_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(over)
      : "r"(barrier), "r"(parity)
      : "memory");
  return over != 0;
}
__device__ __forceinline__ void await(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Waits for all of `threads` threads that name barrier `id` (1 to 15) of the block.
__device__ __forceinline__ void meet(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// Counts for meet() without waiting.
__device__ __forceinline__ void pass_by(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// For all threads of a block: keeps it until the others of its cluster have come here too, and no longer
/// read its shared memory.
/// What was read there has arrived once it is computed with; writes elsewhere are not waited for.
__device__ __forceinline__ void leave_cluster() {
  asm volatile("barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait;" ::: "memory");
}

/// Shared memory that this thread wrote, or saw written, by ordinary means may be read by the tensor
/// cores afterwards.
__device__ __forceinline__ void show_shared_to_tensor_cores() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace fovea
