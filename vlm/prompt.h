#pragma once
// A rendered conversation as token ids, with every visual token's place in its picture.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "pruning/visual_token.h"
#include "vision/image.h"
#include "vlm/chat_template.h"
#include "vlm/llava_config.h"
#include "vlm/tokenizer.h"

namespace fovea {

/// A picture as the prompt sees it.
struct PromptPicture {
  std::uint64_t content = 0;  // identifies pixels and preprocessing
  PixelRect rect;             // where the token grid lies on the original picture
  PictureSize size;           // of the original picture
  /// Rows of the vision tower that go into the prompt, in this order: 0 is the class token, 1 + r
  /// the patch of raster index r. Null: all that the model selects.
  const std::vector<std::int32_t>* tower_rows = nullptr;
  /// Rows that merged tokens are made of, by place in tower_rows; null: none is merged.
  const std::map<std::int32_t, std::vector<std::int32_t>>* merged = nullptr;
};

/// Which row of which picture's features a prompt token is made of.
struct FeatureRow {
  std::int32_t picture = -1;  // an index into the pictures given; -1: a text token
  std::int32_t row = 0;
};

/// The ids of one picture's tokens, by row of the vision tower.
struct PictureIds {
  std::int32_t picture = 0;    // an index into the pictures given
  std::int32_t first_row = 0;  // the first row that the model selects: 0, or 1 without class token
  std::int32_t first_id = 0;   // of that row; later rows follow
  std::int32_t class_id = -1;  // of a class token that only pruning passes on; -1: there is none

  /// -1 for a row that is no token of the prompt.
  std::int32_t id_of(std::int32_t row) const {
    return row >= first_row ? first_id + row - first_row : class_id;
  }
};

struct EncodedPrompt {
  std::vector<std::int32_t> ids;  // the placeholder once per visual token
  SequenceLayout layout;
  std::vector<FeatureRow> features;  // per prompt position
  std::vector<PictureIds> pictures;  // in the order of the prompt
  /// Per prompt position: where the token would stand if the vision tower had not pruned. A class
  /// token that only pruning passes on shares the place of its picture's first patch.
  std::vector<std::int32_t> original_positions;
  std::int64_t unpruned_visual = 0;  // visual tokens without pruning in the vision tower
  /// Equal keys at the start of two prompts mean equal hidden states there: a text token's id, or
  /// a picture's content and the token's place in it.
  std::vector<std::uint64_t> keys;
};

/// Errors: usage when a part names a picture that was not given, unsupported for a control token
/// the vocabulary does not have.
Result<EncodedPrompt> encode_prompt(const std::vector<PromptPart>& parts,
                                    std::span<const PromptPicture> pictures,
                                    const Tokenizer& tokenizer, const LlavaConfig& config);

/// The same from ready token ids (random models, conformance tests): each run of placeholders as
/// long as the next picture's tokens is that picture.
Result<EncodedPrompt> encode_ids(std::span<const std::int32_t> ids,
                                 std::span<const PromptPicture> pictures,
                                 const LlavaConfig& config);

}  // namespace fovea
