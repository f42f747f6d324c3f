#pragma once
// A prompt's way from a question and its pictures to embedded rows: what sessions of every kind
// share.

#include <memory>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "vlm/chat_template.h"
#include "vlm/llava_model.h"
#include "vlm/picture_features.h"
#include "vlm/prompt.h"

namespace fovea {

/// Whether a text holds nothing but white space.
bool blank(const std::string& text);
/// The usage error of a question without text.
Error empty_question();
/// Errors: usage when a prompt that takes positions [0, next) leaves no room for an answer.
Status check_room(const DecoderConfig& config, std::int64_t next);

/// A raw prompt that marks so many pictures. Errors: usage.
Result<std::vector<PromptPart>> marked_prompt(const std::string& raw, std::size_t pictures);

/// A picture's features as the prompt sees them; borrows them.
PromptPicture prompt_picture(const PictureFeatures& features);

/// The rows from `first` on: text from the vocabulary, pictures from their features. out: f32
/// [tokens - first, hidden].
Status embed_prompt(Context& context, const LlavaModel& model, const EncodedPrompt& prompt,
                    std::int64_t first,
                    const std::vector<std::shared_ptr<const PictureFeatures>>& features,
                    TensorView out);

}  // namespace fovea
