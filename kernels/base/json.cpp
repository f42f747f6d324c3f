#include "kernels/base/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <new>
#include <nlohmann/json.hpp>
#include <set>

namespace fovea {
namespace {

// ---- Positions, computed only when an error has to be placed -----------------------------------

/// Walks over the tokens of a text that a JSON parser has already accepted so far.
class TokenWalker {
 public:
  explicit TokenWalker(std::string_view text) : text_(text) {
    if (text_.starts_with("\xef\xbb\xbf")) end_ = 3;
  }

  /// Steps to the next value, key or bracket; false at the end.
  bool next() {
    start_ = text_.find_first_not_of(" \t\r\n,:", end_);
    if (start_ == std::string_view::npos) {
      start_ = end_ = text_.size();
      return false;
    }
    const char first = text_[start_];
    if (first == '"') {
      end_ = start_ + 1;
      while (end_ < text_.size() && text_[end_] != '"') end_ += text_[end_] == '\\' ? 2 : 1;
      end_ = std::min(end_ + 1, text_.size());
    } else if (std::string_view("[]{}").find(first) != std::string_view::npos) {
      end_ = start_ + 1;
    } else {
      end_ = std::min(text_.find_first_of(" \t\r\n,:[]{}\"", start_), text_.size());
    }
    return true;
  }
  std::size_t start() const { return start_; }
  char first() const { return text_[start_]; }

 private:
  std::string_view text_;
  std::size_t start_ = 0;
  std::size_t end_ = 0;
};

std::size_t token_offset(std::string_view text, std::size_t index) {
  TokenWalker walker(text);
  while (walker.next() && index > 0) --index;
  return walker.start();
}

// ---- Reading -----------------------------------------------------------------------------------

/// "[json.exception...] parse error at line 1, column 3: syntax error while parsing value - invalid
/// literal; last read: '...'" -> "while parsing value - invalid literal". What was read last is
/// left out because it may be megabytes of someone's text; the offset points at it.
std::string shortened(std::string_view text) {
  if (const auto at = text.find("syntax error "); at != std::string_view::npos) {
    text.remove_prefix(at + std::string_view("syntax error ").size());
    return std::string(text.substr(0, text.find("; last read")));
  }
  return text.find("number overflow") != std::string_view::npos ? "a number is out of range"
                                                                : "unreadable text";
}

/// Builds the tree from the parser's events, without recursion.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(std::string_view text, const JsonLimits& limits) : text_(text), limits_(limits) {}

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(std::int64_t value) override { return add(Json(value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (!std::in_range<std::int64_t>(value)) return refuse_integer();
    return add(Json(value));
  }
  bool number_float(double value, const std::string& written) override {
    // The parser turns integers that are too large into doubles; that would round them silently.
    if (written.find_first_of(".eE") == std::string::npos) return refuse_integer();
    return add(Json(value));
  }
  bool string(std::string& value) override { return add(Json(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) override { return fail("binary values are not JSON"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    if (!open_.back().note_key(name)) {
      // Cut, because a message is for reading and a key may be long.
      return fail("the key " + Json(name.substr(0, 80)).dump() + " appears twice in one object");
    }
    open_.back().key = std::move(name);
    ++events_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& exception) override {
    error_ = make_error(ErrorCode::bad_input, "not valid JSON: " + shortened(exception.what()))
                 .at(std::min(position == 0 ? 0 : position - 1, text_.size()));
    return false;
  }

  const Error& error() const { return error_; }
  Json take_root() { return std::move(root_); }

 private:
  struct Open {
    Json value;
    std::string key;                          // of the member being read
    std::set<std::string, std::less<>> keys;  // filled once the object is no longer small

    bool note_key(const std::string& name) {
      constexpr std::size_t kSmall = 16;
      const Json::Object& members = value.as_object();
      if (members.size() < kSmall) return value.find(name) == nullptr;
      if (keys.empty()) {
        for (const auto& member : members) keys.insert(member.first);
      }
      return keys.insert(name).second;
    }
  };

  bool fail(std::string message) {
    error_ = make_error(ErrorCode::bad_input, std::move(message)).at(token_offset(text_, events_));
    return false;
  }
  bool refuse_integer() { return fail("an integer does not fit into 64 bits with a sign"); }
  bool count() {
    if (++values_ <= limits_.max_values) return true;
    return fail("more than " + std::to_string(limits_.max_values) + " values");
  }
  bool open(Json empty) {
    if (!count()) return false;
    if (open_.size() >= static_cast<std::size_t>(std::max(limits_.max_depth, 0))) {
      return fail("nested more than " + std::to_string(limits_.max_depth) + " levels deep");
    }
    open_.push_back({std::move(empty), {}, {}});
    ++events_;
    return true;
  }
  bool close() {
    Json value = std::move(open_.back().value);
    open_.pop_back();
    return attach(std::move(value));
  }
  bool add(Json value) { return count() && attach(std::move(value)); }
  bool attach(Json value) {
    ++events_;
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Open& parent = open_.back(); parent.value.is_array()) {
      parent.value.push(std::move(value));
    } else {
      parent.value.as_object().emplace_back(std::move(parent.key), std::move(value));
    }
    return true;
  }

  std::string_view text_;
  const JsonLimits& limits_;
  std::vector<Open> open_;
  Json root_;
  Error error_;
  std::size_t events_ = 0;  // tokens accepted so far, which finds the place of an error
  std::size_t values_ = 0;
};

// ---- Writing -----------------------------------------------------------------------------------

/// Length of the valid UTF-8 sequence at the start of `text`, or 0.
std::size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xc2 && lead <= 0xdf   ? 2
                             : lead >= 0xe0 && lead <= 0xef ? 3
                             : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                            : 0;
  if (length == 0 || text.size() < length) return 0;
  // The second byte's range excludes overlong forms, surrogates and code points past 10FFFF.
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return length;
}

void write_string(std::string_view text, std::string& out) {
  out += '"';
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text);
    const char c = text.front();
    if (length == 0) {
      out += "\xef\xbf\xbd";  // the replacement character
    } else if (length > 1) {
      out += text.substr(0, length);
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      out += "\\u00";
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
    } else {
      out += c;
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  out += '"';
}

void write_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::array<char, 32> digits;
  const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  const std::string_view written(digits.data(), static_cast<std::size_t>(end - digits.data()));
  out += written;
  if (written.find_first_of(".e") == std::string_view::npos) out += ".0";  // stays no integer
}

void write_break(int indent, int depth, std::string& out) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(depth), ' ');
}

void write_value(const Json& value, int indent, int depth, std::string& out) {
  if (value.is_null()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.as_bool() ? "true" : "false";
  } else if (value.is_int()) {
    out += std::to_string(value.as_int());
  } else if (value.is_number()) {
    write_double(value.as_double(), out);
  } else if (value.is_string()) {
    write_string(value.as_string(), out);
  } else if (value.is_array()) {
    out += '[';
    bool first = true;
    for (const Json& item : value.as_array()) {
      if (!std::exchange(first, false)) out += ',';
      write_break(indent, depth + 1, out);
      write_value(item, indent, depth + 1, out);
    }
    if (!first) write_break(indent, depth, out);
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : value.as_object()) {
      if (!std::exchange(first, false)) out += ',';
      write_break(indent, depth + 1, out);
      write_string(key, out);
      out += indent < 0 ? ":" : ": ";
      write_value(member, indent, depth + 1, out);
    }
    if (!first) write_break(indent, depth, out);
    out += '}';
  }
}

}  // namespace

const Json* Json::find(std::string_view key) const {
  if (const auto* members = std::get_if<Object>(&data_)) {
    for (const auto& [name, value] : *members) {
      if (name == key) return &value;
    }
  }
  return nullptr;
}

Json& Json::set(std::string key, Json value) {
  if (is_null()) data_ = Object{};
  for (auto& [name, member] : as_object()) {
    if (name == key) {
      member = std::move(value);
      return *this;
    }
  }
  as_object().emplace_back(std::move(key), std::move(value));
  return *this;
}

void Json::push(Json value) {
  if (is_null()) data_ = Array{};
  as_array().push_back(std::move(value));
}

std::string Json::dump(int indent) const {
  std::string out;
  write_value(*this, indent, 0, out);
  return out;
}

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return make_error(ErrorCode::bad_input, "the JSON text has " + std::to_string(text.size()) +
                                                " bytes; at most " +
                                                std::to_string(limits.max_bytes) + " are read");
  }
  // The parser takes a zero byte for the end of its input and would ignore what follows.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    return make_error(ErrorCode::bad_input, "not valid JSON: a zero byte").at(zero);
  }
  try {
    TreeBuilder builder(text, limits);
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return builder.error();
    return builder.take_root();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::out_of_memory,
                      "no room for a JSON text of " + std::to_string(text.size()) + " bytes");
  } catch (const std::exception& failure) {
    return make_error(ErrorCode::bad_input, std::string("not valid JSON: ") + failure.what());
  }
}

std::size_t json_offset(std::string_view text, std::span<const std::size_t> path) {
  struct Level {
    bool object;
    std::size_t tokens = 0;  // keys and values begun on this level; in an object they alternate
  };
  std::vector<Level> levels;
  std::size_t matched = 0;  // how many steps of the path lead to the present place
  TokenWalker walker(text);
  while (walker.next()) {
    const char first = walker.first();
    if (first == '}' || first == ']') {
      if (!levels.empty()) levels.pop_back();
      continue;
    }
    if (!levels.empty()) {
      Level& level = levels.back();
      const std::size_t step = level.object ? 2 : 1;
      if (level.tokens % step == 0) {
        if (matched >= levels.size()) break;  // past the entry on the path
        if (matched + 1 == levels.size() && matched < path.size() &&
            level.tokens / step == path[matched] && ++matched == path.size()) {
          return walker.start();
        }
      }
      ++level.tokens;
    }
    if (first == '{' || first == '[') levels.push_back({first == '{'});
  }
  return text.size();
}

}  // namespace fovea
