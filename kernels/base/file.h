#pragma once
// Whole-file reading with a cap, writing that never leaves half a file, and folders.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

/// Reads a whole regular file of at most max_bytes. Errors: not_found, io, too_large.
Result<std::string> read_file(const std::string& path, std::size_t max_bytes);

/// Writes to a temporary name in the same folder, then renames: readers see the old file or the
/// whole new one. Errors: io (with the system's reason).
Status write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
Status write_file_atomically(const std::string& path, std::string_view text);

/// Makes a folder and those it lies in, where they are not there. Errors: io.
Status make_folder(const std::string& path);

/// SHA-256 of the bytes as 64 hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace fovea
