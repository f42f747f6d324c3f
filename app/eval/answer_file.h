#pragma once
// Answers as JSON lines in LLaVA's format: each is on disk as soon as it is given, so that an
// interrupted run loses nothing, and a finished file is in the order of the questions.

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/eval/outcome.h"

namespace fovea::app {

/// What every line of one file shares.
struct AnswerSource {
  std::string model_id;
  std::string setting;  // as it was written
  /// Stands for model, setting and generation: lines with another one are not taken up again.
  std::string fingerprint;
};

class AnswerFile {
 public:
  /// Opens the file for appending: empty, or with `resume` behind the lines that are there. A last
  /// line that was cut off is removed. Errors: bad_input for a line that is no answer, usage for
  /// answers of another model, setting or generation, io.
  static Result<AnswerFile> open(const std::string& path, const AnswerSource& source, bool resume);

  /// What an earlier run found out about the question; none when it did not answer it.
  std::optional<Outcome> earlier(const EvalItem& item) const;

  /// Appends the line and hands it to the system at once. Errors: io.
  Status append(const EvalItem& item, const Outcome& outcome);

  /// Rewrites the file in the order of the questions; lines about others follow. Errors: io.
  Status finish(const std::vector<EvalItem>& items);

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  AnswerSource source_;
  std::unique_ptr<std::FILE, Closer> file_;
  std::vector<std::string> order_;     // keys as their lines first came
  std::map<std::string, Json> lines_;  // by question_key()
};

/// Where the answers of one of several runs go: NAME-RUN.jsonl beside NAME.jsonl, with characters
/// that do not belong into a file's name replaced.
std::string answer_path(const std::string& path, const std::string& run);

}  // namespace fovea::app
