#pragma once
// The device part of groups.h; arguments were checked.

#include "kernels/ops/groups/groups.h"

namespace fovea {

Status density_peak_groups_cuda(Context& context, ConstTensorView x, const Groups& groups);
Status join_most_alike_cuda(Context& context, ConstTensorView likeness, const Groups& groups);
Status without_cuda(Context& context, ConstTensorView all, ConstTensorView some, TensorView rest);
Status singles_and_groups_cuda(Context& context, ConstTensorView singles, ConstTensorView names,
                               const Groups& groups, GroupWeights weigh, TensorView sources,
                               TensorView offsets, TensorView weights);

}  // namespace fovea
