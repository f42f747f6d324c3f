#include "app/calibrate_options.h"

#include <CLI/CLI.hpp>

#include "app/option_checks.h"

namespace fovea::app {
namespace {

void declare_vit(CLI::App& calibrate, CalibrateVitOptions& options) {
  CLI::App& command = *calibrate.add_subcommand(
      "vit",
      "Thresholds of adaptive pruning inside a ViT: quantiles of the scores of sample pictures, "
      "chosen to meet a budget (not the published training)");
  command
      .add_option("path", options.paths,
                  "Sample pictures, folders (searched to the bottom) or patterns")
      ->required()
      ->check(non_empty("the path"))
      ->type_name("PATH...");
  command.add_option("--out", options.out, "File for the thresholds, as --vit-prune reads it")
      ->required()
      ->check(non_empty("the file's name"))
      ->type_name("FILE.json");
  command
      .add_option("--model", options.model.model,
                  "Folder of a ViT or DeiT, or of a LLaVA model (default: $FOVEA_MODEL, or the "
                  "bundled fovea-vit)")
      ->check(non_empty("the model folder"))
      ->type_name("DIR");
  command
      .add_option("--budget", options.budget,
                  "Share of the tower's GFLOPs that a picture may cost on average (default 0.65)")
      ->check(in_range(0, 1))
      ->type_name("SHARE");
  command
      .add_option("--blocks", options.blocks,
                  "Blocks before which to cut, such as 4,7,10 (default: those of twelve, to scale)")
      ->delimiter(',')
      ->check(whole_number(0, 255))
      ->allow_extra_args(false)
      ->type_name("LIST");
  command
      .add_option("--score", options.score,
                  "What decides: last block's scores (last), their sum (accu), or ema")
      ->check(one_of({"last", "accu", "ema"}))
      ->type_name("STATE");
  command
      .add_option("--limit", options.limit,
                  "Use at most N of the pictures, evenly spread (default 256)")
      ->check(whole_number(1, 100'000))
      ->type_name("N");
  command.add_option("--batch", options.batch, "Pictures that run through the model together (16)")
      ->check(whole_number(1, 1024))
      ->type_name("N");
  add_compute_options(command, options.model);
  add_json_option(command, options.output);
  add_talk_options(command, options.output);
}

}  // namespace

CLI::App& declare_calibrate(CLI::App& app, CalibrateVitOptions& vit) {
  CLI::App& command =
      *app.add_subcommand("calibrate", "Find settings of a method from sample data");
  command.require_subcommand(1);
  declare_vit(command, vit);
  return command;
}

Status check_calibrate(const CalibrateVitOptions& vit) {
  return check_json_target(vit.output, "calibrate vit");
}

}  // namespace fovea::app
