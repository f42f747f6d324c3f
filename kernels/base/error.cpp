#include "kernels/base/error.h"

namespace fovea {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage: return "usage";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::io: return "io";
    case ErrorCode::bad_input: return "bad_input";
    case ErrorCode::bad_model: return "bad_model";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::too_large: return "too_large";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::device: return "device";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::internal: return "internal";
  }
  return "internal";
}

std::string Error::to_string() const {
  std::string text = std::string(error_code_name(code)) + ": " + message;
  std::string where;
  const auto add = [&where](const std::string& part) { where += (where.empty() ? "" : ", ") + part; };
  if (!file.empty()) add("file " + file);
  if (!field.empty()) add("field " + field);
  if (offset) add("offset " + std::to_string(*offset));
  if (!where.empty()) text += " (" + where + ")";
  if (!remedy.empty()) text += ". " + remedy;
  return text;
}

}  // namespace fovea
