#pragma once
// Sample questions put to a model one after the other: what the calibrations that need answers or
// attention share.

#include <functional>
#include <memory>
#include <vector>

#include "app/calibrate_options.h"
#include "app/question_file.h"
#include "vlm/session.h"

namespace fovea::app {

/// A model with its samples.
struct SampleRun {
  std::vector<EvalItem> items;
  std::shared_ptr<const LlavaModel> model;
  std::unique_ptr<Session> session;
};

/// Reads questions and model. Errors are printed. Returns an exit code.
int prepare_samples(const CalibrateQuestionOptions& options, SampleRun& run);

/// Calls `use` with each question that can be asked, its pictures loaded, and shows how far it is.
/// Returns what went wrong with single questions, by reading or by `use`. Errors: cancelled, and
/// those of `use` whose field is an option: they are true of every question.
Result<std::vector<Error>> for_each_sample(const CalibrateQuestionOptions& options,
                                           const SampleRun& run,
                                           const std::function<Status(Question&)>& use);

/// Asks for one token, so that the prompt is read and hardly more. Errors: those of Session::ask(),
/// and cancelled.
Result<Answer> read_prompt(Session& session, Question& question);

/// Writes the calibration's file, its --json copy, and says so; `summary` goes to stderr. Errors
/// are printed. Returns an exit code.
int finish_calibration(const CalibrateQuestionOptions& options, const std::string& text,
                       const std::vector<Error>& errors, const std::string& summary);

}  // namespace fovea::app
