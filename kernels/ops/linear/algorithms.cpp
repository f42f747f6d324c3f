#include "kernels/ops/linear/algorithms.h"

namespace fovea {

#ifdef FOVEA_WITH_CUDA
// kernels/ops/linear/cublaslt_library_cuda.cpp
Status use_cublaslt_table(int device, bool autotune);
std::string cublaslt_note(int device);
#else
static Status use_cublaslt_table(int, bool) {
  return make_error(ErrorCode::device, "this build of Fovea has no CUDA part")
      .in_field("--device")
      .with_remedy("Use --device cpu, or build with CMake's preset cuda");
}

static std::string cublaslt_note(int) {
  return {};
}
#endif

Status use_algorithm_table(Device device, bool autotune) {
  if (device.kind == DeviceKind::cuda) return use_cublaslt_table(device.index, autotune);
  if (!autotune) return {};
  return make_error(ErrorCode::usage, "the CPU's products have nothing to tune")
      .in_field("--autotune")
      .with_remedy("Leave it out, or use --device cuda");
}

std::string algorithms_note(Device device) {
  return device.kind == DeviceKind::cuda ? cublaslt_note(device.index) : std::string();
}

}  // namespace fovea
