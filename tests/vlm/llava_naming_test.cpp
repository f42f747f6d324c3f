#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/weights/safetensors.h"
#include "support/temporary_folder.h"
#include "vlm/llava_config.h"

namespace fovea {
namespace {

using testing::TemporaryFolder;

/// A checkpoint that holds one number under each name.
std::string safetensors_of(const std::vector<std::string>& names) {
  std::string header = "{";
  for (std::size_t i = 0; i < names.size(); ++i) {
    header += (i == 0 ? "\"" : ", \"") + names[i] +
              R"(": {"dtype": "F32", "shape": [1], "data_offsets": [)" + std::to_string(4 * i) +
              ", " + std::to_string(4 * i + 4) + "]}";
  }
  header += "}";
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) {
    bytes += static_cast<char>((header.size() >> shift) & 0xFF);
  }
  return bytes + header + std::string(4 * names.size(), '\0');
}

Result<LlavaNaming> naming_of(const std::vector<std::string>& names) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", safetensors_of(names));
  const Result<WeightFiles> files = WeightFiles::open(folder.path().string());
  EXPECT_TRUE(files) << files.error().to_string();
  if (!files) return files.error();
  return detect_llava_naming(*files);
}

TEST(LlavaNaming, published_checkpoints) {
  const Result<LlavaNaming> naming =
      naming_of({"vision_tower.vision_model.embeddings.patch_embedding.weight",
                 "multi_modal_projector.linear_1.weight",
                 "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"});
  ASSERT_TRUE(naming) << naming.error().to_string();
  EXPECT_EQ(naming->vision, "vision_tower.vision_model.");
  EXPECT_EQ(naming->projector, "multi_modal_projector.");
  EXPECT_EQ(naming->decoder, "language_model.model.");
  EXPECT_EQ(naming->lm_head, "language_model.lm_head.weight");
  EXPECT_EQ(naming->name, "published");
}

TEST(LlavaNaming, what_transformers_5_saves) {
  const Result<LlavaNaming> naming = naming_of(
      {"vision_tower.embeddings.patch_embedding.weight", "multi_modal_projector.linear_1.weight",
       "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"});
  ASSERT_TRUE(naming) << naming.error().to_string();
  EXPECT_EQ(naming->vision, "vision_tower.");
  EXPECT_EQ(naming->decoder, "language_model.model.");
}

TEST(LlavaNaming, names_of_a_model_in_memory) {
  for (const std::string tower : {"model.vision_tower.", "model.vision_tower.vision_model."}) {
    const Result<LlavaNaming> naming = naming_of(
        {tower + "embeddings.patch_embedding.weight", "model.multi_modal_projector.linear_1.weight",
         "model.language_model.embed_tokens.weight", "lm_head.weight"});
    ASSERT_TRUE(naming) << naming.error().to_string();
    EXPECT_EQ(naming->vision, tower);
    EXPECT_EQ(naming->projector, "model.multi_modal_projector.");
    EXPECT_EQ(naming->decoder, "model.language_model.");
    EXPECT_EQ(naming->lm_head, "lm_head.weight");
  }
}

TEST(LlavaNaming, tied_checkpoints_need_no_lm_head) {
  const Result<LlavaNaming> naming = naming_of(
      {"vision_tower.vision_model.embeddings.patch_embedding.weight",
       "multi_modal_projector.linear_1.weight", "language_model.model.embed_tokens.weight"});
  ASSERT_TRUE(naming) << naming.error().to_string();
  EXPECT_EQ(naming->lm_head, "language_model.lm_head.weight");
}

TEST(LlavaNaming, the_original_layout_is_unsupported_with_the_remedy) {
  const Result<LlavaNaming> naming =
      naming_of({"model.embed_tokens.weight", "model.mm_projector.0.weight", "lm_head.weight"});
  ASSERT_FALSE(naming);
  EXPECT_EQ(naming.error().code, ErrorCode::unsupported);
  EXPECT_NE(naming.error().remedy.find("llava-hf"), std::string::npos);
}

TEST(LlavaNaming, anything_else_is_a_bad_model_with_the_keys_looked_for) {
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"model.embed_tokens.weight", "lm_head.weight"},
        {"vision_tower.embeddings.patch_embedding.weight",
         "language_model.model.embed_tokens.weight"},
        {"vision_tower.vision_model.embeddings.patch_embedding.weight",
         "multi_modal_projector.linear_1.weight", "model.language_model.embed_tokens.weight"}}) {
    const Result<LlavaNaming> naming = naming_of(names);
    ASSERT_FALSE(naming);
    EXPECT_EQ(naming.error().code, ErrorCode::bad_model);
    EXPECT_NE(naming.error().file.find("model.safetensors"), std::string::npos);
    for (const char* key :
         {"language_model.model.embed_tokens.weight", "multi_modal_projector.linear_1.weight",
          "vision_tower.vision_model.embeddings.patch_embedding.weight"}) {
      EXPECT_NE(naming.error().message.find(key), std::string::npos);
    }
  }
}

TEST(LlavaNaming, parts_there_under_two_names_are_refused) {
  const Result<LlavaNaming> naming = naming_of(
      {"vision_tower.vision_model.embeddings.patch_embedding.weight",
       "vision_tower.embeddings.patch_embedding.weight", "multi_modal_projector.linear_1.weight",
       "language_model.model.embed_tokens.weight"});
  ASSERT_FALSE(naming);
  EXPECT_EQ(naming.error().code, ErrorCode::bad_model);
}

}  // namespace
}  // namespace fovea
