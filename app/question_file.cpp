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

Status fill_item(std::string_view line, EvalItem& item) {
  FOVEA_TRY(const Json json, parse_line(line));
  item.id = *json.find("question_id");
  FOVEA_TRY(item.text, text_field(json, "text"));
  FOVEA_TRY(item.image, text_field(json, "image"));
  FOVEA_CHECK(check_image_path(item.image));
  if (const Json* category = json.find("category"); category != nullptr && !category->is_null()) {
    FOVEA_TRY(item.category, text_field(json, "category"));
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

Result<std::map<std::string, std::vector<std::string>>> read_labels(const std::string& path) {
  FOVEA_TRY(const std::string text, read_file(path, kMaxFileBytes));
  std::map<std::string, std::vector<std::string>> labels;
  Status status;
  each_line(text, [&](std::size_t number, std::string_view line) {
    const auto json = parse_line(line);
    if (!json) {
      status = line_error(json.error().message, path, number).in_field(json.error().field);
      return false;
    }
    const Json* answer = json->find("answer");
    if (answer == nullptr) answer = json->find("label");
    std::vector<std::string> accepted;
    if (answer != nullptr && answer->is_string()) {
      accepted.push_back(answer->as_string());
    } else if (answer != nullptr && answer->is_array()) {
      for (const Json& one : answer->as_array()) {
        if (one.is_string()) accepted.push_back(one.as_string());
      }
    }
    if (accepted.empty()) {
      status = line_error("there is no string, or list of strings, of this name", path, number)
                   .in_field("answer");
      return false;
    }
    const std::string key = question_key(*json->find("question_id"));
    if (!labels.emplace(key, std::move(accepted)).second) {
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

}  // namespace fovea::app
