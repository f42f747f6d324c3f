#pragma once
// Read-only memory mapping of a file.

#include <cstddef>
#include <span>
#include <string>

#include "kernels/base/error.h"

namespace fovea {

/// Owns one mapping; moving it keeps the address. A file that is truncated by someone else while
/// mapped makes later reads fail with SIGBUS, as with every mapping program: do not edit a model
/// in use.
class MappedFile {
 public:
  /// Errors: not_found (missing, or a directory), io.
  static Result<MappedFile> open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string path_;
};

}  // namespace fovea
