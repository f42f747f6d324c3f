#pragma once
// Questions with known answers as JSON lines, in the form LLaVA's evaluation scripts use.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/json.h"

namespace fovea::app {

/// What is right about a question.
struct Label {
  std::vector<std::string> accepted;  // whole answers
  /// What a description should name, each in its accepted forms; empty for other questions.
  std::vector<std::vector<std::string>> things;
};

struct EvalItem {
  std::size_t line = 0;             // of the questions file, from 1
  Json id;                          // a whole number or a string, given back as it came
  std::vector<std::string> images;  // relative to the image folder; none for a text question
  std::string text;
  std::string category;  // empty when the line has none
  /// Ids of the visual tokens that hold the answer, ascending; none when the line does not say, and
  /// an empty list when it says that no token does.
  std::optional<std::vector<std::int32_t>> evidence;
  Label label;
  std::optional<Error> error;  // why this line cannot be asked

  bool has_evidence() const { return evidence && !evidence->empty(); }
};

/// Reads {"question_id", "text"} and, where they are there, {"image", "category", "evidence"} from
/// each line that is not blank, at most `limit` of them (0: all). "image" is a name or a list of
/// names. A damaged line becomes an item with an error, so that the others can still be asked.
/// Errors: those of read_file, and bad_input when no line at all is usable.
Result<std::vector<EvalItem>> read_questions(const std::string& path, std::int64_t limit);

/// Labels by question: {"question_id", "answer"} with a string or a list of accepted ones ("label"
/// means the same) and, for descriptions, {"things"}: a list of names, or of lists of their
/// accepted forms. The key is question_key() of the id. Errors: bad_input, with the line.
Result<std::map<std::string, Label>> read_labels(const std::string& path);

/// Ids are compared with their type: 7 and "7" differ.
std::string question_key(const Json& id);

/// Where labels and pictures lie when nobody says: NAME-labels.jsonl or labels.jsonl beside
/// NAME.jsonl, and images/ beside it or its own folder. Errors: not_found.
Result<std::string> default_labels(const std::string& questions);
std::string default_image_folder(const std::string& questions);

/// Lower case (ASCII), white space collapsed, punctuation at the ends gone: what `eval` compares.
std::string normalised_answer(const std::string& answer);
bool answer_is_right(const std::string& answer, const std::vector<std::string>& accepted);
/// From 0 to 1: 1 for a right answer; for a description the share of its things that it names as
/// whole words (a name may end in s or es).
double answer_score(const std::string& answer, const Label& label);

}  // namespace fovea::app
