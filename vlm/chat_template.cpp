#include "vlm/chat_template.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "vlm/jinja_literals.h"

namespace fovea {
namespace {

using Kind = PromptPart::Kind;

constexpr std::string_view kUserSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.";
constexpr std::string_view kHumanSystem =
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions.";
constexpr std::array<std::string_view, 2> kControlTokens{"<|im_start|>", "<|im_end|>"};
constexpr std::string_view kImageMark = "<image>";

/// What a template writes; control tokens stand in these strings by name. A picture is always
/// followed by a line break.
struct Style {
  std::string_view name;
  std::string system;
  std::string_view before_question, after_question, before_answer, after_answer;
  bool bos = true;
  bool eos = false;  // after each answer
};

const std::vector<Style>& styles() {
  static const std::vector<Style> all = {
      {.name = "llava-1.5",
       .system = "",
       .before_question = "USER: ",
       .after_question = " ASSISTANT:",
       .before_answer = " ",
       .after_answer = "",
       .eos = true},
      {.name = "llava-1.5-hf",
       .system = "",
       .before_question = "USER: ",
       .after_question = " ASSISTANT:",
       .before_answer = " ",
       .after_answer = " "},
      {.name = "vicuna_v1",
       .system = std::string(kUserSystem) + " ",
       .before_question = "USER: ",
       .after_question = " ASSISTANT:",
       .before_answer = " ",
       .after_answer = "",
       .eos = true},
      {.name = "llava_v1",
       .system = std::string(kHumanSystem) + " ",
       .before_question = "USER: ",
       .after_question = " ASSISTANT:",
       .before_answer = " ",
       .after_answer = "",
       .eos = true},
      {.name = "llava-1.6-vicuna",
       .system = std::string(kHumanSystem) + " ",
       .before_question = "USER: ",
       .after_question = " ASSISTANT:",
       .before_answer = " ",
       .after_answer = "",
       .eos = true},
      {.name = "llava-1.6-mistral",
       .system = "",
       .before_question = "[INST] ",
       .after_question = " [/INST]",
       .before_answer = " ",
       .after_answer = "",
       .eos = true},
      {.name = "llava-1.6-34b",
       .system = "<|im_start|>system\nAnswer the questions.<|im_end|>",
       .before_question = "<|im_start|>user\n",
       .after_question = "<|im_end|><|im_start|>assistant\n",
       .before_answer = "",
       .after_answer = "<|im_end|>",
       .bos = false},
      {.name = "plain",
       .system = "",
       .before_question = "",
       .after_question = "\n",
       .before_answer = "",
       .after_answer = "\n"},
  };
  return all;
}

std::string listed_names() {
  std::string list;
  for (const Style& style : styles()) {
    if (!list.empty()) list += ", ";
    list += style.name;
  }
  return list;
}

/// Gathers parts; text grows the part before it, so that chunks end at pictures and tokens alone.
class PromptBuilder {
 public:
  void text(std::string_view more) {
    if (more.empty()) return;
    if (parts_.empty() || parts_.back().kind != Kind::text) add(Kind::text);
    parts_.back().text += more;
    parts_.back().system = system_;
  }
  /// A template's own text, in which control tokens are meant as such.
  void own_text(std::string_view more) {
    while (!more.empty()) {
      std::size_t found = more.size();
      std::string_view token;
      for (const std::string_view name : kControlTokens) {
        const std::size_t at = more.find(name);
        if (at < found) {
          found = at;
          token = name;
        }
      }
      text(more.substr(0, found));
      if (token.empty()) return;
      add(Kind::control);
      parts_.back().text = token;
      more.remove_prefix(found + token.size());
    }
  }
  void image() {
    system_ = false;
    add(Kind::image);
    parts_.back().image = images_++;
  }
  void token(Kind kind) { add(kind); }
  /// A chunk that holds a word of the conversation no longer belongs to the system text.
  void begin_conversation() { system_ = false; }
  std::vector<PromptPart> take() { return std::move(parts_); }

 private:
  void add(Kind kind) {
    PromptPart part;
    part.kind = kind;
    part.system = system_;
    parts_.push_back(std::move(part));
  }

  std::vector<PromptPart> parts_;
  int images_ = 0;
  bool system_ = true;
};

/// The pieces of text each family of templates may write (exactly these: another piece means
/// another prompt), and those without which a template is none of the family.
struct Family {
  std::set<std::string> required;
  std::set<std::string> allowed;
};

bool belongs(const std::set<std::string>& literals, const Family& family) {
  return std::includes(literals.begin(), literals.end(), family.required.begin(),
                       family.required.end()) &&
         std::all_of(literals.begin(), literals.end(), [&family](const std::string& literal) {
           return family.required.contains(literal) || family.allowed.contains(literal);
         });
}

const Family& user_assistant() {
  static const Family family{{},
                             {": ", " ", "<image>\n", "ASSISTANT:", " ASSISTANT:", "ASSISTANT: ",
                              " ASSISTANT: ", "USER: ", " USER: ", "</s>"}};
  return family;
}
const Family& inst() {
  static const Family family{{"[INST] ", " [/INST]", "<image>\n"},
                             {" ", "</s>", "</s> ", "<\\s> ", "<<SYS>>\n", "\n<</SYS>>\n\n"}};
  return family;
}
const Family& chatml() {
  static const Family family{{"<|im_start|>system\nAnswer the questions.<|im_end|>", "<image>\n",
                              "<|im_end|>", "<|im_start|>assistant\n"},
                             {"<|im_start|>", "<|im_start|>user\n", "\n"}};
  return family;
}

/// Name of the USER / ASSISTANT template that writes these pieces, empty when none does.
std::string_view recognise_user_assistant(std::set<std::string> literals, bool eos_token) {
  std::string_view with_system;
  for (const auto& [sentence, name] :
       {std::pair{kUserSystem, "vicuna_v1"}, std::pair{kHumanSystem, "llava_v1"}}) {
    if (literals.erase(std::string(sentence)) + literals.erase(std::string(sentence) + " ") > 0) {
      if (!with_system.empty()) return {};
      with_system = name;
    }
  }
  const bool asks = literals.contains("ASSISTANT:") || literals.contains(" ASSISTANT:");
  if (!asks || !belongs(literals, user_assistant())) return {};
  if (!with_system.empty()) return with_system;
  if (!literals.contains("<image>\n")) return {};
  return eos_token || literals.contains("</s>") ? "llava-1.5" : "llava-1.5-hf";
}

}  // namespace

Result<ChatTemplate> ChatTemplate::by_name(const std::string& name) {
  for (const Style& style : styles()) {
    if (style.name != name) continue;
    ChatTemplate found;
    found.name_ = name;
    return found;
  }
  return make_error(ErrorCode::usage, "no chat template is called \"" + name + "\"")
      .in_field("--template")
      .with_remedy("Choose one of: " + listed_names());
}

Result<ChatTemplate> ChatTemplate::recognise(const std::string& template_text) {
  if (template_text.empty()) return by_name("llava-1.5");
  const JinjaOutput output = jinja_output(template_text);
  std::string_view name = recognise_user_assistant(output.literals, output.eos_token);
  if (name.empty() && belongs(output.literals, inst())) name = "llava-1.6-mistral";
  if (name.empty() && belongs(output.literals, chatml())) name = "llava-1.6-34b";
  if (!name.empty()) return by_name(std::string(name));
  return make_error(ErrorCode::unsupported,
                    "the model's chat template is none of the built-in ones")
      .in_field("chat_template")
      .with_remedy("Name the one to use with --template: " + listed_names());
}

std::vector<std::string> ChatTemplate::names() {
  std::vector<std::string> all;
  for (const Style& style : styles()) all.emplace_back(style.name);
  return all;
}

std::vector<PromptPart> ChatTemplate::render(const std::vector<ChatTurn>& turns) const {
  const auto style = std::find_if(styles().begin(), styles().end(),
                                  [this](const Style& each) { return each.name == name_; });
  PromptBuilder prompt;
  if (style->bos) prompt.token(Kind::bos);
  prompt.own_text(style->system);
  for (std::size_t index = 0; index < turns.size(); ++index) {
    const ChatTurn& turn = turns[index];
    prompt.own_text(style->before_question);
    for (int image = 0; image < turn.images; ++image) {
      prompt.image();
      prompt.own_text("\n");
    }
    prompt.begin_conversation();
    prompt.text(turn.question);
    prompt.own_text(style->after_question);
    if (index + 1 == turns.size()) break;
    if (!turn.answer.empty()) {
      prompt.own_text(style->before_answer);
      prompt.text(turn.answer);
    }
    prompt.own_text(style->after_answer);
    if (style->eos) prompt.token(Kind::eos);
  }
  return prompt.take();
}

std::vector<PromptPart> raw_prompt(const std::string& text) {
  PromptBuilder prompt;
  prompt.token(Kind::bos);
  std::string_view rest = text;
  for (std::size_t mark = rest.find(kImageMark); mark != std::string_view::npos;
       mark = rest.find(kImageMark)) {
    prompt.text(rest.substr(0, mark));
    prompt.image();
    rest.remove_prefix(mark + kImageMark.size());
  }
  prompt.text(rest);
  return prompt.take();
}

}  // namespace fovea
