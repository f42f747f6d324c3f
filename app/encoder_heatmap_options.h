#pragma once
// What `fovea heatmap --encoder` may be told beside what every heatmap may.

#include <string>

namespace CLI {
class App;
}

namespace fovea::app {

struct EncoderMapOptions {
  bool on = false;
  std::string map = "all";    // class, received, rollout or all
  std::string heads = "all";  // which are averaged: as --layers
  std::string fusion = "mean";
  double discard = 0;
  bool grid = false;
  bool drop_class_token = false;
  double local_above = 0.12, global_below = 0.06;
};

void add_encoder_map_options(CLI::App& command, EncoderMapOptions& options);

}  // namespace fovea::app
