#pragma once
// NumPy's .npy files, version 1.0, little-endian, C order.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

struct NpyArray {
  std::vector<std::int64_t> shape;
  std::vector<float> values;  // C order
};

/// Writes float32 (or int32) values atomically. Precondition: product(shape) == values.size().
Status write_npy(const std::string& path, std::span<const std::int64_t> shape,
                 std::span<const float> values);
Status write_npy(const std::string& path, std::span<const std::int64_t> shape,
                 std::span<const std::int32_t> values);

/// Reads '<f4', '<f8', '<f2', '<i4', '<i8' (converted to float32), C order, versions 1 to 3; every
/// count is checked against the bytes that are there. Errors: bad_input with offset.
Result<NpyArray> parse_npy(std::span<const std::byte> bytes);
Result<NpyArray> read_npy(const std::string& path);

struct NpyDoubles {
  std::vector<std::int64_t> shape;
  std::vector<double> values;  // C order
};

/// The same in full precision, of '<f4' and '<f8' only.
Result<NpyDoubles> parse_npy_doubles(std::span<const std::byte> bytes);
Result<NpyDoubles> read_npy_doubles(const std::string& path);

}  // namespace fovea
