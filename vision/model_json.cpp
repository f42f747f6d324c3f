#include "vision/model_json.h"

#include <filesystem>
#include <utility>

#include "kernels/base/file.h"

namespace fovea {
namespace {

constexpr std::size_t kMaxJsonBytes = std::size_t{16} << 20;

}  // namespace

std::string path_in(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

Result<Json> read_model_json(const std::string& folder, const std::string& name) {
  const std::string path = path_in(folder, name);
  FOVEA_TRY(const std::string text, read_file(path, kMaxJsonBytes));
  Result<Json> parsed = parse_json(text);
  if (!parsed) {
    Error error = std::move(parsed).error();
    error.code = ErrorCode::bad_model;
    return error.in_file(path);
  }
  if (!parsed->is_object()) {
    return make_error(ErrorCode::bad_model, "expected a JSON object").in_file(path);
  }
  return parsed;
}

Result<std::optional<Json>> read_optional_model_json(const std::string& folder,
                                                     const std::string& name) {
  Result<Json> json = read_model_json(folder, name);
  if (json) return std::optional<Json>(std::move(json).value());
  if (json.error().code == ErrorCode::not_found) return std::optional<Json>();
  return std::move(json).error();
}

}  // namespace fovea
