#pragma once
// What the commands say about a run: the JSON objects others rely on, and the summary for people.

#include <string>

#include "app/options.h"
#include "app/prune_options.h"
#include "kernels/base/json.h"
#include "vlm/session.h"

namespace fovea::app {

std::string version();
const char* dtype_text(LinearDType dtype);
/// "the CPU with 2 threads", "cuda:0, NVIDIA H100 80GB HBM3".
std::string place_text(Device device, int threads);

/// {"id", "sha256", "dtype", "device", "threads"} of a loaded model; the digest is null where the
/// weights are random or too many to hash in passing.
Json model_json(const LlavaModel& model, int threads);
/// Milliseconds by name, as in the object of `fovea ask --json`.
Json timings_json(const Timings& timings);
/// The object of `fovea ask --json`.
Json answer_json(const Answer& answer, const PruneSetting& setting, const LlavaModel& model,
                 int threads);

/// Milliseconds to the microsecond: more digits are noise.
double rounded_ms(double milliseconds);
/// A few lines on stderr: tokens, times, what pruning kept and saved, and how the model ran.
void print_summary(const Answer& answer, const PruneSetting& setting, const LlavaModel& model,
                   int threads);
/// Only what pruning kept and saved.
void print_budget(const Answer& answer, const PruneSetting& setting, const LlavaModel& model);
/// What --verbose adds before the run: template, model, and what its files made worth saying.
void print_model_notes(const Session& session);
/// Of it, by which algorithms a GPU makes its matrix products; nothing on the CPU.
void print_algorithms_note(Device device);

/// Writes text to stdout at once. On a terminal, control characters other than line breaks and tabs
/// are left out: a model's text must not be able to steer the terminal.
void print_text(const std::string& text);

/// Writes the object where --json says (one line on stdout, or a file, atomically). Nothing happens
/// without --json. Errors: io.
Status write_json(const OutputOptions& output, const Json& json);
/// Errors: io, when stdout did not take everything (a full disk).
Status finish_stdout();

}  // namespace fovea::app
