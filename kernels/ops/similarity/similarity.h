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

/// Indices, ascending, of k rows of unit (f32 [n, width], rows of length 1) that lie far from each
/// other: first the row that is least like the one most like it, then again and again the row whose
/// largest cosine with a chosen one is smallest. The lower index wins among equals. Keeps no [n, n]
/// matrix. indices: i32 [k], 1 <= k <= n.
Status farthest_rows(Context& context, ConstTensorView unit, TensorView indices);

/// mean[i] = mean over heads of x[i, head], the sum in the order of heads. x: [rows, heads,
/// channels] f32, on a GPU f32, f16 or bf16; mean: f32 [rows, channels].
Status head_means(Context& context, ConstTensorView x, TensorView mean);

}  // namespace fovea
