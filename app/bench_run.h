#pragma once
// Times a model on random weights and, between the runs, what this machine could do at best: the
// same matrix products through the library alone, and reading the same bytes of weights.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/prune_setup.h"
#include "pruning/accounting.h"
#include "vlm/llava_model.h"

namespace fovea::app {

struct BenchPlan {
  std::int64_t prompt_tokens = 0;
  int new_tokens = 0;
  int repeat = 0;
  int threads = 1;
  int batch = 0;  // questions that are answered side by side beside the others; 0: none
};

/// Repeated measurements of one thing, in milliseconds.
struct Samples {
  std::vector<double> ms;
  double median() const;
  /// (largest - smallest) / smallest.
  double drift() const;
};

/// A run and the floor measured before, between and after its repeats.
struct Compared {
  Samples run, floor;
  /// Above this the machine was not quiet enough for a ratio to mean anything.
  static constexpr double kMaxDrift = 0.10;
  std::optional<double> ratio() const;
};

/// Many questions side by side, from pictures in memory to all tokens on the host.
struct BatchTimes {
  Samples vision;   // preprocessing, tower and projector of all pictures
  Samples prefill;  // of all prompts, to their first tokens
  Samples decode;   // the other tokens
  Samples total;
};

/// What one pruning setting took, all settings in turn in each round.
struct BenchRun {
  PruneSetting setting;
  Compared prefill;                    // the prompt, through all layers, to logits
  Samples select;                      // of the prefill: scoring and choosing, all cuts
  Samples first_token;                 // preprocessing, tower, projector, prefill, first choice
  Compared decode;                     // one token
  BatchTimes batch;                    // empty without BenchPlan::batch
  PruningRecord record;                // what was kept
  std::vector<std::int64_t> entering;  // visual tokens that enter each layer
};

struct BenchResult {
  std::optional<Compared> vision;  // tower and projector; none without a tower
  std::vector<BenchRun> runs;      // the unpruned one first
  std::string floor_product;       // whose products the prefill's floor is made of
  double bandwidth = 0;            // bytes a second, median of the floor's measurements
  /// Largest resident size before the first floor; on a GPU what was taken of its memory by then.
  std::uint64_t peak_bytes = 0;
};

/// How many times faster the prefill of `run` is than that of `unpruned`; none where either floor
/// drifted too far.
std::optional<double> prefill_speedup(const BenchRun& unpruned, const BenchRun& run);

/// Tokens of the prompt when nobody says: 35 of text, the picture's (576 of random numbers without
/// a tower), 29 of text.
std::int64_t default_prompt_tokens(const LlavaConfig& config);

/// Runs unpruned and under each setting that prunes. The floor of a pruned prefill is that of the
/// tokens which really enter each layer. Errors: usage (a prompt shorter than the picture, or
/// longer than the context; a schedule that does not fit the model), unsupported for methods that
/// act in the vision tower or need a guide, out_of_memory, cancelled.
Result<BenchResult> run_bench_plan(const LlavaModel& model, const BenchPlan& plan,
                                   const std::vector<PruneSetting>& settings,
                                   const std::atomic<bool>* cancel);

}  // namespace fovea::app
