#pragma once
// Moving blocks between the host's memory and a device's.

#include "kernels/context.h"

namespace fovea {

/// to = from: equal shapes and types; each side lies on the CPU or on the context's device, rows may
/// have strides. On a device the copy is ordered with the work before and after it; a copy to the
/// host has arrived when the call returns, and one from the host has been read. Errors: internal
/// (shapes, types, another device), device.
Status copy(Context& context, ConstTensorView from, TensorView to);

/// Converts between float types (f32, f16, bf16) and places alike, element by element.
Status convert(Context& context, ConstTensorView from, TensorView to);

/// Waits until the work given to the context's device is done. Errors: device, when some of it
/// failed.
Status synchronize(Context& context);

}  // namespace fovea
