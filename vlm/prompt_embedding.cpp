#include "vlm/prompt_embedding.h"

#include <algorithm>
#include <span>

#include "kernels/copy.h"

namespace fovea {

bool blank(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' '; });
}

Error empty_question() {
  return make_error(ErrorCode::usage, "the question is empty")
      .in_field("question")
      .with_remedy("Type a question");
}

Status check_room(const DecoderConfig& config, std::int64_t next) {
  if (next < config.max_positions) return {};
  return make_error(ErrorCode::usage, "the prompt takes " + std::to_string(next) +
                                          " positions, the model's context holds " +
                                          std::to_string(config.max_positions) +
                                          " including the answer")
      .in_field("question")
      .with_remedy("Ask a shorter question or show fewer pictures");
}

Result<std::vector<PromptPart>> marked_prompt(const std::string& raw, std::size_t pictures) {
  std::vector<PromptPart> parts = raw_prompt(raw);
  const auto marks = std::count_if(parts.begin(), parts.end(), [](const PromptPart& part) {
    return part.kind == PromptPart::Kind::image;
  });
  if (marks == static_cast<std::ptrdiff_t>(pictures)) return parts;
  return make_error(ErrorCode::usage, "the raw prompt marks " + std::to_string(marks) +
                                          " pictures, but " + std::to_string(pictures) +
                                          " were given")
      .with_remedy("Write <image> once for each picture");
}

PromptPicture prompt_picture(const PictureFeatures& features) {
  return {features.content, features.rect, features.size,
          features.tower_rows ? &*features.tower_rows : nullptr, &features.merged};
}

Status embed_prompt(Context& context, const LlavaModel& model, const EncodedPrompt& prompt,
                    std::int64_t first,
                    const std::vector<std::shared_ptr<const PictureFeatures>>& features,
                    TensorView out) {
  const auto total = static_cast<std::int64_t>(prompt.ids.size());
  const auto feature = [&](std::int64_t position) {
    return prompt.features[static_cast<std::size_t>(position)];
  };
  for (std::int64_t begin = first; begin < total;) {
    const FeatureRow start = feature(begin);
    std::int64_t end = begin + 1;
    if (start.picture >= 0) {  // the rest of one picture's tokens, as far as they are wanted
      while (end < total && feature(end).picture == start.picture &&
             feature(end).row == start.row + (end - begin)) {
        ++end;
      }
      const PictureFeatures& picture = *features[static_cast<std::size_t>(start.picture)];
      FOVEA_CHECK(convert(context, picture.tokens.view().slice(start.row, end - begin),
                          out.slice(begin - first, end - begin)));
    } else {
      while (end < total && feature(end).picture < 0) ++end;
      FOVEA_CHECK(model.decoder().embed(
          context,
          std::span(prompt.ids)
              .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
          out.slice(begin - first, end - begin)));
    }
    begin = end;
  }
  return {};
}

}  // namespace fovea
