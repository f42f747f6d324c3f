#pragma once
// A rendered conversation as token ids, with every visual token's place in its picture.

#include <cstdint>
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
};

struct EncodedPrompt {
  std::vector<std::int32_t> ids;  // the placeholder once per visual token
  SequenceLayout layout;
  /// Picture of each visual token, by id (an index into the pictures given).
  std::vector<std::int32_t> picture_of;
  /// Equal keys at the start of two prompts mean equal hidden states there: a text token's id, or
  /// a picture's content and the token's place in it.
  std::vector<std::uint64_t> keys;
};

/// Errors: usage when a part names a picture that was not given, unsupported for a control token
/// the vocabulary does not have.
Result<EncodedPrompt> encode_prompt(const std::vector<PromptPart>& parts,
                                    std::span<const PromptPicture> pictures,
                                    const Tokenizer& tokenizer, const LlavaConfig& config);

/// The same from ready token ids (random models, conformance tests): each run of
/// visual_tokens_per_image() placeholders is the next picture.
Result<EncodedPrompt> encode_ids(std::span<const std::int32_t> ids,
                                 std::span<const PromptPicture> pictures,
                                 const LlavaConfig& config);

}  // namespace fovea
