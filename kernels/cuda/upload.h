#pragma once
// Weights on their way to the device.

#include "kernels/context.h"

namespace fovea {

/// to (on the device) = from (contiguous; in the host's memory, at any address, or on the device),
/// converted between float types on the device. The host's threads copy into two pinned buffers by
/// turns, while the other one travels: copies straight out of a mapped file run at a fraction of
/// that speed.
Status upload_large(Context& context, ConstTensorView from, TensorView to);

}  // namespace fovea
