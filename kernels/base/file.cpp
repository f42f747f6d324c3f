#include "kernels/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <utility>

namespace fovea {
namespace {

Error system_error(ErrorCode code, const std::string& what, int reason, const std::string& path) {
  return make_error(code, what + ": " + std::strerror(reason)).in_file(path);
}

/// Closes on every way out; release() hands the descriptor to a close() whose result matters.
class Descriptor {
 public:
  explicit Descriptor(int file) : file_(file) {}
  ~Descriptor() {
    if (file_ >= 0) ::close(file_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return file_; }
  int release() { return std::exchange(file_, -1); }

 private:
  int file_;
};

/// Opens a new file beside `path`, with a name nobody else uses.
int create_beside(const std::filesystem::path& path, std::string& name) {
  static std::atomic<std::uint64_t> counter{0};
  for (;;) {
    const std::string unique =
        ".fovea-" + std::to_string(::getpid()) + "-" + std::to_string(counter++) + ".tmp";
    name = (path.parent_path() / unique).string();
    const int file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0 || errno != EEXIST) return file;
  }
}

bool write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::write(file, bytes.data(), std::min<std::size_t>(bytes.size(), 1 << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
  // Without O_NONBLOCK a named pipe would wait for a writer for ever.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    return system_error(missing ? ErrorCode::not_found : ErrorCode::io, "cannot open the file",
                        errno, path);
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) {
    return system_error(ErrorCode::io, "cannot inspect the file", errno, path);
  }
  if (S_ISDIR(info.st_mode)) {
    return make_error(ErrorCode::not_found, "expected a file, found a folder").in_file(path);
  }
  if (!S_ISREG(info.st_mode)) {
    return make_error(ErrorCode::io, "not a regular file").in_file(path);
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  const auto too_large = [&](const std::string& found) {
    return make_error(ErrorCode::too_large, "the file has " + found + " bytes; at most " +
                                                std::to_string(max_bytes) + " are read")
        .in_file(path);
  };
  if (size > max_bytes) return too_large(std::to_string(size));
  try {
    // One byte more than is expected shows the end of the file without a second buffer. Files
    // that grow meanwhile, and those of /proc that claim no size, are read to their end as well.
    std::string text(size + 1, '\0');
    std::size_t filled = 0;
    for (;;) {
      const ssize_t got = ::read(file.get(), text.data() + filled, text.size() - filled);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return system_error(ErrorCode::io, "cannot read the file", errno, path);
      if (got == 0) break;
      filled += static_cast<std::size_t>(got);
      if (filled > max_bytes) return too_large("more than " + std::to_string(max_bytes));
      if (filled == text.size()) text.resize(text.size() * 2 + 4096);
    }
    text.resize(filled);
    return text;
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::out_of_memory,
                      "no room for the file's " + std::to_string(size) + " bytes")
        .in_file(path);
  }
}

Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  // A link keeps pointing at its file; pipes and devices must never be renamed over.
  std::filesystem::path target(path);
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists) {
    if (!S_ISREG(info.st_mode)) {
      return make_error(ErrorCode::io, S_ISDIR(info.st_mode)
                                           ? "cannot write the file: a folder has its name"
                                           : "cannot write the file: it is no regular file")
          .in_file(path);
    }
    std::error_code ignored;
    if (auto real = std::filesystem::canonical(target, ignored); !ignored) target = std::move(real);
  }

  std::string temporary;
  Descriptor file(create_beside(target, temporary));
  if (file.get() < 0)
    return system_error(ErrorCode::io, "cannot write into the folder", errno, path);
  bool written = write_all(file.get(), bytes);
  if (written && exists) written = ::fchmod(file.get(), info.st_mode & 07777) == 0;
  int reason = written ? 0 : errno;
  if (::close(file.release()) != 0 && written) {
    written = false;
    reason = errno;
  }
  if (written && ::rename(temporary.c_str(), target.c_str()) != 0) {
    written = false;
    reason = errno;
  }
  if (!written) {
    ::unlink(temporary.c_str());
    return system_error(ErrorCode::io, "cannot write the file", reason, path);
  }
  return {};
}

Status write_file_atomically(const std::string& path, std::string_view text) {
  return write_file_atomically(path, std::as_bytes(std::span(text)));
}

Status make_folder(const std::string& path) {
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  if (!failure) return {};
  return make_error(ErrorCode::io, "the folder cannot be made: " + failure.message()).in_file(path);
}

}  // namespace fovea
