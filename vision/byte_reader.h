#pragma once
// Numbers out of a block of untrusted bytes, at checked positions.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace fovea {

class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, bool big_endian)
      : bytes_(bytes), big_endian_(big_endian) {}

  std::size_t size() const { return bytes_.size(); }
  bool holds(std::size_t offset, std::size_t count) const {
    return offset <= bytes_.size() && count <= bytes_.size() - offset;
  }
  std::optional<std::uint8_t> u8(std::size_t offset) const {
    if (!holds(offset, 1)) return std::nullopt;
    return std::to_integer<std::uint8_t>(bytes_[offset]);
  }
  std::optional<std::uint16_t> u16(std::size_t offset) const {
    if (const auto value = number(offset, 2)) return static_cast<std::uint16_t>(*value);
    return std::nullopt;
  }
  std::optional<std::uint32_t> u32(std::size_t offset) const { return number(offset, 4); }

 private:
  std::optional<std::uint32_t> number(std::size_t offset, std::size_t count) const {
    if (!holds(offset, count)) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const auto byte = std::to_integer<std::uint32_t>(bytes_[offset + i]);
      value |= byte << (8 * (big_endian_ ? count - 1 - i : i));
    }
    return value;
  }

  std::span<const std::byte> bytes_;
  bool big_endian_;
};

}  // namespace fovea
