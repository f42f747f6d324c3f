// Profiles of a prefill's attention, against whole maps in double.

#include "vlm/attention_profiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "support/random_prompt.h"
#include "support/tensors.h"

namespace fovea {
namespace {

using testing::close_to;
using testing::LoadedModel;
using testing::random_prompt;
using testing::RandomPrompt;

using Profile = std::vector<std::vector<double>>;  // [layer][visual token]

/// text: mean over heads, then the sum over text rows. visual: the largest head of each entry, then
/// the mean over visual rows.
std::pair<Profile, Profile> dense_profiles(const testing::ReferenceDecoder& reference,
                                           const SequenceLayout& layout,
                                           testing::ReferenceDecoder::Rows hidden) {
  std::vector<int> positions(hidden.size());
  std::iota(positions.begin(), positions.end(), 0);
  const auto all = [](std::size_t, std::size_t) { return true; };
  std::pair<Profile, Profile> profiles;
  for (int layer = 0; layer < static_cast<int>(reference.config().layers); ++layer) {
    const auto maps = reference.attention_maps(layer, hidden, positions, all);
    auto& text = profiles.first.emplace_back(layout.visual.size(), 0.0);
    auto& visual = profiles.second.emplace_back(layout.visual.size(), 0.0);
    for (std::size_t row = 0; row < layout.kinds.size(); ++row) {
      for (std::size_t key = 0; key <= row; ++key) {
        const std::int32_t id = layout.visual_ids[key];
        if (id < 0) continue;
        double sum = 0, most = 0;
        for (const auto& map : maps) {
          sum += map[row][key];
          most = std::max(most, static_cast<double>(map[row][key]));
        }
        if (layout.kinds[row] == TokenKind::text) {
          text[static_cast<std::size_t>(id)] += sum / static_cast<double>(maps.size());
        } else if (layout.kinds[row] == TokenKind::visual) {
          visual[static_cast<std::size_t>(id)] += most / static_cast<double>(layout.visual_count());
        }
      }
    }
    reference.attend(layer, hidden, positions, all);
    reference.add_mlp(layer, hidden);
  }
  return profiles;
}

TEST(AttentionProfiles, equal_those_of_whole_maps_at_every_layer) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  const LlavaModel& model = *loaded->model;
  for (const int pictures : {1, 2}) {
    const RandomPrompt prompt = random_prompt(model, 4, pictures, 6);
    AttentionProfiles profiles(prompt.encoded.layout,
                               {{}, {RowSet::visual, Reduction::mean, Reduction::max}});
    Context context;
    DecoderState state = model.decoder().new_state();
    std::vector<float> logits(static_cast<std::size_t>(model.config().decoder.vocab_size));
    PrefillInput input;
    input.embeddings = prompt.embeddings.view();
    input.layout = &prompt.encoded.layout;
    input.observer = &profiles;
    ASSERT_TRUE(model.decoder().prefill(context, input, state, testing::row_view(logits), nullptr,
                                        nullptr));
    // A decode step adds nothing.
    ASSERT_TRUE(
        model.decoder().decode(context, 7, state, testing::row_view(logits), nullptr, &profiles));
    const auto [text, visual] = dense_profiles(*loaded->reference, prompt.encoded.layout,
                                               testing::rows_of(prompt.embeddings));
    ASSERT_EQ(profiles.profile(0).size(), text.size());
    for (std::size_t layer = 0; layer < text.size(); ++layer) {
      EXPECT_TRUE(close_to(profiles.profile(0)[layer], text[layer], 2e-5)) << layer;
      EXPECT_TRUE(close_to(profiles.profile(1)[layer], visual[layer], 2e-5)) << layer;
    }
  }
}

}  // namespace
}  // namespace fovea
