#include "vlm/prompt.h"

#include <algorithm>

namespace fovea {

namespace {

class PromptBuilder {
 public:
  PromptBuilder(const LlavaConfig& config, std::span<const PromptPicture> pictures)
      : config_(config), pictures_(pictures) {}

  void token(std::int32_t id) {
    const bool before_pictures = prompt_.layout.visual.empty();
    push(id, before_pictures ? TokenKind::system : TokenKind::text, -1, {}, next_position_++,
         static_cast<std::uint32_t>(id));
  }

  /// Tokens that a picture brings, when it is one of those given.
  std::int64_t tokens_of(std::int64_t index) const {
    const bool known = index < static_cast<std::int64_t>(pictures_.size());
    const auto* rows = known ? pictures_[static_cast<std::size_t>(index)].tower_rows : nullptr;
    return rows != nullptr ? static_cast<std::int64_t>(rows->size())
                           : config_.visual_tokens_per_image();
  }

  Status picture(std::int64_t index) {
    if (index < 0 || index >= static_cast<std::int64_t>(pictures_.size())) {
      return make_error(ErrorCode::usage, "the prompt marks " + std::to_string(index + 1) +
                                              " pictures, but " + std::to_string(pictures_.size()) +
                                              " were given")
          .with_remedy("Give one picture for each <image> mark");
    }
    const PromptPicture& shown = pictures_[static_cast<std::size_t>(index)];
    const auto image = static_cast<std::int32_t>(index);
    const auto first_id = static_cast<std::int32_t>(prompt_.layout.visual.size());
    const auto count = static_cast<std::int32_t>(config_.visual_tokens_per_image());
    const auto first_row = static_cast<std::int32_t>(config_.vision.tokens()) - count;
    for (std::int32_t row = first_row; row < first_row + count; ++row) {
      prompt_.layout.visual.push_back(visual_token(shown, image, row));
    }
    for (std::int64_t t = 0; t < tokens_of(index); ++t) {
      const bool pruned = shown.tower_rows != nullptr;
      const std::int32_t row = pruned ? (*shown.tower_rows)[static_cast<std::size_t>(t)]
                                      : first_row + static_cast<std::int32_t>(t);
      if (row < 0 || row >= first_row + count) {
        return make_error(ErrorCode::internal,
                          "the vision tower has no row " + std::to_string(row));
      }
      const std::int32_t within = std::max(row - first_row, 0);
      if (shown.merged != nullptr) {
        const auto merged = shown.merged->find(static_cast<std::int32_t>(t));
        if (merged != shown.merged->end()) {
          merged_[static_cast<std::int32_t>(prompt_.ids.size())] = {prompt_.pictures.size(),
                                                                    &merged->second};
        }
      }
      std::int32_t id = first_id + within;
      if (row < first_row) {  // ids of such class tokens are known once all pictures are
        id = -1;
        class_tokens_.push_back(
            {prompt_.ids.size(), prompt_.pictures.size(), visual_token(shown, image, row)});
      }
      // The top bit keeps picture keys apart from token ids.
      const std::uint64_t place =
          pruned ? static_cast<std::uint64_t>(count + row) : static_cast<std::uint64_t>(t);
      push(static_cast<std::int32_t>(config_.image_token_id), TokenKind::visual, id,
           {image, static_cast<std::int32_t>(t)}, next_position_ + within,
           (shown.content * 0x9E3779B97F4A7C15ull + place) | (1ull << 63));
    }
    prompt_.layout.pictures.resize(
        std::max(prompt_.layout.pictures.size(), static_cast<std::size_t>(index) + 1));
    prompt_.layout.pictures[static_cast<std::size_t>(index)] = shown.size;
    prompt_.pictures.push_back({image, first_row, first_id, -1});
    prompt_.unpruned_visual += count;
    next_position_ += count;
    return {};
  }

  EncodedPrompt finish() {
    SequenceLayout& layout = prompt_.layout;
    // Without a picture there is nothing to prune, and all of it is text.
    if (layout.visual.empty()) {
      std::fill(layout.kinds.begin(), layout.kinds.end(), TokenKind::text);
    }
    for (const ClassToken& added : class_tokens_) {
      const auto id = static_cast<std::int32_t>(layout.visual.size());
      layout.visual_ids[added.position] = prompt_.pictures[added.picture].class_id = id;
      layout.visual.push_back(added.token);
    }
    for (const auto& [position, merged] : merged_) {
      const PictureIds& ids = prompt_.pictures[merged.picture];
      for (const std::int32_t row : *merged.rows) {
        layout.merged[position].push_back(ids.id_of(row));
      }
    }
    for (const std::uint64_t key : prompt_.keys) {  // FNV-1a over whole keys
      layout.fingerprint = (layout.fingerprint ^ key) * 0x100000001B3ull;
    }
    return std::move(prompt_);
  }

 private:
  void push(std::int32_t token_id, TokenKind kind, std::int32_t visual_id, FeatureRow feature,
            std::int32_t position, std::uint64_t key) {
    prompt_.ids.push_back(token_id);
    prompt_.layout.kinds.push_back(kind);
    prompt_.layout.visual_ids.push_back(visual_id);
    prompt_.features.push_back(feature);
    prompt_.original_positions.push_back(position);
    prompt_.keys.push_back(key);
  }

  /// The token of one row of the vision tower; the class token has no cell.
  VisualToken visual_token(const PromptPicture& shown, std::int32_t image, std::int32_t row) const {
    VisualToken token;
    token.image = image;
    if (row == 0) return token;
    const auto grid = static_cast<std::int32_t>(config_.vision.grid());
    const double cell_width = shown.rect.width / grid;
    const double cell_height = shown.rect.height / grid;
    token.row = (row - 1) / grid;
    token.col = (row - 1) % grid;
    token.x = static_cast<float>(shown.rect.x + cell_width * token.col);
    token.y = static_cast<float>(shown.rect.y + cell_height * token.row);
    token.width = static_cast<float>(cell_width);
    token.height = static_cast<float>(cell_height);
    return token;
  }

 private:
  const LlavaConfig& config_;
  std::span<const PromptPicture> pictures_;
  EncodedPrompt prompt_;
  std::int32_t next_position_ = 0;
  /// Class tokens that only pruning passes on.
  struct ClassToken {
    std::size_t position, picture;  // in the prompt, and among its pictures
    VisualToken token;
  };
  std::vector<ClassToken> class_tokens_;
  /// By prompt position: what a merged token is made of.
  struct Merged {
    std::size_t picture;  // among the prompt's pictures
    const std::vector<std::int32_t>* rows;
  };
  std::map<std::int32_t, Merged> merged_;
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
  std::int64_t picture = 0;
  for (std::size_t i = 0; i < ids.size();) {
    if (ids[i] != config.image_token_id) {
      builder.token(ids[i++]);
      continue;
    }
    const auto run = static_cast<std::size_t>(builder.tokens_of(picture));
    if (i + run > ids.size() ||
        std::any_of(ids.begin() + static_cast<std::ptrdiff_t>(i),
                    ids.begin() + static_cast<std::ptrdiff_t>(i + run),
                    [&](std::int32_t id) { return id != config.image_token_id; })) {
      return make_error(ErrorCode::usage,
                        "picture placeholders must come in runs of " + std::to_string(run))
          .at(i);
    }
    FOVEA_CHECK(builder.picture(picture++));
    i += run;
  }
  return builder.finish();
}

}  // namespace fovea
