#include "kernels/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <thread>
#include <vector>

#ifndef FOVEA_STD_THREADS
#include <omp.h>
#endif

namespace fovea {

void parallel_for(int threads, std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t pieces = (count + grain - 1) / grain;
  const int used = static_cast<int>(std::min<std::int64_t>(std::max(threads, 1), pieces));
  if (used == 1) {
    body(0, count);
    return;
  }
  const auto run_share = [&](int index) {
    const std::int64_t begin = pieces * index / used * grain;
    const std::int64_t end = std::min(count, pieces * (index + 1) / used * grain);
    if (begin < end) body(begin, end);
  };
#ifdef FOVEA_STD_THREADS
  std::vector<std::jthread> pool;
  for (int index = 1; index < used; ++index) pool.emplace_back(run_share, index);
  run_share(0);
#else
  // A nested or limited region may grant fewer threads than asked: cut by what was granted.
#pragma omp parallel num_threads(used)
  {
    const int granted = omp_get_num_threads();
    for (int index = omp_get_thread_num(); index < used; index += granted) run_share(index);
  }
#endif
}

int available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace fovea
