#pragma once
// The device part of alike.h; arguments were checked.

#include "kernels/ops/alike/alike.h"

namespace fovea {

Status merge_alike_cuda(Context& context, ConstTensorView keys, ConstTensorView sizes,
                        std::int64_t special, const AlikeTokens& tokens);

}  // namespace fovea
