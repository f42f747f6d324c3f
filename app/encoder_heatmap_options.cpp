#include "app/encoder_heatmap_options.h"

#include <CLI/CLI.hpp>

#include "app/option_checks.h"

namespace fovea::app {

void add_encoder_map_options(CLI::App& command, EncoderMapOptions& options) {
  const std::string group = "Vision tower";
  command
      .add_flag("--encoder", options.on,
                "Draw the attention of the vision tower alone: of a ViT or DeiT, or of a LLaVA "
                "model; asks nothing (--layers: all by default)")
      ->group(group);
  command
      .add_option("--map", options.map,
                  "class (what the class token attends to), received (mean attention each patch "
                  "receives), rollout (through all blocks), or all (the default)")
      ->check(one_of({"class", "received", "rollout", "all"}))
      ->group(group)
      ->type_name("NAME");
  command
      .add_option("--heads", options.heads,
                  "Heads to average: all (the default), A-B, or a list, counted from 0")
      ->check(non_empty("the list of heads"))
      ->group(group)
      ->type_name("LIST");
  command.add_flag("--grid", options.grid, "Also every layer and head by itself, on one sheet")
      ->group(group);
  command
      .add_option("--fusion", options.fusion,
                  "How rollout joins heads: mean (the default), max or min")
      ->check(one_of({"mean", "max", "min"}))
      ->group(group)
      ->type_name("NAME");
  command
      .add_option("--discard", options.discard,
                  "Share of the smallest attention that rollout leaves out (default 0)")
      ->check(in_range(0, 0.999))
      ->group(group)
      ->type_name("SHARE");
  command
      .add_flag("--drop-class-token", options.drop_class_token,
                "Leave class and distillation token out of received attention and NMI")
      ->group(group);
  command.add_option("--nmi-local", options.local_above, "NMI above which a layer is local (0.12)")
      ->check(in_range(0, 1))
      ->group(group)
      ->type_name("X");
  command
      .add_option("--nmi-global", options.global_below, "NMI below which a layer is global (0.06)")
      ->check(in_range(0, 1))
      ->group(group)
      ->type_name("X");
}

}  // namespace fovea::app
