#pragma once
// Moving blocks between the host's memory and a device's.

#include "kernels/context.h"

namespace fovea {

/// to = from: equal shapes and types; each side lies on the CPU or on the context's device, rows
/// may have strides. On a device the copy is ordered with the work before and after it; a copy to
/// the host has arrived when the call returns, and one from the host has been read. Errors:
/// internal (shapes, types, another device), device.
Status copy(Context& context, ConstTensorView from, TensorView to);

/// Converts between float types (f32, f16, bf16) and places alike, element by element.
Status convert(Context& context, ConstTensorView from, TensorView to);

/// A float block (f32, f16, bf16) as f32 in the host's memory: the block itself on the CPU, else a
/// copy in context.host()'s workspace. An empty view stays one.
Result<ConstTensorView> to_host(Context& context, ConstTensorView block);

/// A block where the context computes: itself on the CPU, or when it lies there already; else a
/// copy in the context's workspace.
Result<ConstTensorView> to_device(Context& context, ConstTensorView block);

/// A block of the host's memory moved to where the context computes.
Result<Tensor> move_to_device(Context& context, Tensor block);

/// Waits until the work given to the context's device is done. Errors: device, when some of it
/// failed.
Status synchronize(Context& context);

}  // namespace fovea
