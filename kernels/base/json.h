#pragma once
// A small JSON value. The parser behind it is nlohmann/json, compiled in json.cpp only, because
// that header costs seconds in every file that includes it.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in file order

  Json() = default;  // null
  template <std::same_as<bool> Bool>  // a template, so that no pointer turns into a bool
  Json(Bool value) : data_(value) {}
  template <std::integral Integer>
    requires(!std::same_as<Integer, bool>)
  Json(Integer value) {
    if (std::in_range<std::int64_t>(value)) {
      data_ = static_cast<std::int64_t>(value);
    } else {
      data_ = static_cast<double>(value);
    }
  }
  Json(double value) : data_(value) {}
  Json(const char* value) : data_(std::string(value)) {}
  Json(std::string value) : data_(std::move(value)) {}
  Json(Array value) : data_(std::move(value)) {}
  static Json object() { Json j; j.data_ = Object{}; return j; }
  static Json array() { Json j; j.data_ = Array{}; return j; }
  template <class Range>
  static Json array_of(const Range& range) {
    Array items;
    for (const auto& item : range) items.emplace_back(item);
    return Json(std::move(items));
  }

  bool is_null() const { return data_.index() == 0; }
  bool is_bool() const { return data_.index() == 1; }
  bool is_int() const { return data_.index() == 2; }
  bool is_number() const { return data_.index() == 2 || data_.index() == 3; }
  bool is_string() const { return data_.index() == 4; }
  bool is_array() const { return data_.index() == 5; }
  bool is_object() const { return data_.index() == 6; }

  // Typed reading; each needs its is_*() to hold.
  bool as_bool() const { return std::get<bool>(data_); }
  std::int64_t as_int() const { return std::get<std::int64_t>(data_); }
  double as_double() const {
    return is_int() ? static_cast<double>(as_int()) : std::get<double>(data_);
  }
  const std::string& as_string() const { return std::get<std::string>(data_); }
  const Array& as_array() const { return std::get<Array>(data_); }
  Array& as_array() { return std::get<Array>(data_); }
  const Object& as_object() const { return std::get<Object>(data_); }
  Object& as_object() { return std::get<Object>(data_); }

  /// Member of an object, or null when this is no object or has no such member.
  const Json* find(std::string_view key) const;
  /// Sets (or replaces) a member; a null value becomes an object first.
  Json& set(std::string key, Json value);
  /// Appends to an array; a null value becomes an array first.
  void push(Json value);

  /// Text of this value. indent < 0: one line. Not-a-number and infinities become null. Invalid
  /// UTF-8 is replaced, never thrown.
  std::string dump(int indent = -1) const;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> data_;
};

struct JsonLimits {
  std::size_t max_bytes = 100'000'000;
  int max_depth = 64;
  std::size_t max_values = 5'000'000;
};

/// Parses one JSON document. Refused: duplicate keys, invalid UTF-8, depth, size and count over
/// the limits, integers outside 64 bits, text after the value (white space is allowed). The
/// error's offset is the byte at which reading failed; its code is bad_input (callers that read a
/// model change it and add the file).
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

/// Byte at which a member or item starts in a text that parse_json accepted, for error messages:
/// path {2, 0} is the first member (its key) or item of the third member of the root. A path that
/// leads nowhere gives the size of the text.
std::size_t json_offset(std::string_view text, std::span<const std::size_t> path);

}  // namespace fovea
