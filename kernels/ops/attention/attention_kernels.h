#pragma once
// The two attention kernels of the CPU, one for each shape of query. Both run one task; the
// instruction set is chosen at run time.

#include "kernels/ops/attention/attention_plan.h"

namespace fovea {

/// Many lanes (prefill, vision towers, decoding with many query heads per kv head): vectors run
/// across lanes.
struct ManyLanesKernel {
  std::int64_t block_lanes;  // lanes of a full task
  std::int64_t (*scratch_floats)(std::int64_t head_dim);
  void (*run)(const AttentionTask& task, float* scratch);
};
ManyLanesKernel many_lanes_kernel();

/// Few lanes (decoding): vectors run across channels, so that a lone lane still uses whole vectors.
struct FewLanesKernel {
  std::int64_t most_lanes;  // above this, ManyLanesKernel is faster
  std::int64_t (*scratch_floats)(std::int64_t lanes, std::int64_t head_dim);
  void (*run)(const AttentionTask& task, float* scratch);
};
FewLanesKernel few_lanes_kernel();

}  // namespace fovea
