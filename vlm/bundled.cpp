#include "vlm/bundled.h"

#include <cstdlib>
#include <filesystem>

namespace fovea {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBundledModel = "models/fovea-base";
constexpr int kFoldersAbove = 4;

}  // namespace

std::vector<std::string> bundled_places(const std::string& executable, const std::string& name) {
  std::vector<std::string> places;
  fs::path folder = fs::path(executable).parent_path();
  places.push_back((folder.parent_path() / "share" / "fovea" / name).string());
  for (int level = 0; level < kFoldersAbove && folder.has_relative_path(); ++level) {
    places.push_back((folder / "assets" / name).string());
    folder = folder.parent_path();
  }
  return places;
}

Result<std::string> find_bundled(const std::string& name) {
  std::error_code failure;
  const fs::path executable = fs::read_symlink("/proc/self/exe", failure);
  std::string looked;
  if (!failure) {
    for (const std::string& place : bundled_places(executable.string(), name)) {
      if (fs::exists(place, failure)) return place;
      looked += (looked.empty() ? "" : ", ") + place;
    }
  }
  return make_error(ErrorCode::not_found, "the bundled " + name + " was not found; looked at " +
                                              (looked.empty() ? "nothing" : looked));
}

Result<std::string> default_model_folder() {
  const char* named = std::getenv("FOVEA_MODEL");
  if (named == nullptr || *named == '\0') return find_bundled(kBundledModel);
  std::error_code failure;
  if (fs::is_directory(named, failure)) return std::string(named);
  return make_error(ErrorCode::not_found, "FOVEA_MODEL names a folder that is not there")
      .in_file(named);
}

}  // namespace fovea
