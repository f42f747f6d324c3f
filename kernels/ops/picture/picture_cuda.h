#pragma once
// The device part of picture.h; arguments were checked, and results are not empty.

#include "kernels/ops/picture/picture.h"

namespace fovea {

Status sum_columns_cuda(Context& context, const PictureSheet& sheet, const AxisTaps& taps,
                        std::int64_t first_row, TensorView out);
Status sum_rows_cuda(Context& context, ConstTensorView from, const AxisTaps& taps,
                     std::int64_t first_row, TensorView out);
Status spread_channels_cuda(Context& context, ConstTensorView picture, std::int64_t left,
                            std::int64_t top, const LevelTable& table, TensorView planes);

}  // namespace fovea
