#pragma once
// Errors as values. Libraries return them; only app/ and gui/ print or exit.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace fovea {

enum class ErrorCode {
  usage,          // the caller's arguments contradict each other or leave something out
  not_found,      // a file or folder that was named is not there
  io,             // reading or writing failed half-way
  bad_input,      // a picture, table or question is not what it claims to be
  bad_model,      // weights, configuration or tokenizer are damaged or do not fit together
  unsupported,    // valid, but something Fovea does not do
  too_large,      // over a declared cap or a model's limit
  out_of_memory,  // the machine or the device has no room
  device,         // the accelerator or its driver refused
  cancelled,      // the user asked to stop
  internal,       // a bug in Fovea
};

/// One word for an error code, as printed before the message.
const char* error_code_name(ErrorCode code);

/// What went wrong, where, and what to do about it. Fields that do not apply stay empty.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;                   // one sentence, with the numbers: "expected X, found Y"
  std::string file;                      // path of the file at fault
  std::string field;                     // tensor, configuration key, column or option at fault
  std::optional<std::uint64_t> offset;   // byte (or line, for text tables) where it was found
  std::string remedy;                    // what the user can do

  Error& in_file(std::string path) { file = std::move(path); return *this; }
  Error& in_field(std::string name) { field = std::move(name); return *this; }
  Error& at(std::uint64_t where) { offset = where; return *this; }
  Error& with_remedy(std::string text) { remedy = std::move(text); return *this; }

  /// "bad_model: message (file F, field X, offset N). Remedy."
  std::string to_string() const;
};

inline Error make_error(ErrorCode code, std::string message) {
  Error error;
  error.code = code;
  error.message = std::move(message);
  return error;
}

/// A value or an Error. Testing it is mandatory: `if (!result) return result.error();`
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : data_(std::in_place_index<0>, std::move(value)) {}           // NOLINT(google-explicit-constructor)
  Result(Error error) : data_(std::in_place_index<1>, std::move(error)) {}       // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return data_.index() == 0; }
  T& value() & { return std::get<0>(data_); }
  const T& value() const& { return std::get<0>(data_); }
  T&& value() && { return std::get<0>(std::move(data_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & { return std::get<1>(data_); }
  const Error& error() const& { return std::get<1>(data_); }
  Error&& error() && { return std::get<1>(std::move(data_)); }

 private:
  std::variant<T, Error> data_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return !error_.has_value(); }
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace fovea

#define FOVEA_CONCAT_INNER(a, b) a##b
#define FOVEA_CONCAT(a, b) FOVEA_CONCAT_INNER(a, b)

/// Returns from the enclosing function when a Status (or Result) holds an error.
#define FOVEA_CHECK(expression)                                        \
  do {                                                                 \
    if (auto fovea_status = (expression); !fovea_status) {             \
      return std::move(fovea_status).error();                          \
    }                                                                  \
  } while (false)

/// `FOVEA_TRY(auto header, parse(bytes));` declares `header` or returns the error.
#define FOVEA_TRY(declaration, expression)                                              \
  auto FOVEA_CONCAT(fovea_result_, __LINE__) = (expression);                            \
  if (!FOVEA_CONCAT(fovea_result_, __LINE__)) {                                         \
    return std::move(FOVEA_CONCAT(fovea_result_, __LINE__)).error();                    \
  }                                                                                     \
  declaration = std::move(FOVEA_CONCAT(fovea_result_, __LINE__)).value()
