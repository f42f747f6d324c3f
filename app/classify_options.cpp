#include "app/classify_options.h"

#include <CLI/CLI.hpp>

#include "app/option_checks.h"
#include "app/picture_list.h"

namespace fovea::app {

CLI::App& declare_classify(CLI::App& app, ClassifyOptions& options) {
  CLI::App& command = *app.add_subcommand("classify", "Say what pictures show, one row a picture");
  command
      .add_option("path", options.paths,
                  "Pictures, folders (searched to the bottom) or patterns such as 'a/*.png'")
      ->required()
      ->check(non_empty("the path"))
      ->type_name("PATH...");
  command
      .add_option("--model", options.model.model,
                  "Folder of a ViT or DeiT classifier (default: $FOVEA_MODEL, or the bundled "
                  "fovea-vit)")
      ->check(non_empty("the model folder"))
      ->type_name("DIR");
  add_compute_options(command, options.model);
  command
      .add_option("--image-size", options.image_size,
                  "Side at which pictures are looked at, in pixels (default: the model's own; "
                  "positions are resampled)")
      ->check(whole_number(1, 4096))
      ->group("Compute")
      ->type_name("N");
  command.add_option("--batch", options.batch, "Pictures that run through the model together (16)")
      ->check(whole_number(1, 1024))
      ->group("Compute")
      ->type_name("N");
  add_vit_prune_options(command, options.prune);
  const std::string group = "Output";
  command.add_option("--top-k", options.top_k, "Labels of each picture (default 5)")
      ->check(whole_number(1, 1'000'000))
      ->group(group)
      ->type_name("K");
  command
      .add_option("--csv", options.csv,
                  "Write path,status,label_1,prob_1,label_2,prob_2,... (RFC 4180) to FILE")
      ->check(non_empty("the file's name"))
      ->group(group)
      ->type_name("FILE");
  command
      .add_option("--labels", options.labels,
                  "CSV with the columns path and label (or class number): says how many are right; "
                  "paths are relative to that file")
      ->check(non_empty("the file's name"))
      ->group(group)
      ->type_name("FILE");
  command
      .add_option("--settings-csv", options.settings_csv,
                  "Write accuracy, GFLOPs, pictures a second and the patches left, one line a "
                  "setting, to FILE")
      ->check(non_empty("the file's name"))
      ->group(group)
      ->type_name("FILE");
  command
      .add_option("--settings-plot", options.settings_plot,
                  "Draw accuracy against GFLOPs; needs --labels")
      ->check(non_empty("the file's name"))
      ->needs("--labels")
      ->group(group)
      ->type_name("FILE.png");
  command
      .add_option(
          "--by", options.by,
          "A column of the labels' table, such as clutter: patches left and accuracy by its "
          "values")
      ->check(non_empty("the column's name"))
      ->needs("--labels")
      ->group(group)
      ->type_name("COLUMN");
  command
      .add_option("--by-csv", options.by_csv, "Write them, one line a setting and value, to FILE")
      ->check(non_empty("the file's name"))
      ->needs("--by")
      ->group(group)
      ->type_name("FILE");
  command
      .add_option("--by-plot", options.by_plot,
                  "Draw the patches left after the last cut against the column")
      ->check(non_empty("the file's name"))
      ->needs("--by")
      ->group(group)
      ->type_name("FILE.png");
  command
      .add_option("--dump-logits", options.dump_logits,
                  "Write float32 [pictures, classes]; rows of failed pictures are NaN")
      ->check(non_empty("the file's name"))
      ->group(group)
      ->type_name("FILE.npy");
  add_json_option(command, options.output);
  add_talk_options(command, options.output);
  return command;
}

Status check_classify(ClassifyOptions& options) {
  FOVEA_CHECK(read_vit_prune_settings(options.prune));
  FOVEA_CHECK(check_json_target(options.output, "classify"));
  if (options.output.json && named_like_a_picture(*options.output.json)) {
    return make_error(ErrorCode::usage,
                      "this is where the JSON would go, and it is named like a "
                      "picture")
        .in_field("--json " + *options.output.json)
        .with_remedy("Write --json=- (or put --json last) for stdout");
  }
  const bool several = options.prune.settings.size() > 1;
  for (const auto& [name, value] :
       {std::pair<const char*, const std::string&>{"--csv", options.csv},
        {"--dump-logits", options.dump_logits}}) {
    if (several && !value.empty()) {
      return make_error(ErrorCode::usage, "this file holds the rows of one setting, not of several")
          .in_field(name)
          .with_remedy("Name one --vit-prune, or leave the file out");
    }
  }
  return {};
}

}  // namespace fovea::app
