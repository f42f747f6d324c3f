#pragma once
// How a conversation becomes one prompt.

#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

struct ChatTurn {
  std::string question;  // without image marks
  int images = 0;        // pictures shown with this question
  std::string answer;    // empty for the turn that is being asked
};

/// A stretch of prompt: plain text, a picture, or a control token.
struct PromptPart {
  enum class Kind { text, image, bos, eos } kind = Kind::text;
  std::string text;   // for Kind::text
  bool system = false;  // belongs to the text before the first picture or question
  int image = -1;     // for Kind::image: index among the conversation's pictures
};

class ChatTemplate {
 public:
  /// Built-in names: "llava-1.5" (USER: <image>\n... ASSISTANT:), "vicuna_v1" (with the system
  /// sentence), "llava-1.6-mistral", "llava-1.6-vicuna", "plain", ... Errors: usage, listing them.
  static Result<ChatTemplate> by_name(const std::string& name);
  /// Recognises a built-in template from a model's own template text (by what it writes around
  /// turns, not by one exact string). An empty text gives llava-1.5; an unknown one is an error that
  /// names --template.
  static Result<ChatTemplate> recognise(const std::string& template_text);
  static std::vector<std::string> names();

  const std::string& name() const { return name_; }
  /// The whole prompt up to where the last turn's answer begins.
  std::vector<PromptPart> render(const std::vector<ChatTurn>& turns) const;

 private:
  std::string name_;
};

/// A prompt given raw: text as it is, each `<image>` a picture, begin token first.
std::vector<PromptPart> raw_prompt(const std::string& text);

}  // namespace fovea
