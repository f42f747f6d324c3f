#pragma once
// Row normalisations in float32. On a GPU y may be of any float type.

#include "kernels/context.h"

namespace fovea {

/// y = x / sqrt(mean(x^2) + epsilon) * weight. x, y: [rows, width] f32 (strides allowed, y may be
/// x); weight: [width] f32. arXiv 1910.07467.
Status rms_norm(Context& context, ConstTensorView x, ConstTensorView weight, float epsilon,
                TensorView y);

/// y = (x - mean) / sqrt(variance + epsilon) * weight + bias, variance over the row (biased).
/// weight, bias: [width] f32. arXiv 1607.06450.
Status layer_norm(Context& context, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
                  float epsilon, TensorView y);

}  // namespace fovea
