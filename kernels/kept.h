#pragma once
// What an operation keeps in a context for its next call there: a recorded graph and its memory.

#include <memory>

#include "kernels/context.h"

namespace fovea {

/// The place of `owner`, which is told from others by its address; empty at first. It ends with the
/// context.
std::shared_ptr<void>& kept_by(Context& context, const void* owner);

}  // namespace fovea
