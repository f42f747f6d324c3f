#include "app/question_file.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "kernels/base/file.h"

namespace fovea::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxPathBytes = 4096;
constexpr std::size_t kMaxPictures = 64;
constexpr std::int64_t kMaxTokenId = 10'000'000;
constexpr const char* kBlank = " \t\r\n\v\f";

Error line_error(std::string message, const std::string& path, std::size_t line) {
  return make_error(ErrorCode::bad_input,
                    "line " + std::to_string(line) + ": " + std::move(message))
      .in_file(path);
}

/// Calls visit(line number, text) for each line that is not blank; it returns false to stop.
void each_line(const std::string& text,
               const std::function<bool(std::size_t, std::string_view)>& visit) {
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    ++number;
    begin = end + 1;
    if (line.find_first_not_of(kBlank) == std::string_view::npos) continue;
    if (!visit(number, line)) return;
  }
}

Result<Json> parse_line(std::string_view line) {
  JsonLimits limits;
  limits.max_bytes = kMaxLineBytes;
  FOVEA_TRY(Json json, parse_json(line, limits));
  if (!json.is_object()) return make_error(ErrorCode::bad_input, "this is no JSON object");
  const Json* id = json.find("question_id");
  if (id == nullptr || !(id->is_int() || id->is_string())) {
    return make_error(ErrorCode::bad_input, "there is no whole number or string of this name")
        .in_field("question_id");
  }
  return json;
}

Result<std::string> text_field(const Json& json, const char* name) {
  const Json* value = json.find(name);
  if (value == nullptr || !value->is_string()) {
    return make_error(ErrorCode::bad_input, "there is no string of this name").in_field(name);
  }
  return value->as_string();
}

/// The questions file is not trusted with the rest of the disk.
Status check_image_path(const std::string& image) {
  const fs::path path(image);
  const bool leaves =
      std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  if (image.empty() || image.size() > kMaxPathBytes || path.is_absolute() || leaves ||
      image.find('\0') != std::string::npos) {
    return make_error(ErrorCode::bad_input,
                      "a picture must be named relative to the image folder and stay inside it")
        .in_field("image");
  }
  return {};
}

/// A string, or a list of them.
Result<std::vector<std::string>> names_field(const Json& value, const char* name) {
  std::vector<std::string> names;
  const auto wrong = [&] {
    return make_error(ErrorCode::bad_input, "this is neither a string nor a list of strings")
        .in_field(name);
  };
  if (value.is_string()) {
    names.push_back(value.as_string());
  } else if (value.is_array()) {
    for (const Json& one : value.as_array()) {
      if (!one.is_string()) return wrong();
      names.push_back(one.as_string());
    }
  } else {
    return wrong();
  }
  return names;
}

Result<std::vector<std::int32_t>> evidence_field(const Json& value) {
  const Error wrong =
      make_error(ErrorCode::bad_input, "this is no ascending list of visual token ids")
          .in_field("evidence");
  if (!value.is_array()) return wrong;
  std::vector<std::int32_t> ids;
  for (const Json& one : value.as_array()) {
    if (!one.is_int() || one.as_int() < 0 || one.as_int() > kMaxTokenId) return wrong;
    const auto id = static_cast<std::int32_t>(one.as_int());
    if (!ids.empty() && id <= ids.back()) return wrong;
    ids.push_back(id);
  }
  return ids;
}

/// A member that is there and not null.
const Json* present(const Json& json, const char* name) {
  const Json* value = json.find(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Status fill_item(std::string_view line, EvalItem& item) {
  FOVEA_TRY(const Json json, parse_line(line));
  item.id = *json.find("question_id");
  FOVEA_TRY(item.text, text_field(json, "text"));
  if (const Json* image = present(json, "image")) {
    FOVEA_TRY(item.images, names_field(*image, "image"));
    if (item.images.size() > kMaxPictures) {
      return make_error(ErrorCode::too_large,
                        "a question shows at most " + std::to_string(kMaxPictures) + " pictures")
          .in_field("image");
    }
    for (const std::string& name : item.images) FOVEA_CHECK(check_image_path(name));
  }
  if (present(json, "category") != nullptr) {
    FOVEA_TRY(item.category, text_field(json, "category"));
  }
  if (const Json* evidence = present(json, "evidence")) {
    FOVEA_TRY(item.evidence, evidence_field(*evidence));
  }
  return {};
}

Status fill_label(const Json& json, Label& label) {
  const Json* answer = present(json, "answer");
  if (answer == nullptr) answer = present(json, "label");
  if (answer == nullptr) {
    return make_error(ErrorCode::bad_input, "there is no string, or list of strings, of this name")
        .in_field("answer");
  }
  FOVEA_TRY(label.accepted, names_field(*answer, "answer"));
  if (label.accepted.empty()) {
    return make_error(ErrorCode::bad_input, "this list is empty").in_field("answer");
  }
  const Json* things = present(json, "things");
  if (things == nullptr) return {};
  if (!things->is_array()) {
    return make_error(ErrorCode::bad_input, "this is no list").in_field("things");
  }
  for (const Json& thing : things->as_array()) {
    FOVEA_TRY(std::vector<std::string> forms, names_field(thing, "things"));
    label.things.push_back(std::move(forms));
  }
  return {};
}

}  // namespace

std::string question_key(const Json& id) {
  return id.dump();
}

Result<std::vector<EvalItem>> read_questions(const std::string& path, std::int64_t limit) {
  FOVEA_TRY(const std::string text, read_file(path, kMaxFileBytes));
  std::vector<EvalItem> items;
  std::set<std::string> seen;
  bool usable = false;
  each_line(text, [&](std::size_t number, std::string_view line) {
    EvalItem item;
    item.line = number;
    if (auto filled = fill_item(line, item); !filled) {
      Error error = filled.error();
      error.message = "line " + std::to_string(number) + ": " + error.message;
      item.error = error.in_file(path);
    } else if (!seen.insert(question_key(item.id)).second) {
      item.error = line_error("the id " + question_key(item.id) + " was there before", path, number)
                       .in_field("question_id");
    }
    usable = usable || !item.error;
    items.push_back(std::move(item));
    return limit == 0 || static_cast<std::int64_t>(items.size()) < limit;
  });
  if (items.empty()) {
    return make_error(ErrorCode::bad_input, "there are no questions in this file").in_file(path);
  }
  if (!usable) return *items.front().error;
  return items;
}

Result<std::map<std::string, Label>> read_labels(const std::string& path) {
  FOVEA_TRY(const std::string text, read_file(path, kMaxFileBytes));
  std::map<std::string, Label> labels;
  Status status;
  each_line(text, [&](std::size_t number, std::string_view line) {
    const auto json = parse_line(line);
    Label label;
    if (const Status filled = json ? fill_label(*json, label) : Status(json.error()); !filled) {
      status = line_error(filled.error().message, path, number).in_field(filled.error().field);
      return false;
    }
    const std::string key = question_key(*json->find("question_id"));
    if (!labels.emplace(key, std::move(label)).second) {
      status =
          line_error("the id " + key + " was there before", path, number).in_field("question_id");
      return false;
    }
    return true;
  });
  if (!status) return status.error();
  return labels;
}

Result<std::string> default_labels(const std::string& questions) {
  const fs::path file(questions);
  const fs::path named = file.parent_path() / (file.stem().string() + "-labels.jsonl");
  const fs::path plain = file.parent_path() / "labels.jsonl";
  std::error_code ignored;
  if (fs::is_regular_file(named, ignored)) return named.string();
  if (fs::is_regular_file(plain, ignored)) return plain.string();
  return make_error(ErrorCode::not_found, "there are no labels: neither " + named.string() +
                                              " nor " + plain.string() + " is there")
      .with_remedy("Name the file with --labels");
}

std::string default_image_folder(const std::string& questions) {
  const fs::path beside = fs::path(questions).parent_path();
  std::error_code ignored;
  if (fs::is_directory(beside / "images", ignored)) return (beside / "images").string();
  return beside.empty() ? "." : beside.string();
}

std::string normalised_answer(const std::string& answer) {
  const auto blank = [](char c) {
    return std::string_view(kBlank).find(c) != std::string_view::npos;
  };
  const auto punctuation = [](char c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  };
  std::string text;
  for (char c : answer) {
    if (blank(c)) {
      if (!text.empty() && text.back() != ' ') text += ' ';
    } else {
      text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  const auto drop = [&](char c) { return c == ' ' || punctuation(c); };
  while (!text.empty() && drop(text.back())) text.pop_back();
  const auto kept = std::find_if_not(text.begin(), text.end(), drop);
  text.erase(text.begin(), kept);
  return text;
}

bool answer_is_right(const std::string& answer, const std::vector<std::string>& accepted) {
  const std::string given = normalised_answer(answer);
  return std::any_of(accepted.begin(), accepted.end(),
                     [&](const std::string& right) { return normalised_answer(right) == given; });
}

namespace {

/// Lower case, every run of other than letters and digits (of ASCII) one blank, blanks at the ends.
std::string words_of(const std::string& text) {
  std::string words = " ";
  for (const char c : normalised_answer(text)) {
    const bool inside = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                        (static_cast<unsigned char>(c) & 0x80U) != 0;
    if (inside) {
      words += c;
    } else if (words.back() != ' ') {
      words += ' ';
    }
  }
  if (words.back() != ' ') words += ' ';
  return words;
}

bool names(const std::string& words, const std::string& form) {
  std::string wanted = words_of(form);
  if (wanted == " ") return false;
  wanted.pop_back();
  for (const char* ending : {" ", "s ", "es "}) {
    if (words.find(wanted + ending) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

double answer_score(const std::string& answer, const Label& label) {
  if (label.things.empty()) return answer_is_right(answer, label.accepted) ? 1.0 : 0.0;
  const std::string words = words_of(answer);
  const auto named =
      std::count_if(label.things.begin(), label.things.end(), [&](const auto& thing) {
        return std::any_of(thing.begin(), thing.end(),
                           [&](const std::string& form) { return names(words, form); });
      });
  return static_cast<double>(named) / static_cast<double>(label.things.size());
}

}  // namespace fovea::app
