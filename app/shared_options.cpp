#include "app/shared_options.h"

#include <CLI/CLI.hpp>
#include <limits>

#include "app/option_checks.h"

namespace fovea::app {

void add_compute_options(CLI::App& command, ModelOptions& options) {
  command.add_option("--device", options.device, "Where to compute: auto, cpu, cuda or cuda:N")
      ->check(device_name())
      ->group("Compute")
      ->type_name("NAME");
  command
      .add_flag("--autotune", options.autotune,
                "On a GPU: time each matrix product when it is first met and keep the fastest "
                "algorithm for later runs")
      ->group("Compute");
  command
      .add_option("--dtype", options.dtype,
                  "How weights are kept: auto, f32, bf16, f16, int8 or int4 (the CPU: f32, bf16)")
      ->check(one_of({"auto", "f32", "bf16", "f16", "int8", "int4"}))
      ->group("Compute")
      ->type_name("NAME");
  command.add_option("--threads", options.threads, "CPU threads (default: every core)")
      ->check(whole_number(1, 1024))
      ->group("Compute")
      ->type_name("N");
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  command
      .add_option("--model", options.model,
                  "Model folder (default: $FOVEA_MODEL, or the bundled fovea-base)")
      ->check(non_empty("the model folder"))
      ->type_name("DIR");
  add_compute_options(command, options);
}

void add_json_option(CLI::App& command, OutputOptions& options) {
  command
      .add_option("--json", options.json,
                  "Write one JSON object to FILE, or to stdout without FILE (then nothing else is "
                  "printed there)")
      ->type_name("[FILE]")
      ->group("Output");
}

void add_talk_options(CLI::App& command, OutputOptions& options) {
  command.add_flag("--quiet,-q", options.quiet, "No summary, no progress")->group("Output");
  command.add_flag("--verbose,-v", options.verbose, "Say more about the model and the run")
      ->group("Output");
}

void add_generation_options(CLI::App& command, GenerationOptions& options) {
  const std::string group = "Generation";
  command
      .add_option("--max-new-tokens", options.max_new_tokens,
                  "Longest answer, in tokens (default 128)")
      ->check(whole_number(1, 1'000'000))
      ->group(group)
      ->type_name("N");
  command
      .add_option("--temperature", options.temperature,
                  "0 (the default) takes the most probable token each time")
      ->check(in_range(0, 100))
      ->group(group)
      ->type_name("T");
  command
      .add_option("--top-p", options.top_p,
                  "Sample from the most probable tokens that together reach P (default 1: all)")
      ->check(in_range(1e-6, 1))
      ->group(group)
      ->type_name("P");
  command.add_option("--seed", options.seed, "Seed of the sampling (default 0)")
      ->check(whole_number(0, std::numeric_limits<std::uint64_t>::max()))
      ->group(group)
      ->type_name("N");
  command
      .add_option("--template", options.chat_template,
                  "Chat template by name, instead of the model's own (llava-1.5, vicuna_v1, ...)")
      ->check(non_empty("the template's name"))
      ->group(group)
      ->type_name("NAME");
  command
      .add_option("--image-aspect", options.image_aspect,
                  "A picture that is not square: crop its centre, or pad it (default: the model's "
                  "own choice)")
      ->check(one_of({"pad", "crop"}))
      ->group(group)
      ->type_name("MODE");
}

void add_images_option(CLI::App& command, std::vector<std::string>& images, const char* help) {
  command.add_option("--image", images, help)
      ->check(non_empty("the picture's name"))
      ->allow_extra_args(false)
      ->type_name("FILE");
}

}  // namespace fovea::app
