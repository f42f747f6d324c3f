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

/// A stretch of prompt: plain text, a picture, or a control token. Each text part is encoded by
/// itself, as the original LLaVA does around pictures; two text parts never follow each other.
/// Whatever a user writes stays text: "<image>" or "</s>" in a question is no picture or token.
struct PromptPart {
  enum class Kind {
    text,
    image,
    bos,
    eos,
    control,  // a token named by its text ("<|im_start|>"): Tokenizer::token_id finds it
  } kind = Kind::text;
  std::string text;     // for Kind::text and Kind::control
  bool system = false;  // belongs to the text before the first picture or question
  int image = -1;       // for Kind::image: index among the conversation's pictures
};

class ChatTemplate {
 public:
  /// Built-in names (I: a picture, E: the end token):
  ///   llava-1.5          USER: I\n{question} ASSISTANT: {answer}E  then  USER: ...
  ///   llava-1.5-hf       the same, but an answer ends with a space instead of E, as the template
  ///                      published with llava-hf's checkpoints writes it
  ///   vicuna_v1          llava-1.5 after a system sentence ("a curious user"): what LLaVA-1.5 was
  ///                      trained and evaluated with
  ///   llava_v1           the same with another sentence, "a curious human"
  ///   llava-1.6-vicuna   as llava_v1
  ///   llava-1.6-mistral  [INST] I\n{question} [/INST] {answer}E  then  [INST] ..., Mistral's own
  ///                      form (the published Jinja text has a misspelt E and spaces around it)
  ///   llava-1.6-34b      ChatML as on its model card, with a system sentence, no begin token
  ///   plain              I\n{question}\n{answer}\n, without roles
  /// All but llava-1.6-34b start with the begin token. Errors: usage, listing the names.
  static Result<ChatTemplate> by_name(const std::string& name);
  /// Recognises a built-in template from a model's own Jinja text: by the pieces of text it writes
  /// around turns, not by one exact string. An empty text gives llava-1.5; one that writes anything
  /// no built-in template writes is an error that names --template. Errors: unsupported.
  static Result<ChatTemplate> recognise(const std::string& template_text);
  static std::vector<std::string> names();

  const std::string& name() const { return name_; }
  /// The whole prompt up to where the last turn's answer begins.
  std::vector<PromptPart> render(const std::vector<ChatTurn>& turns) const;

 private:
  std::string name_ = "llava-1.5";
};

/// A prompt given raw: text as it is, each `<image>` a picture, begin token first.
std::vector<PromptPart> raw_prompt(const std::string& text);

}  // namespace fovea
