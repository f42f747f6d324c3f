#include "vlm/prompt.h"

#include <algorithm>

namespace fovea {

namespace {

class PromptBuilder {
 public:
  PromptBuilder(const LlavaConfig& config, std::span<const PromptPicture> pictures)
      : config_(config), pictures_(pictures) {}

  void token(std::int32_t id) {
    prompt_.ids.push_back(id);
    prompt_.layout.kinds.push_back(prompt_.layout.visual.empty() ? TokenKind::system
                                                                 : TokenKind::text);
    prompt_.layout.visual_ids.push_back(-1);
    prompt_.keys.push_back(static_cast<std::uint64_t>(static_cast<std::uint32_t>(id)));
  }

  Status picture(std::int64_t index) {
    if (index < 0 || index >= static_cast<std::int64_t>(pictures_.size())) {
      return make_error(ErrorCode::usage, "the prompt marks " + std::to_string(index + 1) +
                                              " pictures, but " + std::to_string(pictures_.size()) +
                                              " were given")
          .with_remedy("Give one picture for each <image> mark");
    }
    const PromptPicture& shown = pictures_[static_cast<std::size_t>(index)];
    const std::int64_t count = config_.visual_tokens_per_image();
    const std::int64_t without_cell = count - config_.vision.patches();
    const std::int64_t grid = config_.vision.grid();
    for (std::int64_t t = 0; t < count; ++t) {
      VisualToken token;
      token.image = static_cast<std::int32_t>(index);
      if (t >= without_cell) {
        token.row = static_cast<std::int32_t>((t - without_cell) / grid);
        token.col = static_cast<std::int32_t>((t - without_cell) % grid);
        const double cell_width = shown.rect.width / static_cast<double>(grid);
        const double cell_height = shown.rect.height / static_cast<double>(grid);
        token.x = static_cast<float>(shown.rect.x + cell_width * token.col);
        token.y = static_cast<float>(shown.rect.y + cell_height * token.row);
        token.width = static_cast<float>(cell_width);
        token.height = static_cast<float>(cell_height);
      }
      prompt_.ids.push_back(static_cast<std::int32_t>(config_.image_token_id));
      prompt_.layout.kinds.push_back(TokenKind::visual);
      prompt_.layout.visual_ids.push_back(static_cast<std::int32_t>(prompt_.layout.visual.size()));
      prompt_.layout.visual.push_back(token);
      prompt_.picture_of.push_back(static_cast<std::int32_t>(index));
      // The top bit keeps picture keys apart from token ids.
      prompt_.keys.push_back(
          (shown.content * 0x9E3779B97F4A7C15ull + static_cast<std::uint64_t>(t)) | (1ull << 63));
    }
    return {};
  }

  EncodedPrompt finish() {
    // Without a picture there is nothing to prune, and all of it is text.
    if (prompt_.layout.visual.empty()) {
      std::fill(prompt_.layout.kinds.begin(), prompt_.layout.kinds.end(), TokenKind::text);
    }
    for (const std::uint64_t key : prompt_.keys) {  // FNV-1a over whole keys
      prompt_.layout.fingerprint = (prompt_.layout.fingerprint ^ key) * 0x100000001B3ull;
    }
    return std::move(prompt_);
  }

 private:
  const LlavaConfig& config_;
  std::span<const PromptPicture> pictures_;
  EncodedPrompt prompt_;
};

}  // namespace

Result<EncodedPrompt> encode_prompt(const std::vector<PromptPart>& parts,
                                    std::span<const PromptPicture> pictures,
                                    const Tokenizer& tokenizer, const LlavaConfig& config) {
  PromptBuilder builder(config, pictures);
  for (const PromptPart& part : parts) {
    switch (part.kind) {
      case PromptPart::Kind::text:
        for (const std::int32_t id : tokenizer.encode(part.text)) builder.token(id);
        break;
      case PromptPart::Kind::image:
        FOVEA_CHECK(builder.picture(part.image));
        break;
      case PromptPart::Kind::bos:
        builder.token(static_cast<std::int32_t>(config.bos_token_id));
        break;
      case PromptPart::Kind::eos:
        builder.token(static_cast<std::int32_t>(
            config.eos_token_ids.empty() ? tokenizer.eos_id() : config.eos_token_ids.front()));
        break;
      case PromptPart::Kind::control: {
        const auto id = tokenizer.token_id(part.text);
        if (!id) {
          return make_error(ErrorCode::unsupported, "the model's vocabulary has no token \"" +
                                                        part.text +
                                                        "\", which the chat template writes")
              .with_remedy("Choose another template with --template");
        }
        builder.token(*id);
        break;
      }
    }
  }
  return builder.finish();
}

Result<EncodedPrompt> encode_ids(std::span<const std::int32_t> ids,
                                 std::span<const PromptPicture> pictures,
                                 const LlavaConfig& config) {
  PromptBuilder builder(config, pictures);
  const std::int64_t per_picture = config.visual_tokens_per_image();
  std::int64_t picture = 0;
  for (std::size_t i = 0; i < ids.size();) {
    if (ids[i] != config.image_token_id) {
      builder.token(ids[i++]);
      continue;
    }
    const auto run = static_cast<std::size_t>(per_picture);
    if (i + run > ids.size() ||
        std::any_of(ids.begin() + static_cast<std::ptrdiff_t>(i),
                    ids.begin() + static_cast<std::ptrdiff_t>(i + run),
                    [&](std::int32_t id) { return id != config.image_token_id; })) {
      return make_error(ErrorCode::usage,
                        "picture placeholders must come in runs of " + std::to_string(per_picture))
          .at(i);
    }
    FOVEA_CHECK(builder.picture(picture++));
    i += run;
  }
  return builder.finish();
}

}  // namespace fovea
