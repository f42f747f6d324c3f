#include "vision/exif.h"

#include "vision/byte_reader.h"

namespace fovea {

namespace {

constexpr std::uint16_t kOrientationTag = 0x0112;
constexpr std::uint16_t kTypeShort = 3;
constexpr std::size_t kEntryBytes = 12;  // tag u16, type u16, count u32, value or its offset u32

}  // namespace

int exif_orientation(std::span<const std::byte> tiff) {
  constexpr int kUpright = 1;
  const auto order = ByteReader(tiff, true).u16(0);
  if (order != 0x4949 && order != 0x4D4D) return kUpright;  // "II" or "MM"
  const ByteReader reader(tiff, order == 0x4D4D);
  if (reader.u16(2) != 42) return kUpright;
  const auto directory = reader.u32(4);
  if (!directory) return kUpright;
  const auto entries = reader.u16(*directory);
  if (!entries) return kUpright;
  for (std::size_t index = 0; index < *entries; ++index) {
    const std::size_t entry = std::size_t{*directory} + 2 + index * kEntryBytes;
    if (!reader.holds(entry, kEntryBytes)) return kUpright;
    if (reader.u16(entry) != kOrientationTag) continue;
    const auto value = reader.u16(entry + 8);
    const bool one_short = reader.u16(entry + 2) == kTypeShort && reader.u32(entry + 4) == 1u;
    return one_short && *value >= 1 && *value <= 8 ? *value : kUpright;
  }
  return kUpright;
}

}  // namespace fovea
