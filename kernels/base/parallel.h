#pragma once
// The one way to use several cores. OpenMP underneath, because oneDNN runs on it too and a second
// thread pool beside it costs nearly a factor of two. Under ThreadSanitizer (which cannot see
// GCC's OpenMP runtime) the same call runs on std::thread.

#include <cstdint>
#include <functional>

namespace fovea {

/// Calls body(begin, end) on disjoint ranges that cover [0, count), on at most `threads` threads.
/// Ranges start at multiples of `grain` (>= 1). Results must not depend on how the range is cut.
/// The body must not throw.
void parallel_for(int threads, std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body);

/// Cores this process may use (its affinity mask is heeded), at least 1.
int available_threads();

}  // namespace fovea
