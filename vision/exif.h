#pragma once
// The one field of EXIF that matters to us: which way up the picture is.

#include <cstddef>
#include <span>

namespace fovea {

/// The orientation tag (0x0112) of the first directory of a TIFF block, as it lies in a JPEG's APP1
/// segment after "Exif\0\0" or in a PNG's eXIf chunk. 1 (upright) to 8; 1 as well when the tag is
/// absent or anything in the block is malformed, as picture viewers do.
int exif_orientation(std::span<const std::byte> tiff);

}  // namespace fovea
