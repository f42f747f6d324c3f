#pragma once
// What a Jinja chat template writes by itself, found without running it.

#include <set>
#include <string>
#include <string_view>

namespace fovea {

struct JinjaOutput {
  /// Constant pieces of text the template can write: text outside of tags (without the white space
  /// around it), and string literals in {{ }} and {% set %}. Literals joined by `+` count as one.
  /// Left out: subscripts, arguments of raise_exception, and literals that are only compared.
  std::set<std::string> literals;
  /// The end token's variable is written somewhere.
  bool eos_token = false;
};

/// Reads any text, well-formed Jinja or not; linear in its length.
JinjaOutput jinja_output(std::string_view text);

}  // namespace fovea
