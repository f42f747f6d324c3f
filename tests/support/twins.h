#pragma once
// GPU rows of a suite, and the CPU's result as what they must come close to.

#include "support/devices.h"

namespace fovea::testing {

/// Rounding of results to the type, on numbers of order 1 to 10; float32 sums in another order.
inline auto gpu_types() {
  return ::testing::Values(DeviceCase{"cuda_f32", DeviceKind::cuda, DType::f32, 5e-6},
                           DeviceCase{"cuda_bf16", DeviceKind::cuda, DType::bf16, 1.0 / 128},
                           DeviceCase{"cuda_f16", DeviceKind::cuda, DType::f16, 1.0 / 1024});
}
inline std::string case_name(const ::testing::TestParamInfo<DeviceCase>& info) {
  return info.param.name;
}

inline std::vector<double> wide(std::span<const float> values) {
  return {values.begin(), values.end()};
}

}  // namespace fovea::testing
