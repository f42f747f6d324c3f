#pragma once
// The NMI of a tower's attention, drawn.

#include <vector>

#include "vision/attention_statistics.h"
#include "vision/image.h"

namespace fovea {

/// nmi: [layers][heads]. Layers run to the right, NMI upwards from 0: a dot for each head, a line
/// through the means of the layers, the range between the thresholds (hybrid) tinted. Axes carry
/// numbers. Errors: usage (no layers, or layers of different numbers of heads).
Result<Image> draw_nmi_plot(const std::vector<std::vector<double>>& nmi,
                            const ReachThresholds& thresholds);

}  // namespace fovea
