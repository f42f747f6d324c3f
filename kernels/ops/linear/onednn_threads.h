#pragma once

#include <omp.h>

namespace fovea {

/// oneDNN asks OpenMP for its number of threads, when a product is prepared and when it runs. This
/// sets it for the calling thread while the object lives.
class OnednnThreads {
 public:
  explicit OnednnThreads(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~OnednnThreads() { omp_set_num_threads(before_); }
  OnednnThreads(const OnednnThreads&) = delete;
  OnednnThreads& operator=(const OnednnThreads&) = delete;

 private:
  int before_;
};

}  // namespace fovea
