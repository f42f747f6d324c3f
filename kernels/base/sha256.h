#pragma once
// SHA-256 (FIPS 180-4), in pieces; for one buffer see sha256_hex in file.h.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace fovea {

class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  /// The digest of everything given so far, as 64 hexadecimal digits.
  std::string hex() const;

 private:
  std::array<std::uint32_t, 8> state_;
  std::array<std::byte, 64> pending_{};  // the first total_ % 64 bytes wait for a full block
  std::uint64_t total_ = 0;
};

}  // namespace fovea
