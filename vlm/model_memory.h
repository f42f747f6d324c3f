#pragma once
// What a model will take of the machine's memory, told from its configuration alone.

#include "vlm/llava_model.h"

namespace fovea {

/// Weights that are multiplied with, blocks of the tower behind the feature layer left out.
double parameters(const LlavaConfig& config);

/// The type weights are kept in: automatic means bf16 when the float32 ones would take more than
/// 2 GB, else f32.
LinearDType choose_dtype(DTypeChoice choice, const LlavaConfig& config);

/// Bytes that loading the weights takes, norms and packing included.
double weight_memory(const LlavaConfig& config, LinearDType dtype);

/// Bytes of keys and values that one token of a prompt takes in all layers.
double kv_memory_per_token(const LlavaConfig& config, LinearDType dtype);

/// Bytes that a device must have free before loading: the weights and, on a GPU, keys, values and
/// scratch of a long prompt.
double memory_needed(const LlavaConfig& config, LinearDType dtype, Device device);

/// Bytes that the device, or the system, can still give; a negative number when it does not say.
/// Errors: device.
Result<double> available_memory(Device device);

/// Refuses to begin what the machine or the GPU cannot hold: running out half-way would take other
/// programs down with it. Errors: out_of_memory, with both numbers and what would fit.
Status check_memory(const LlavaConfig& config, LinearDType dtype, Device device);

}  // namespace fovea
