#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/report.h"

namespace fovea::app {
namespace {

int run(const AskOptions& options) {
  return run_ask(options);
}
int run(const ChatOptions& options) {
  return run_chat(options);
}
int run(const InspectOptions& options) {
  return run_inspect(options);
}
int run(const BenchOptions& options) {
  return run_bench(options);
}
int run(const EvalOptions& options) {
  return run_eval(options);
}
int run(const HeatmapOptions& options) {
  return run_heatmap(options);
}
int run(const ClassifyOptions& options) {
  return run_classify(options);
}
int run(const CalibrateVitOptions& options) {
  return run_calibrate_vit(options);
}
int run(const CalibrateExitOptions& options) {
  return run_calibrate_exit(options);
}
int run(const CalibrateScheduleOptions& options) {
  return run_calibrate_schedule(options);
}
int run(const CalibrateDebiasOptions& options) {
  return run_calibrate_debias(options);
}
int run(const CalibrateFitPruneOptions& options) {
  return run_calibrate_fitprune(options);
}

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  try {
    const auto line =
        parse_command_line(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    if (!line) return report_error(line.error());
    if (!line->command) {
      print_text(line->text);
      return kExitOk;
    }
    install_interrupt_handler();
    return std::visit([](const auto& options) { return run(options); }, *line->command);
  } catch (const std::bad_alloc&) {
    return report_error(make_error(ErrorCode::out_of_memory, "the machine has no memory left"));
  } catch (const std::exception& error) {
    return report_error(
        make_error(ErrorCode::internal, error.what()).with_remedy("This is a fault in fovea"));
  }
}

}  // namespace fovea::app
