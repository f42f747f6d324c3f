#include "kernels/device.h"

#include <utility>

namespace fovea {

#ifdef FOVEA_WITH_CUDA
Status attach_cuda(Context& context);  // kernels/cuda/runtime_cuda.cpp
#else
namespace {

Error no_cuda() {
  return make_error(ErrorCode::device, "this build of Fovea has no CUDA part")
      .in_field("--device")
      .with_remedy("Use --device cpu, or build with CMake's preset cuda");
}

}  // namespace

bool built_with_cuda() {
  return false;
}

int cuda_device_count() {
  return 0;
}

std::size_t cuda_bytes_held(int) {
  return 0;
}

Result<DeviceInfo> cuda_device_info(int) {
  return no_cuda();
}

static Status attach_cuda(Context&) {
  return no_cuda();
}
#endif

Result<Context> make_context(Device device, int threads) {
  Context context;
  context.device = device;
  context.threads = threads;
  if (device.kind == DeviceKind::cpu) return context;
  FOVEA_CHECK(attach_cuda(context));
  context.workspace = Workspace(device);
  context.host_beside = std::make_shared<Context>();
  context.host_beside->threads = threads;
  return context;
}

Device best_device() {
  return cuda_device_count() > 0 ? Device{DeviceKind::cuda, 0} : Device{};
}

std::string device_name(Device device) {
  return device.kind == DeviceKind::cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

}  // namespace fovea
