#pragma once
// How alike rows are: what methods compare tokens by (DivPrune, VisionZip, ToMe).

#include "kernels/context.h"

namespace fovea {

/// y[i] = x[i] / |x[i]|; a row of zeros stays zeros. x, y: f32 [rows, width]; may be the same.
Status normalize_rows(Context& context, ConstTensorView x, TensorView y);

/// out[i, j] = a[i] . b[j]: cosines where rows have length 1. a: f32 [n, width]; b: f32 [m, width];
/// out: f32 [n, m]. Each value is the same whatever other rows there are, however many threads run,
/// and with a and b exchanged.
Status row_products(Context& context, ConstTensorView a, ConstTensorView b, TensorView out);

}  // namespace fovea
