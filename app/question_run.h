#pragma once
// One question from the command line to its answer: what `ask` and `heatmap` share.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/options.h"
#include "app/prune_setup.h"
#include "pruning/score_record.h"
#include "vlm/session.h"

namespace fovea::app {

struct QuestionRun {
  std::shared_ptr<const LlavaModel> model;
  std::vector<std::shared_ptr<const Image>> images;
  std::string question;  // or the raw prompt
  int threads = 1;
  double decode_image_ms = 0;
  PruneSetup prune;
  std::shared_ptr<ScoreRecord> scores;  // where they are kept
  Answer answer;
};

/// What is kept beside the text.
struct Keep {
  bool trace = false;
  bool logits = false;
  bool scores = false;
};

SamplingOptions sampling_options(const GenerationOptions& options);
/// What is to happen to pictures that are not square; none: the model's own choice.
std::optional<AspectMode> aspect_choice(const GenerationOptions& options);
Result<std::unique_ptr<Session>> create_session(std::shared_ptr<const LlavaModel> model,
                                                int threads, const GenerationOptions& options,
                                                const PruneSetup& prune);
/// Errors: those of load_image, naming the file.
Result<std::vector<std::shared_ptr<const Image>>> load_pictures(
    const std::vector<std::string>& files);

/// Reads question, pictures and model, and fills `question`; what is left is to ask it. Errors are
/// printed. Returns an exit code.
int prepare_question(const AskOptions& options, QuestionRun& run, Question& question);

/// Prepares the question, asks, and streams the answer to stdout unless the JSON
/// object goes there. Errors are printed. Returns an exit code; `run` is whole only with kExitOk.
int run_question(const AskOptions& options, const Keep& keep, QuestionRun& run);

}  // namespace fovea::app
