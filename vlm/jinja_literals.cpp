#include "vlm/jinja_literals.h"

#include <cctype>

namespace fovea {
namespace {

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// The value of a quoted literal whose opening quote stands at `at`; moves `at` past its end.
std::string read_literal(std::string_view text, std::size_t& at) {
  const char quote = text[at++];
  std::string value;
  while (at < text.size() && text[at] != quote) {
    if (text[at] != '\\' || at + 1 == text.size()) {
      value += text[at++];
      continue;
    }
    const char escaped = text[at + 1];
    at += 2;
    switch (escaped) {
      case 'n':
        value += '\n';
        break;
      case 't':
        value += '\t';
        break;
      case 'r':
        value += '\r';
        break;
      case '\\':
      case '\'':
      case '"':
        value += escaped;
        break;
      default:
        (value += '\\') += escaped;  // Python keeps the backslash of an unknown escape
    }
  }
  if (at < text.size()) ++at;
  return value;
}

/// Collects what the expression inside one {{ }} or {% set %} writes.
void read_expression(std::string_view text, JinjaOutput& output) {
  std::string pending;          // a literal that a `+` may still lengthen; empty: none
  bool joined = false;          // a `+` follows the pending literal
  char before = '\0';           // last character that is no space
  std::string_view word, call;  // last identifier, and the one before the last "("
  const auto flush = [&] {
    if (!pending.empty()) output.literals.insert(pending);
    pending.clear();
    joined = false;
  };
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (is_space(c)) {
      ++at;
    } else if (c == '\'' || c == '"') {
      const bool written = before != '[' && call != "raise_exception";
      const std::string literal = read_literal(text, at);
      if (!joined) flush();
      joined = false;
      if (written) pending += literal;
      before = c;
    } else if (is_word(c)) {
      flush();
      const std::size_t begin = at;
      while (at < text.size() && is_word(text[at])) ++at;
      word = text.substr(begin, at - begin);
      if (word == "eos_token") output.eos_token = true;
      before = c;
    } else {
      if (c == '+' && !pending.empty()) {
        joined = true;
      } else {
        flush();
      }
      if (c == '(') call = word;
      if (c == ')') call = {};
      before = c;
      ++at;
    }
  }
  flush();
}

}  // namespace

JinjaOutput jinja_output(std::string_view text) {
  JinjaOutput output;
  const auto add_plain = [&output](std::string_view plain) {
    plain = trimmed(plain);
    if (!plain.empty()) output.literals.emplace(plain);
  };
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t open = text.find('{', at);
    while (open != std::string_view::npos && open + 1 < text.size() && text[open + 1] != '{' &&
           text[open + 1] != '%' && text[open + 1] != '#') {
      open = text.find('{', open + 1);
    }
    if (open == std::string_view::npos || open + 1 >= text.size()) break;
    add_plain(text.substr(at, open - at));

    const char kind = text[open + 1];
    const char closing[] = {kind == '{' ? '}' : kind, '}', '\0'};
    std::size_t close = open + 2;
    while (close < text.size() && text.substr(close, 2) != closing) {
      const bool quote = text[close] == '\'' || text[close] == '"';
      if (quote && kind != '#') {
        read_literal(text, close);  // a tag may hold its own closing mark inside quotes
      } else {
        ++close;
      }
    }
    std::string_view inside = text.substr(open + 2, close - open - 2);
    if (inside.starts_with('-')) inside.remove_prefix(1);
    if (kind == '{') {
      read_expression(inside, output);
    } else if (kind == '%' && trimmed(inside).starts_with("set ")) {
      read_expression(trimmed(inside).substr(4), output);
    }
    at = close + 2;
  }
  if (at < text.size()) add_plain(text.substr(at));
  return output;
}

}  // namespace fovea
