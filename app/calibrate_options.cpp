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

void declare_exit(CLI::App& calibrate, CalibrateExitOptions& options) {
  CLI::App& command = *calibrate.add_subcommand(
      "exit",
      "The threshold of --exit-threshold at which a guide answers a share of sample questions "
      "itself; the large model does not run");
  command.add_option("--guide", options.model.model, "Folder of the small model")
      ->required()
      ->check(non_empty("the guide's folder"))
      ->type_name("DIR");
  command
      .add_option("--questions", options.questions,
                  "JSON lines: question_id, image, text; not those that will be evaluated")
      ->required()
      ->check(non_empty("the file's name"))
      ->type_name("FILE");
  command
      .add_option("--image-folder", options.image_folder,
                  "Where the pictures are (default: images/ beside the questions, or their folder)")
      ->check(non_empty("the folder's name"))
      ->type_name("DIR");
  command.add_option("--share", options.share, "Share of the questions that shall exit, 0 to 1")
      ->required()
      ->check(in_range(0, 1))
      ->type_name("F");
  command.add_option("--out", options.out, "File for the threshold and what it was made from")
      ->required()
      ->check(non_empty("the file's name"))
      ->type_name("FILE.json");
  command
      .add_option("--exit-by", options.exit_by,
                  "What is held against the threshold: score (the default) or confidence")
      ->check(one_of({"score", "confidence"}))
      ->type_name("WHAT");
  command.add_option("--limit", options.limit, "Only the first N questions")
      ->check(whole_number(1, 1'000'000'000))
      ->type_name("N");
  add_generation_options(command, options.generation);
  add_compute_options(command, options.model);
  add_json_option(command, options.output);
  add_talk_options(command, options.output);
}

}  // namespace

CLI::App& declare_calibrate(CLI::App& app, CalibrateOptions& options) {
  CLI::App& command =
      *app.add_subcommand("calibrate", "Find settings of a method from sample data");
  command.require_subcommand(1);
  declare_vit(command, options.vit);
  declare_exit(command, options.exit);
  return command;
}

Status check_calibrate(const CalibrateVitOptions& options) {
  return check_json_target(options.output, "calibrate vit");
}

Status check_calibrate(const CalibrateExitOptions& options) {
  return check_json_target(options.output, "calibrate exit");
}

}  // namespace fovea::app
