#pragma once
// The device part of survivors.h; arguments were checked, and results are not empty.

#include "kernels/ops/survivors/survivors.h"

namespace fovea {

Status close_up_cuda(Context& context, const SurvivorList& list,
                     std::span<const std::int32_t> visual, const ClosedRows& rows);

}  // namespace fovea
