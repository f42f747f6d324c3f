#pragma once
// Pictures named on a command line.

#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace fovea::app {

/// Whether a name ends in .jpg .jpeg .png .bmp .gif .webp .tif or .tiff, in any case.
bool named_like_a_picture(const std::string& path);

/// Every word becomes pictures, in order:
/// - a folder: all files in it and below it that are named like pictures, by path; hidden files and
/// linked folders are passed over;
/// - a pattern (with *, ? or [...]) that is no file itself: what it matches, by path; folders among
///   it as above;
/// - anything else: itself, whether it is there or not (reading it will tell).
/// Errors: not_found for a folder or pattern that yields nothing, io for a folder that cannot be
/// read.
Result<std::vector<std::string>> list_pictures(const std::vector<std::string>& words);

/// Names of the pictures' files without their endings, made different from each other.
std::vector<std::string> stems_of(const std::vector<std::string>& files);

}  // namespace fovea::app
