// Pruning in the vision tower of a LLaVA model: the prompt, its positions, the record, maps and the
// decoder's own pruning go on working.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "pruning/methods/adaptinfer.h"
#include "pruning/methods/divprune.h"
#include "pruning/methods/visionzip.h"
#include "support/model_device.h"
#include "support/reference_decoder.h"
#include "support/tensors.h"
#include "vlm/attention_map.h"
#include "vlm/picture_features.h"
#include "vlm/session.h"

namespace fovea {
namespace {

using Ids = std::vector<std::int32_t>;

const std::string kFolder = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/llava/gqa-saved-f32";

std::shared_ptr<const LlavaModel> model() {
  static const auto loaded = [] {
    auto result = LlavaModel::load(
        kFolder, {.threads = 2, .device = testing::model_device(), .dtype = DTypeChoice::f32});
    EXPECT_TRUE(result) << result.error().to_string();
    return *result;
  }();
  return loaded;
}

std::shared_ptr<const Image> picture(std::uint8_t tone) {
  Image image = Image::filled(90, 70, tone, 120, 40);
  for (int i = 0; i < 70; ++i) image.pixel(i, i)[2] = static_cast<std::uint8_t>(3 * i);
  for (int i = 0; i < 40; ++i) image.pixel(80 - i, i)[0] = static_cast<std::uint8_t>(tone + 5 * i);
  return std::make_shared<const Image>(std::move(image));
}

std::shared_ptr<Policy> visionzip(double keep, std::int64_t contextual) {
  return std::make_shared<VisionZip>(ScheduleRequest{.keep = {{keep, false}}}, contextual);
}

std::shared_ptr<Policy> adaptinfer() {
  return std::make_shared<AdaptInfer>(
      ScheduleRequest{.layers = {0, 1}, .keep = {{5, false}, {2, false}}},
      TextWeighting::text_prior);
}

std::unique_ptr<Session> session(SessionOptions options) {
  options.threads = 2;
  options.chat_template = "llava-1.5";
  auto created = Session::create(model(), std::move(options));
  EXPECT_TRUE(created) << created.error().to_string();
  return std::move(*created);
}

Question question(std::vector<std::shared_ptr<const Image>> images, const char* text = "what") {
  Question q;
  q.text = text;
  q.images = std::move(images);
  q.sampling.max_new_tokens = 4;
  q.keep_logits = q.trace = true;
  return q;
}

Answer ask(Session& s, const Question& q) {
  auto answer = s.ask(q);
  EXPECT_TRUE(answer) << answer.error().to_string();
  return answer ? std::move(*answer) : Answer{};
}

std::int64_t placeholders(const Answer& answer) {
  return std::count(answer.prompt_token_ids.begin(), answer.prompt_token_ids.end(),
                    model()->config().image_token_id);
}

void expect_same_answers(const Answer& a, const Answer& b) {
  EXPECT_EQ(a.token_ids, b.token_ids);
  ASSERT_EQ(a.logits.size(), b.logits.size());
  for (std::size_t i = 0; i < a.logits.size(); ++i) EXPECT_NEAR(a.logits[i], b.logits[i], 1e-4);
}

TEST(TowerPruning, a_prompt_holds_only_the_survivors_and_says_whose_they_are) {
  const auto patches = static_cast<std::int32_t>(model()->config().vision.patches());
  auto s = session({.policy = visionzip(8, 3)});
  const Answer answer = ask(*s, question({picture(10)}));
  EXPECT_EQ(placeholders(answer), 8);
  EXPECT_EQ(answer.pruning.initial, patches);
  EXPECT_EQ(answer.pruning.positions, PositionMode::compact);
  ASSERT_EQ(answer.pruning.stages.size(), 1u);
  const StageRecord& stage = answer.pruning.stages[0];
  EXPECT_EQ(stage.when, Hook::vit_block);
  EXPECT_EQ(stage.layer, model()->config().vision_run_layers - 1);
  EXPECT_EQ(stage.tokens(), 8);
  EXPECT_GE(stage.kept.size(), 5u);
  EXPECT_TRUE(std::is_sorted(stage.kept.begin(), stage.kept.end()));
  EXPECT_EQ(stage.kept.back(), patches) << "the class token's id";
  Ids all = stage.kept;
  for (const Ids& merged : stage.sources) all.insert(all.end(), merged.begin(), merged.end());
  std::sort(all.begin(), all.end());
  Ids every(static_cast<std::size_t>(patches) + 1);
  std::iota(every.begin(), every.end(), 0);
  EXPECT_EQ(all, every) << "every token is kept or merged";
  EXPECT_EQ(answer.budget.equivalent, 8);
  EXPECT_EQ(answer.budget.entering_mean, 8);
  EXPECT_LT(answer.budget.kv_bytes, answer.budget.kv_bytes_unpruned);
}

TEST(TowerPruning, as_the_method_or_beside_another_one_it_is_the_same) {
  auto alone = session({.policy = visionzip(8, 3)});
  auto beside = session({.tower = tower_pruner(visionzip(8, 3))});
  const Answer a = ask(*alone, question({picture(10)}));
  const Answer b = ask(*beside, question({picture(10)}));
  EXPECT_EQ(a.logits, b.logits);
  EXPECT_EQ(a.pruning.stages[0].kept, b.pruning.stages[0].kept);
  EXPECT_EQ(b.pruning.positions, PositionMode::compact);
}

TEST(TowerPruning, keep_all_is_bit_identical_to_a_run_without) {
  auto plain = session({});
  const double all = static_cast<double>(model()->config().vision.patches());
  auto pruned = session({.policy = visionzip(all, 0)});
  const Answer a = ask(*plain, question({picture(10), picture(60)}));
  const Answer b = ask(*pruned, question({picture(10), picture(60)}));
  EXPECT_EQ(a.logits, b.logits);
  EXPECT_EQ(a.prompt_token_ids, b.prompt_token_ids);
  EXPECT_TRUE(b.pruning.stages.empty());
}

TEST(TowerPruning, the_decoder_prunes_on_among_the_survivors) {
  auto s = session({.policy = adaptinfer(), .tower = tower_pruner(visionzip(8, 3))});
  const Answer answer = ask(*s, question({picture(10)}));
  ASSERT_EQ(answer.pruning.stages.size(), 3u);
  const auto& stages = answer.pruning.stages;
  EXPECT_EQ(stages[0].when, Hook::vit_block);
  EXPECT_EQ(stages[1].when, Hook::after_layer);
  EXPECT_EQ(stages[1].tokens(), 5);
  EXPECT_EQ(stages[2].tokens(), 2);
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_TRUE(std::is_sorted(stages[i].kept.begin(), stages[i].kept.end()));
    EXPECT_TRUE(std::includes(stages[i - 1].kept.begin(), stages[i - 1].kept.end(),
                              stages[i].kept.begin(), stages[i].kept.end()));
    for (const Ids& merged : stages[i].sources) {
      EXPECT_EQ(std::count(stages[0].sources.begin(), stages[0].sources.end(), merged), 1)
          << "what the tower merged stays listed by its sources";
    }
  }
  EXPECT_EQ(answer.budget.entering[0], 8);
  EXPECT_EQ(answer.budget.entering[1], 5);
}

TEST(TowerPruning, several_pictures_are_pruned_each_and_recorded_together) {
  const auto patches = static_cast<std::int32_t>(model()->config().vision.patches());
  auto s = session({.policy = visionzip(6, 2)});
  const Answer answer = ask(*s, question({picture(10), picture(90)}));
  EXPECT_EQ(placeholders(answer), 12);
  EXPECT_EQ(answer.pruning.initial, 2 * patches);
  ASSERT_EQ(answer.pruning.stages.size(), 1u);
  const StageRecord& stage = answer.pruning.stages[0];
  EXPECT_EQ(stage.tokens(), 12);
  const Ids class_tokens(stage.kept.end() - 2, stage.kept.end());
  EXPECT_EQ(class_tokens, (Ids{2 * patches, 2 * patches + 1}));
  EXPECT_EQ(std::count_if(stage.kept.begin(), stage.kept.end(),
                          [&](std::int32_t id) { return id < patches; }) +
                std::count_if(stage.sources.begin(), stage.sources.end(),
                              [&](const Ids& merged) { return merged.back() < patches; }),
            5)
      << "of the first picture, beside its class token";
}

TEST(TowerPruning, an_answer_equals_a_reference_decoder_on_the_survivors_in_both_modes) {
  auto files = WeightFiles::open(kFolder);
  ASSERT_TRUE(files) << files.error().to_string();
  auto naming = detect_llava_naming(*files);
  ASSERT_TRUE(naming);
  const LlavaConfig& config = model()->config();
  const testing::ReferenceDecoder reference(config.decoder, *files, *naming);
  const std::vector<std::shared_ptr<const Image>> images{picture(30)};
  const auto pruner = tower_pruner(visionzip(7, 2));
  Context context = testing::model_context();
  PictureFeatureCache cache(1);
  auto found = cache.get(context, *model(), *images[0], AspectMode::crop, pruner);
  ASSERT_TRUE(found) << found.error().to_string();
  const PictureFeatures& features = *found->features;
  std::vector<float> states;
  ASSERT_TRUE(testing::filled_there(context, features.tokens.shape(), states, [&](TensorView there) {
    return copy(context, features.tokens.view(), there);
  }));
  for (const PositionMode mode : {PositionMode::compact, PositionMode::original}) {
    auto s = session({.positions = mode, .tower = pruner, .aspect = AspectMode::crop});
    const Answer answer = ask(*s, question(images));
    EXPECT_EQ(answer.pruning.positions, mode);
    // The prompt by hand: text, the survivors, text.
    const auto width = static_cast<std::size_t>(config.decoder.hidden_size);
    std::vector<int> rows, positions;
    testing::ReferenceDecoder::Rows embeddings;
    int next = 0;
    std::size_t survivor = 0;
    for (const std::int32_t id : answer.prompt_token_ids) {
      std::vector<float> embedding(width);
      if (id != config.image_token_id) {
        ASSERT_TRUE(testing::row_there(context, embedding, [&](TensorView there) {
          return model()->decoder().embed(context, {&id, 1}, there);
        }));
        positions.push_back(next++);
      } else {
        std::copy_n(states.begin() + static_cast<std::ptrdiff_t>(survivor * width), width,
                    embedding.begin());
        if (mode == PositionMode::original) {
          positions.push_back(next + std::max((*features.tower_rows)[survivor] - 1, 0));
        } else {
          positions.push_back(next + static_cast<int>(survivor));
        }
        if (++survivor == features.tower_rows->size()) {
          next += static_cast<int>(mode == PositionMode::original ? config.vision.patches() : 7);
        }
      }
      rows.push_back(static_cast<int>(rows.size()));
      embeddings.emplace_back(embedding.begin(), embedding.end());
    }
    ASSERT_EQ(survivor, 7u);
    const std::vector<testing::ReferenceDecoder::LayerRows> layers(
        static_cast<std::size_t>(config.decoder.layers), {rows, positions});
    const std::vector<double> expected = reference.last_logits(embeddings, layers);
    const std::span<const float> actual(answer.logits.data(), expected.size());
    EXPECT_TRUE(testing::close_to(actual, expected, 2e-5));
  }
}

TEST(TowerPruning, maps_have_the_whole_grid_with_the_survivors_in_their_cells) {
  auto s = session({.policy = visionzip(8, 3)});
  const Answer answer = ask(*s, question({picture(10)}));
  ASSERT_NE(answer.trace, nullptr);
  Context context;
  auto volumes = collect_attention(context, *answer.trace, {0}, {0});
  ASSERT_TRUE(volumes) << volumes.error().to_string();
  ASSERT_EQ(volumes->size(), 1u);
  const AttentionVolume& volume = (*volumes)[0];
  EXPECT_EQ(volume.cells(), model()->config().vision.patches());
  const StageRecord& stage = answer.pruning.stages[0];
  std::int64_t seen = 0;
  for (std::int32_t cell = 0; cell < volume.cells(); ++cell) {
    const bool here = !std::isnan(volume.values[static_cast<std::size_t>(cell)]);
    seen += here ? 1 : 0;
    if (std::binary_search(stage.kept.begin(), stage.kept.end(), cell)) {
      EXPECT_TRUE(here) << cell;
    }
  }
  EXPECT_EQ(seen, 7) << "all but the class token, merged ones in the cell of their target";
}

TEST(TowerPruning, asking_again_resumes_and_other_pruning_of_the_tower_does_not) {
  const auto image = picture(10);
  auto warm = session({.policy = visionzip(8, 3)});
  ask(*warm, question({image}));
  const Answer resumed = ask(*warm, question({image}, "where"));
  EXPECT_GT(resumed.prefix_reused, 8);
  EXPECT_EQ(resumed.timings.vision, 0.0);
  auto cold = session({.policy = visionzip(8, 3)});
  expect_same_answers(resumed, ask(*cold, question({image}, "where")));

  warm->prune_with(visionzip(5, 1));
  const Answer other = ask(*warm, question({image}, "where"));
  EXPECT_EQ(other.prefix_reused, 0);
  EXPECT_EQ(placeholders(other), 5);
  warm->prune_with(nullptr);
  const Answer whole = ask(*warm, question({image}, "where"));
  auto plain = session({});
  expect_same_answers(whole, ask(*plain, question({image}, "where")));
}

TEST(TowerPruning, positions_asked_for_later_are_not_those_of_the_kept_prefix) {
  const auto image = picture(10);
  const auto policy = visionzip(8, 3);
  auto warm = session({.policy = policy});
  ask(*warm, question({image}));
  warm->prune_with(policy, PositionMode::original);
  const Answer later = ask(*warm, question({image}));
  auto cold = session({.policy = policy, .positions = PositionMode::original});
  expect_same_answers(later, ask(*cold, question({image})));
}

TEST(TowerPruning, two_methods_for_the_tower_are_refused) {
  auto s = session({.policy = visionzip(8, 3), .tower = tower_pruner(visionzip(5, 1))});
  const auto answer = s->ask(question({picture(10)}));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::usage);
}

/// Lets the class token go on alone inside the tower.
class NoPatchSurvives final : public TowerPruner {
 public:
  std::string name() const override { return "none survives"; }
  Result<TowerTokens> run(Context& context, const VitEncoder& tower,
                          ConstTensorView pixels) override {
    const VitConfig& vit = tower.config();
    FOVEA_TRY(Tensor states, Tensor::allocate(Shape{vit.tokens(), vit.hidden_size}, DType::f32,
                                              context.device));
    FOVEA_CHECK(tower.forward(context, pixels, states.view()));
    TowerTokens left;
    left.rows = {0};
    FOVEA_TRY(left.hidden,
              Tensor::allocate(Shape{1, vit.hidden_size}, DType::f32, context.device));
    FOVEA_CHECK(convert(context, states.view().slice(0, 1), left.hidden.view()));
    left.stages.push_back({.when = Hook::vit_block, .layer = 1, .kept = {0}});
    return left;
  }
};

TEST(TowerPruning, a_picture_of_which_nothing_survives_has_no_tokens_and_is_answered) {
  auto s = session({.policy = adaptinfer(), .tower = std::make_shared<NoPatchSurvives>()});
  const Answer answer = ask(*s, question({picture(10)}));
  EXPECT_EQ(placeholders(answer), 0);
  EXPECT_FALSE(answer.token_ids.empty());
  ASSERT_EQ(answer.pruning.stages.size(), 1u);
  EXPECT_EQ(answer.pruning.stages[0].tokens(), 0) << "the class token stays in the tower";
  EXPECT_EQ(answer.budget.entering_mean, 0);
}

TEST(TowerPruning, a_question_without_picture_is_not_touched) {
  auto s = session({.policy = visionzip(8, 3)});
  auto plain = session({});
  EXPECT_EQ(ask(*s, question({})).logits, ask(*plain, question({})).logits);
}

TEST(DivPruneInAModel, positions_run_on_without_gaps_from_the_first_layer) {
  auto s = session({.policy = std::make_shared<DivPrune>(ScheduleRequest{.keep = {{6, false}}})});
  const Answer answer = ask(*s, question({picture(10)}));
  ASSERT_EQ(answer.pruning.stages.size(), 1u);
  EXPECT_EQ(answer.pruning.stages[0].when, Hook::embeddings);
  EXPECT_EQ(answer.pruning.stages[0].kept.size(), 6u);
  EXPECT_EQ(answer.pruning.positions, PositionMode::compact);
  EXPECT_EQ(answer.budget.entering_mean, 6);
}

}  // namespace
}  // namespace fovea
