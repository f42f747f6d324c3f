#pragma once
// What a policy is told about the prompt: which tokens are visual, and where each one looks.

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace fovea {

/// One visual token. Its id is its index among all visual tokens of the prompt, whatever image,
/// frame or tile they come from (with one 24x24 picture that is the raster index). Where the vision
/// tower has pruned, ids are those of the prompt without pruning: survivors keep theirs. A class
/// token that only such pruning passes on (VisionZip) has an id after all of them, in the order of
/// the pictures: 576 with one 24x24 picture.
struct VisualToken {
  std::int32_t image = 0;  // index among the prompt's pictures
  std::int32_t frame = 0;  // of a video; 0 for a picture
  std::int32_t tile = 0;   // of a tiled picture; 0 for the whole
  std::int32_t row = -1;   // grid cell, or -1 for a token that has none (a class token)
  std::int32_t col = -1;
  // Rectangle in pixels of the original picture (may reach outside it where padding lies).
  float x = 0, y = 0, width = 0, height = 0;
};

enum class TokenKind : std::uint8_t {
  system,  // text before the first visual token
  visual,
  text,  // every other token: questions, template words, text between pictures
};

/// Size of an original picture in pixels.
struct PictureSize {
  std::int32_t width = 0, height = 0;
};

/// The prompt as positions 0 .. n-1. Visual spans need not be contiguous, nor visual ids ascend.
struct SequenceLayout {
  std::vector<TokenKind> kinds;
  std::vector<std::int32_t> visual_ids;  // per prompt position: id, or -1
  std::vector<VisualToken> visual;       // by id, those dropped in the vision tower included
  std::vector<PictureSize> pictures;     // by VisualToken::image
  /// By prompt position: ids of all the visual tokens in a token that the vision tower merged,
  /// ascending. visual_ids names the one in whose cell it stands.
  std::map<std::int32_t, std::vector<std::int32_t>> merged;
  std::uint64_t fingerprint = 0;         // of the prompt's ids and pictures; seeds random choices

  std::int64_t tokens() const { return static_cast<std::int64_t>(kinds.size()); }
  /// Visual tokens that enter the decoder.
  std::int64_t visual_count() const {
    return std::count(kinds.begin(), kinds.end(), TokenKind::visual);
  }
  std::int64_t id_count() const { return static_cast<std::int64_t>(visual.size()); }
};

}  // namespace fovea
