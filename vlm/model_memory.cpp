#include "vlm/model_memory.h"

#include <cstdio>
#include <fstream>
#include <string>

#include "kernels/device.h"

namespace fovea {
namespace {

// Above this, float32 weights crowd out everything else on an ordinary machine.
constexpr double kAutomaticF32Bytes = 2e9;
constexpr double kNormsAndPacking = 1.05;

double element_bytes(LinearDType dtype) {
  return dtype == LinearDType::f32 ? 4.0 : 2.0;
}

double system_memory() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  double kilobytes = 0;
  std::string unit;
  while (meminfo >> key >> kilobytes >> unit) {
    if (key == "MemAvailable:") return kilobytes * 1024.0;
  }
  return -1;
}

}  // namespace

double parameters(const LlavaConfig& config) {
  const DecoderConfig& d = config.decoder;
  const VitConfig& v = config.vision;
  const double attention =
      2.0 * d.hidden_size * d.head_dim * static_cast<double>(d.heads + d.kv_heads);
  const double decoder = d.layers * (attention + 3.0 * d.hidden_size * d.intermediate_size);
  const double embeddings = (d.tie_embeddings ? 1.0 : 2.0) * d.vocab_size * d.hidden_size;
  const double tower = config.vision_run_layers * (4.0 * v.hidden_size * v.hidden_size +
                                                   2.0 * v.hidden_size * v.intermediate_size);
  return decoder + embeddings + (v.layers > 0 ? tower : 0.0);
}

LinearDType choose_dtype(DTypeChoice choice, const LlavaConfig& config) {
  switch (choice) {
    case DTypeChoice::f32:
      return LinearDType::f32;
    case DTypeChoice::bf16:
      return LinearDType::bf16;
    case DTypeChoice::f16:
      return LinearDType::f16;
    case DTypeChoice::automatic:
      break;
  }
  return 4.0 * parameters(config) > kAutomaticF32Bytes ? LinearDType::bf16 : LinearDType::f32;
}

double weight_memory(const LlavaConfig& config, LinearDType dtype) {
  return parameters(config) * element_bytes(dtype) * kNormsAndPacking;
}

double kv_memory_per_token(const LlavaConfig& config, LinearDType dtype) {
  const DecoderConfig& d = config.decoder;
  return 2.0 * d.layers * d.kv_heads * d.head_dim * element_bytes(dtype);
}

double memory_needed(const LlavaConfig& config, LinearDType dtype, Device device) {
  const double weights = weight_memory(config, dtype);
  if (device.kind == DeviceKind::cpu) return weights;
  constexpr double kTokens = 4096, kScratch = 0.5e9;
  return weights + kScratch + kTokens * kv_memory_per_token(config, dtype);
}

Result<double> available_memory(Device device) {
  if (device.kind == DeviceKind::cpu) return system_memory();
  FOVEA_TRY(const DeviceInfo info, cuda_device_info(device.index));
  return static_cast<double>(info.free_bytes);
}

Status check_memory(const LlavaConfig& config, LinearDType dtype, Device device) {
  const bool gpu = device.kind == DeviceKind::cuda;
  FOVEA_TRY(const double available, available_memory(device));
  const double needed = memory_needed(config, dtype, device);
  if (available < 0 || needed <= available) return {};
  char text[160];
  std::snprintf(text, sizeof(text),
                "the %s need about %.1f GB of memory on %s, %.1f GB are available",
                gpu ? "weights, keys and values" : "weights", needed / 1e9,
                gpu ? device_name(device).c_str() : "this machine", available / 1e9);
  Error error = make_error(ErrorCode::out_of_memory, text);
  if (dtype == LinearDType::f32 &&
      memory_needed(config, LinearDType::bf16, device) <= available) {
    error.with_remedy("Load with --dtype bf16");
  } else if (gpu) {
    error.with_remedy("Use --device cpu, or end other programs on the GPU");
  }
  return error;
}

}  // namespace fovea
