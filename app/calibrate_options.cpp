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

/// What calibrations by sample questions are told.
void add_question_options(CLI::App& command, CalibrateQuestionOptions& options,
                          const std::string& out_help) {
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
  command.add_option("--out", options.out, out_help)
      ->required()
      ->check(non_empty("the file's name"))
      ->type_name("FILE.json");
  command.add_option("--limit", options.limit, "Only the first N questions")
      ->check(whole_number(1, 1'000'000'000))
      ->type_name("N");
}

void add_shared(CLI::App& command, CalibrateQuestionOptions& options) {
  add_generation_options(command, options.generation);
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
  add_question_options(command, options, "File for the threshold and what it was made from");
  command.add_option("--share", options.share, "Share of the questions that shall exit, 0 to 1")
      ->required()
      ->check(in_range(0, 1))
      ->type_name("F");
  command
      .add_option("--exit-by", options.exit_by,
                  "What is held against the threshold: score (the default) or confidence")
      ->check(one_of({"score", "confidence"}))
      ->type_name("WHAT");
  add_compute_options(command, options.model);
  add_shared(command, options);
}

void declare_schedule(CLI::App& calibrate, CalibrateScheduleOptions& options) {
  CLI::App& command = *calibrate.add_subcommand(
      "schedule",
      "The layers after which AdaptInfer cuts: where, over sample questions, the text's attention "
      "to the picture changes most often");
  add_question_options(command, options,
                       "File for the schedule, as --prune adaptinfer --prune-config reads it");
  command.add_option("--stages", options.stages, "Cuts, at most (default 3)")
      ->check(whole_number(1, 16))
      ->type_name("N");
  command
      .add_option("--budget", options.budget,
                  "Solve the counts for a mean of N visual tokens of a picture entering each layer "
                  "(default: each cut leaves a quarter)")
      ->check(in_range(0, 1e6))
      ->type_name("N");
  add_model_options(command, options.model);
  add_shared(command, options);
}

void declare_debias(CLI::App& calibrate, CalibrateDebiasOptions& options) {
  CLI::App& command = *calibrate.add_subcommand(
      "debias",
      "The trend by index in the scores of a method at its first cut, averaged over sample "
      "questions; padding is left out");
  add_question_options(command, options,
                       "File for the trend, as --debias FILE.json reads it for the same method");
  command
      .add_option("--table", options.table,
                  "Write a weight for each index too, 1 over its mean score, as --debias FILE.npy "
                  "reads them")
      ->check(non_empty("the file's name"))
      ->type_name("FILE.npy");
  command.add_option("--plot", options.plot, "Draw the mean score by index, and the trend")
      ->check(non_empty("the file's name"))
      ->type_name("FILE.png");
  add_model_options(command, options.model);
  add_prune_options(command, options.prune);
  add_shared(command, options);
}

void declare_fitprune(CLI::App& calibrate, CalibrateFitPruneOptions& options) {
  CLI::App& command = *calibrate.add_subcommand(
      "fitprune",
      "FitPrune's recipe: how many visual tokens each layer deletes, from the attention of sample "
      "questions that show equally many");
  add_question_options(command, options,
                       "File for the recipe, as --prune fitprune --prune-config reads it");
  command
      .add_option("--target", options.target, "Share of the prefill's FLOPs to save, 0 to below 1")
      ->required()
      ->check(in_range(0, 1))
      ->type_name("F");
  add_model_options(command, options.model);
  add_shared(command, options);
}

}  // namespace

CLI::App& declare_calibrate(CLI::App& app, CalibrateOptions& options) {
  CLI::App& command =
      *app.add_subcommand("calibrate", "Find settings of a method from sample data");
  command.require_subcommand(1);
  declare_vit(command, options.vit);
  declare_exit(command, options.exit);
  declare_schedule(command, options.schedule);
  declare_debias(command, options.debias);
  declare_fitprune(command, options.fitprune);
  return command;
}

Status check_calibrate(const CalibrateVitOptions& options) {
  return check_json_target(options.output, "calibrate vit");
}

Status check_calibrate(const CalibrateExitOptions& options) {
  return check_json_target(options.output, "calibrate exit");
}

Status check_calibrate(const CalibrateScheduleOptions& options) {
  return check_json_target(options.output, "calibrate schedule");
}

Status check_calibrate(CalibrateDebiasOptions& options) {
  FOVEA_CHECK(read_prune_settings(options.prune));
  const PruneSetting& setting = options.prune.settings.front();
  if (!setting.prunes() || setting.needs_guide()) {
    return make_error(ErrorCode::usage, setting.prunes()
                                            ? "the ranking of a guide is no score of one layer"
                                            : "no method is named whose scores could be averaged")
        .in_field("--prune")
        .with_remedy("Name a method that ranks by attention, such as --prune fastv");
  }
  if (setting.debias.request.weights) {
    return make_error(ErrorCode::usage, "the scores would be debiased before they are averaged")
        .in_field("--debias")
        .with_remedy("Leave it out");
  }
  return check_json_target(options.output, "calibrate debias");
}

Status check_calibrate(const CalibrateFitPruneOptions& options) {
  return check_json_target(options.output, "calibrate fitprune");
}

}  // namespace fovea::app
