#pragma once
// Options that several commands share: where they are kept, and their declarations. What they fill
// must outlive the parsing.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace CLI {
class App;
}

namespace fovea::app {

struct ModelOptions {
  std::string model;            // folder; empty: the bundled model (see model_folder.h)
  std::string device = "auto";  // auto, cpu, cuda or cuda:N
  bool autotune = false;        // time matrix products on the GPU and keep the fastest
  std::string dtype = "auto";   // auto, f32, bf16, f16, int8, int4
  int threads = 0;              // 0: every core this process may use
};

struct OutputOptions {
  std::optional<std::string> json;  // where the JSON object goes: "-" is stdout
  bool quiet = false;
  bool verbose = false;

  /// The object goes to stdout, so nothing else may be printed there.
  bool json_on_stdout() const { return json == "-"; }
};

struct GenerationOptions {
  int max_new_tokens = 128;
  double temperature = 0.0;  // 0: always the most probable token
  double top_p = 1.0;
  std::uint64_t seed = 0;
  std::string chat_template;  // built-in name; empty: recognised from the model
  std::string image_aspect;   // pad, crop, or empty: what the model says
};

/// --device, --autotune, --dtype, --threads.
void add_compute_options(CLI::App& command, ModelOptions& options);
/// --model (of a vision-language model) and those.
void add_model_options(CLI::App& command, ModelOptions& options);
/// --json.
void add_json_option(CLI::App& command, OutputOptions& options);
/// --quiet, --verbose.
void add_talk_options(CLI::App& command, OutputOptions& options);

/// --max-new-tokens, sampling, template, what happens to pictures that are not square.
void add_generation_options(CLI::App& command, GenerationOptions& options);
void add_images_option(CLI::App& command, std::vector<std::string>& images, const char* help);

/// Errors: usage, for a name that cannot be the file of --json.
Status check_json_target(const OutputOptions& output, const std::string& command);

}  // namespace fovea::app
