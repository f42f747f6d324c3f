#pragma once
// What the command line may say. Options that several commands share are declared once, in
// options.cpp; the structs here are what the commands read.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "app/calibrate_options.h"
#include "app/classify_options.h"
#include "app/encoder_heatmap_options.h"
#include "app/prune_options.h"
#include "app/shared_options.h"
#include "kernels/base/error.h"

namespace fovea::app {

struct AskOptions {
  ModelOptions model;
  OutputOptions output;
  GenerationOptions generation;
  PruneOptions prune;
  std::vector<std::string> images;
  std::string question;  // "-": read from stdin
  std::optional<std::string> raw_prompt;
  std::string dump_logits, dump_scores;  // a file, a folder; empty: not written
  std::string compare;  // settings divided by commas, asked one after the other; empty: one answer
};

struct ChatOptions {
  ModelOptions model;
  OutputOptions output;
  GenerationOptions generation;
  PruneOptions prune;
  std::vector<std::string> images;
};

struct HeatmapOptions {
  AskOptions ask;
  std::string out;            // folder
  std::string layers;         // empty: the default of layer_list.h
  std::string token = "all";  // all, or the index of one answer token
  bool per_token = false;     // one more overlay for each token
  std::string color_map = "turbo";
  double opacity = 0.55;
  bool flat = false;
  EncoderMapOptions encoder;  // --encoder: asks nothing
};

struct EvalOptions {
  ModelOptions model;
  OutputOptions output;
  GenerationOptions generation;
  PruneOptions prune;
  std::string questions;
  std::string image_folder;  // empty: beside the questions
  std::string labels;        // empty: beside the questions
  std::int64_t limit = 0;    // 0: all
  std::size_t num_chunks = 1, chunk_idx = 0;
  std::size_t batch = 1;  // questions answered side by side
  std::vector<std::string> controls;  // as written
  int resamples = 1000;
  std::string answers, csv, plot;     // files; empty: not written
  std::string dump_scores;            // a folder
  bool merge_seeds = false;           // settings that differ by their seed alone count as one
  std::string exit_curve, exit_plot;  // files
  bool resume = false;
  bool guide_both = false;  // the large model answers even where the guide's answer is taken
};

struct BenchOptions {
  std::string shape;
  ModelOptions model;  // its folder is not used: weights are random
  OutputOptions output;
  PruneOptions prune;  // beside the unpruned run, which is always made
  int repeat = 5;
  std::int64_t prompt_tokens = 0;  // 0: 35 of text, the picture's, 29 of text; 640 without a tower
  int new_tokens = 32;
  int batch = 0;  // 0: one question at a time alone
};

struct InspectOptions {
  ModelOptions model;
  OutputOptions output;
};

using Command =
    std::variant<AskOptions, ChatOptions, InspectOptions, BenchOptions, EvalOptions, HeatmapOptions,
                 ClassifyOptions, CalibrateVitOptions, CalibrateExitOptions,
                 CalibrateScheduleOptions, CalibrateDebiasOptions, CalibrateFitPruneOptions>;

/// Either a command to run, or a text that was asked for (--help, --version).
struct ParsedLine {
  std::optional<Command> command;
  std::string text;
};

/// `arguments` are those after the program's name. Errors: usage, in one sentence, with the help
/// command that would have told.
Result<ParsedLine> parse_command_line(const std::vector<std::string>& arguments);

}  // namespace fovea::app
