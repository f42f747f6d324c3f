#pragma once
// Accuracy against what is paid for it, as a picture.

#include "app/chart/chart.h"
#include "app/eval/eval_report.h"

namespace fovea::app {

/// One series a method (settings that differ in schedule or seed belong together), one level a
/// control. A guide's work is added to the tokens it stands for. `settings`: those of the run's
/// columns, in their order.
Chart eval_chart(const EvalRun& run, const EvalResult& result,
                 const std::vector<PruneSetting>& settings, const std::string& title);

}  // namespace fovea::app
