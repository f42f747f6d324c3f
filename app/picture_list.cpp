#include "app/picture_list.h"

#include <glob.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <set>
#include <string_view>

namespace fovea::app {
namespace {

namespace fs = std::filesystem;

Status add_folder(const std::string& folder, std::vector<std::string>& pictures) {
  std::error_code failure;
  std::vector<std::string> found;
  fs::recursive_directory_iterator entry(folder, failure), end;
  for (; !failure && entry != end; entry.increment(failure)) {
    const bool hidden = entry->path().filename().string().starts_with(".");
    std::error_code ignored;
    if (hidden) {
      if (entry->is_directory(ignored)) entry.disable_recursion_pending();
    } else if (entry->is_regular_file(ignored) && named_like_a_picture(entry->path().string())) {
      found.push_back(entry->path().string());
    }
  }
  if (failure) {
    return make_error(ErrorCode::io, "the folder cannot be read: " + failure.message())
        .in_file(folder);
  }
  if (found.empty()) {
    return make_error(ErrorCode::not_found, "there is no picture in this folder").in_file(folder);
  }
  std::ranges::sort(found);
  pictures.insert(pictures.end(), found.begin(), found.end());
  return {};
}

std::vector<std::string> matches(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found{};
  if (::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  std::ranges::sort(paths);  // by bytes, whatever the locale
  return paths;
}

}  // namespace

bool named_like_a_picture(const std::string& path) {
  // Formats that Fovea cannot read are listed too: their rows say so.
  constexpr std::array<std::string_view, 8> endings{".jpg", ".jpeg", ".png", ".bmp",
                                                    ".gif", ".webp", ".tif", ".tiff"};
  std::string ending = fs::path(path).extension().string();
  std::ranges::transform(ending, ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::find(endings, ending) != endings.end();
}

Result<std::vector<std::string>> list_pictures(const std::vector<std::string>& words) {
  std::vector<std::string> pictures;
  const auto add = [&pictures](const std::string& path) -> Status {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) return add_folder(path, pictures);
    pictures.push_back(path);
    return {};
  };
  for (const std::string& word : words) {
    std::error_code ignored;
    const bool pattern =
        word.find_first_of("*?[") != std::string::npos && !fs::exists(word, ignored);
    if (!pattern) {
      FOVEA_CHECK(add(word));
      continue;
    }
    const std::vector<std::string> paths = matches(word);
    if (paths.empty()) {
      return make_error(ErrorCode::not_found, "nothing matches this pattern").in_file(word);
    }
    for (const std::string& path : paths) FOVEA_CHECK(add(path));
  }
  return pictures;
}

std::vector<std::string> stems_of(const std::vector<std::string>& files) {
  std::vector<std::string> stems;
  std::set<std::string> used;
  for (const std::string& file : files) {
    const std::string base = fs::path(file).stem().string();
    std::string stem = base;
    for (int number = 2; !used.insert(stem).second; ++number) {
      stem = base + "-" + std::to_string(number);
    }
    stems.push_back(std::move(stem));
  }
  return stems;
}

}  // namespace fovea::app
