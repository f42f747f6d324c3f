#include "kernels/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace fovea {

Result<MappedFile> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK a named pipe would wait for a writer for ever.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    return make_error(missing ? ErrorCode::not_found : ErrorCode::io,
                      std::string("cannot open the file: ") + std::strerror(errno))
        .in_file(path);
  }
  struct stat info {};
  const bool known = ::fstat(file, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    ::close(file);
    const bool folder = known && S_ISDIR(info.st_mode);
    return make_error(folder ? ErrorCode::not_found : ErrorCode::io,
                      folder ? "expected a file, found a folder" : "not a regular file")
        .in_file(path);
  }
  MappedFile mapped;
  mapped.path_ = path;
  mapped.size_ = static_cast<std::size_t>(info.st_size);
  int reason = 0;
  if (mapped.size_ > 0) {  // an empty file cannot be mapped, and need not be
    void* address = ::mmap(nullptr, mapped.size_, PROT_READ, MAP_PRIVATE, file, 0);
    if (address == MAP_FAILED) {
      reason = errno;
      mapped.size_ = 0;
    } else {
      mapped.data_ = static_cast<const std::byte*>(address);
    }
  }
  ::close(file);
  if (reason != 0) {
    return make_error(ErrorCode::io, "cannot map " + std::to_string(info.st_size) +
                                         " bytes of the file: " + std::strerror(reason))
        .in_file(path);
  }
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace fovea
