// Pruning and merging inside a tower on a GPU: the tokens and states of the CPU's.

#include <gtest/gtest.h>

#include <memory>

#include "kernels/copy.h"
#include "pruning/methods/visionzip.h"
#include "support/devices.h"
#include "vision/adaptive_tower.h"
#include "vision/tome_merger.h"
#include "vision/tower_pruner.h"

namespace fovea {
namespace {

constexpr std::int64_t kSide = 28, kPictures = 3;

VitConfig config() {
  VitConfig config;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.layers = 6;
  config.heads = 4;
  config.image_size = kSide;
  config.patch_size = 4;
  return config;
}

/// A context with the tower of the test on its device.
struct Side {
  Context context;
  std::unique_ptr<VitEncoder> tower;

  explicit Side(DeviceKind device) : context(testing::test_context(device, 2)) {
    auto encoder = VitEncoder::random(context, config(), LinearDType::f32, 6, 11);
    EXPECT_TRUE(encoder) << encoder.error().to_string();
    if (encoder) tower = std::make_unique<VitEncoder>(std::move(*encoder));
  }
  std::vector<float> fetch(ConstTensorView there) {
    std::vector<float> here(static_cast<std::size_t>(there.shape.elements()));
    EXPECT_TRUE(
        copy(context, there,
             TensorView(reinterpret_cast<std::byte*>(here.data()), DType::f32, there.shape)));
    return here;
  }
};

class TowerOnTheGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = testing::why_missing(DeviceKind::cuda);
    if (!reason.empty()) GTEST_SKIP() << reason;
    here_ = std::make_unique<Side>(DeviceKind::cpu);
    there_ = std::make_unique<Side>(DeviceKind::cuda);
    ASSERT_TRUE(here_->tower && there_->tower);
    pixels_ = testing::Random(3).normals(kPictures * 3 * kSide * kSide);
  }
  ConstTensorView picture(std::int64_t index) const {
    return ConstTensorView(reinterpret_cast<const std::byte*>(pixels_.data()), DType::f32,
                           {kPictures, 3, kSide, kSide})
        .slice(index, 1);
  }
  void expect_close(const std::vector<float>& there, const std::vector<float>& here) const {
    ASSERT_EQ(there.size(), here.size());
    for (std::size_t i = 0; i < here.size(); ++i) ASSERT_NEAR(there[i], here[i], 2e-4) << i;
  }
  void compare(TowerPruner& pruner) {
    for (std::int64_t p = 0; p < kPictures; ++p) {
      ConstTensorView pixels = picture(p);
      pixels.shape = {3, kSide, kSide};
      pixels.row_stride = kSide * kSide;
      auto expected = pruner.run(here_->context, *here_->tower, pixels);
      ASSERT_TRUE(expected) << expected.error().to_string();
      auto found = pruner.run(there_->context, *there_->tower, pixels);
      ASSERT_TRUE(found) << found.error().to_string();
      EXPECT_EQ(found->rows, expected->rows) << pruner.name();
      EXPECT_EQ(found->merged, expected->merged);
      EXPECT_EQ(found->keeps_class_token, expected->keeps_class_token);
      ASSERT_EQ(found->stages.size(), expected->stages.size());
      for (std::size_t i = 0; i < expected->stages.size(); ++i) {
        EXPECT_EQ(found->stages[i].kept, expected->stages[i].kept);
        EXPECT_EQ(found->stages[i].sources, expected->stages[i].sources);
      }
      EXPECT_EQ(found->hidden.device(), there_->context.device);
      expect_close(there_->fetch(std::as_const(found->hidden).view()),
                   here_->fetch(std::as_const(expected->hidden).view()));
    }
  }
  /// A batch of all pictures; answers with states and rows.
  std::pair<VitRows, std::vector<float>> run(Side& side, const VitHooks& hooks) const {
    auto out = Tensor::allocate({kPictures * config().tokens(), config().hidden_size}, DType::f32,
                                side.context.device);
    EXPECT_TRUE(out);
    const ConstTensorView all(reinterpret_cast<const std::byte*>(pixels_.data()), DType::f32,
                              {kPictures, 3, kSide, kSide});
    auto rows = side.tower->forward_batch(side.context, all, out->view(), hooks);
    EXPECT_TRUE(rows) << rows.error().to_string();
    if (!rows) return {};
    return {*rows, side.fetch(out->view().slice(0, rows->count()))};
  }

  std::unique_ptr<Side> here_, there_;
  std::vector<float> pixels_;
};

TEST_F(TowerOnTheGpu, a_policy_keeps_and_merges_the_tokens_of_the_cpu) {
  for (const std::int64_t contextual : {0, 1, 7}) {
    auto policy = std::make_shared<VisionZip>(ScheduleRequest{.keep = {{20, false}}}, contextual);
    compare(*tower_pruner(policy));
  }
  auto everything = std::make_shared<VisionZip>(ScheduleRequest{.keep = {{49, false}}}, 0);
  compare(*tower_pruner(everything));
}

std::vector<VitPruneSettings> some_settings() {
  std::vector<VitPruneSettings> all;
  for (const VitKeepRule rule : {VitKeepRule::threshold, VitKeepRule::batch_average,
                                 VitKeepRule::top_k, VitKeepRule::random}) {
    for (const VitScoreState state :
         {VitScoreState::last, VitScoreState::accu, VitScoreState::ema}) {
      VitPruneSettings settings;
      settings.rule = rule;
      settings.state = state;
      // About one over the patches; the last cut leaves few, or none.
      settings.cuts = {{.block = 3, .threshold = .0195F, .keep_share = .7},
                       {.block = 4, .threshold = .03F, .keep_share = .4},
                       {.block = 5, .threshold = 9, .keep_share = 0}};
      all.push_back(settings);
    }
  }
  return all;
}

TEST_F(TowerOnTheGpu, adaptive_rules_keep_the_patches_of_the_cpu) {
  for (const VitPruneSettings& settings : some_settings()) {
    compare(*adaptive_tower_pruner(settings, "adaptive"));
    VitPruneReducer here(settings, config()), there(settings, config());
    VitHooks hooks;
    hooks.reducer = &here;
    const auto expected = run(*here_, hooks);
    hooks.reducer = &there;
    const auto found = run(*there_, hooks);
    EXPECT_EQ(found.first.offsets, expected.first.offsets);
    EXPECT_EQ(found.first.tokens, expected.first.tokens);
    expect_close(found.second, expected.second);
    for (std::size_t p = 0; p < kPictures; ++p) {
      EXPECT_EQ(there.records()[p].tokens_entering, here.records()[p].tokens_entering);
      ASSERT_EQ(there.records()[p].stages.size(), 3u);
      for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(there.records()[p].stages[i].kept, here.records()[p].stages[i].kept);
      }
    }
  }
}

TEST_F(TowerOnTheGpu, merging_makes_the_tokens_of_the_cpu) {
  for (const bool proportional : {true, false}) {
    ToMeSettings settings;
    settings.merges = {4, 0, 6, 3, 9, 2};
    settings.proportional = proportional;
    compare(*tome_tower_pruner(settings, "tome"));
    auto here = ToMeMerger::create(settings, *here_->tower);
    auto there = ToMeMerger::create(settings, *there_->tower);
    ASSERT_TRUE(here && there);
    VitHooks hooks;
    hooks.merger = &*here;
    const auto expected = run(*here_, hooks);
    hooks.merger = &*there;
    const auto found = run(*there_, hooks);
    EXPECT_EQ(found.first.offsets, expected.first.offsets);
    EXPECT_EQ(found.first.tokens, expected.first.tokens);
    expect_close(found.second, expected.second);
    for (std::int64_t p = 0; p < kPictures; ++p) {
      EXPECT_EQ(there->members(p), here->members(p));
      const auto index = static_cast<std::size_t>(p);
      EXPECT_EQ(there->records()[index].tokens_after_attention,
                here->records()[index].tokens_after_attention);
    }
  }
}

}  // namespace
}  // namespace fovea
