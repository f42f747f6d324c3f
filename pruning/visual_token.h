#pragma once
// What a policy is told about the prompt: which tokens are visual, and where each one looks.

#include <cstdint>
#include <vector>

namespace fovea {

/// One visual token. Its id is its index among all visual tokens of the prompt, whatever image,
/// frame or tile they come from (with one 24x24 picture that is the raster index).
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

/// The prompt as positions 0 .. n-1. Visual spans need not be contiguous.
struct SequenceLayout {
  std::vector<TokenKind> kinds;
  std::vector<std::int32_t> visual_ids;  // per prompt position: id, or -1
  std::vector<VisualToken> visual;       // by id
  std::uint64_t fingerprint = 0;         // of the prompt's ids and pictures; seeds random choices

  std::int64_t tokens() const { return static_cast<std::int64_t>(kinds.size()); }
  std::int64_t visual_count() const { return static_cast<std::int64_t>(visual.size()); }
};

}  // namespace fovea
