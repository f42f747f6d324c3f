#pragma once
// Real data that the repository may not contain: tests that want it skip where it is absent.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fovea::testing {

/// Path of a file or folder of the shared data: below $FOVEA_SHARED where that is set, else below
/// ../shared/data of the source tree, or of the folder above (a worktree). Nothing where it is not.
inline std::optional<std::string> shared_data(const std::string& name) {
  namespace fs = std::filesystem;
  std::vector<fs::path> places;
  if (const char* named = std::getenv("FOVEA_SHARED"); named != nullptr && *named != '\0') {
    places.emplace_back(named);
  } else {
    const fs::path source(FOVEA_SOURCE_DIR);
    places.push_back(source.parent_path() / "shared" / "data");
    places.push_back(source.parent_path().parent_path() / "shared" / "data");
  }
  std::error_code ignored;
  for (const fs::path& place : places) {
    if (fs::exists(place / name, ignored)) return (place / name).string();
  }
  return std::nullopt;
}

/// Why a test that needs `name` skips.
inline std::string shared_data_missing(const std::string& name) {
  return "there is no shared data '" + name +
         "': set FOVEA_SHARED to the folder that holds it, or put it into ../shared/data";
}

/// The 10,000 test pictures of Fashion-MNIST: 28 x 28 grey, row by row, and their classes.
struct FashionPictures {
  std::vector<std::uint8_t> pixels;  // [count, 28, 28]
  std::vector<std::uint8_t> classes;
  std::size_t count() const { return classes.size(); }
};
inline constexpr const char* kFashionMissing =
    "Debian's package dataset-fashion-mnist is not installed";

/// As Debian's dataset-fashion-mnist installs them; nothing where it is not installed.
inline std::optional<FashionPictures> fashion_pictures() {
  const auto unpacked = [](const std::string& name, std::size_t header) {
    std::vector<std::uint8_t> bytes;
    const std::string command =
        "gzip -dc /usr/share/datasets/fashion-mnist/" + name + " 2>/dev/null";
    std::FILE* pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) return bytes;
    std::uint8_t block[1 << 16];
    for (std::size_t got = 0; (got = std::fread(block, 1, sizeof(block), pipe)) > 0;) {
      bytes.insert(bytes.end(), block, block + got);
    }
    pclose(pipe);
    bytes.erase(bytes.begin(),
                bytes.begin() + static_cast<std::ptrdiff_t>(std::min(header, bytes.size())));
    return bytes;
  };
  FashionPictures pictures;
  pictures.pixels = unpacked("t10k-images-idx3-ubyte.gz", 16);
  pictures.classes = unpacked("t10k-labels-idx1-ubyte.gz", 8);
  if (pictures.classes.empty() || pictures.pixels.size() != pictures.classes.size() * 28 * 28) {
    return std::nullopt;
  }
  return pictures;
}

}  // namespace fovea::testing
