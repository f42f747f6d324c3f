#include "app/vit_prune_options.h"

#include <gtest/gtest.h>

#include "app/command.h"

namespace fovea::app {
namespace {

using testing::source_path;
using testing::TemporaryFolder;

Result<VitPruneOptions> read(std::vector<std::string> written,
                             std::map<std::string, std::string> shared = {}) {
  VitPruneOptions options;
  options.written = std::move(written);
  options.shared = std::move(shared);
  FOVEA_CHECK(read_vit_prune_settings(options));
  return options;
}

TEST(VitPruneOptions, a_setting_says_everything_in_one_word) {
  const auto options = read({"none", "adaptive:blocks=1+2:thresholds=.5,1e-3:score=ema",
                             "adaptive-batch", "topk:keep=.5", "random:keep=.25:seed=7"});
  ASSERT_TRUE(options) << options.error().to_string();
  ASSERT_EQ(options->settings.size(), 5U);
  EXPECT_FALSE(options->settings[0].prunes);
  const VitPruneSetting& adaptive = options->settings[1];
  EXPECT_EQ(adaptive.rule, VitKeepRule::threshold);
  EXPECT_EQ(adaptive.blocks, (std::vector<int>{1, 2}));
  EXPECT_EQ(adaptive.thresholds, (std::vector<double>{.5, .001}));
  EXPECT_EQ(adaptive.state, VitScoreState::ema);
  EXPECT_EQ(options->settings[2].rule, VitKeepRule::batch_average);
  EXPECT_EQ(options->settings[3].keep, std::vector<double>{.5});
  EXPECT_EQ(options->settings[4].seed, 7U);
}

TEST(VitPruneOptions, what_is_said_for_all_settings_applies_where_one_does_not_say) {
  const auto options = read({"adaptive", "adaptive:thresholds=.1", "topk"},
                            {{"thresholds", "t.json"}, {"keep", ".5"}});
  ASSERT_TRUE(options) << options.error().to_string();
  EXPECT_EQ(options->settings[0].thresholds_file, "t.json");
  EXPECT_EQ(options->settings[1].thresholds_file, "");
  EXPECT_EQ(options->settings[1].thresholds, std::vector<double>{.1});
  EXPECT_EQ(options->settings[2].keep, std::vector<double>{.5});
}

TEST(VitPruneOptions, nonsense_is_a_usage_error_that_says_what_there_is) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"wat", "adaptive-batch"},          {"none:keep=1", "none"},
      {"adaptive:keep=.5", "thresholds"}, {"topk", "keep=0.7"},
      {"topk:keep=2", "shares"},          {"adaptive:blocks=-1", "blocks"},
      {"adaptive:score=mean", "ema"},     {"adaptive:thresholds=", "thresholds"},
      {"topk:keep=.5:keep=.6", "once"},   {"random:keep=.5:seed=x", "whole number"},
  };
  for (const auto& [written, says] : cases) {
    const auto options = read({written});
    ASSERT_FALSE(options) << written;
    EXPECT_EQ(options.error().code, ErrorCode::usage) << written;
    EXPECT_NE(options.error().to_string().find(says), std::string::npos)
        << options.error().to_string();
  }
  EXPECT_EQ(read({"none"}, {{"keep", ".5"}}).error().field, "--vit-prune-keep");
  EXPECT_EQ(read({"adaptive"}, {{"seed", "1"}}).error().field, "--vit-prune-seed");
}

TEST(VitPruneOptions, how_many_are_left_is_said_in_one_way) {
  const auto read_all = read({"tome:merge=8+4:proportional=off", "tome:merge=8:inflect=-1", "topk"},
                             {{"flops", ".7"}});
  ASSERT_TRUE(read_all) << read_all.error().to_string();
  EXPECT_EQ(read_all->settings[0].tome.merges, (std::vector<std::int64_t>{8, 4}));
  EXPECT_FALSE(read_all->settings[0].tome.proportional);
  EXPECT_FALSE(read_all->settings[0].flops);
  EXPECT_EQ(read_all->settings[1].tome.inflect, -1);
  EXPECT_EQ(read_all->settings[2].flops, .7);
  for (const char* wrong :
       {"tome", "tome:keep=.5:flops=.5", "tome:keep=.5+.4", "topk:merge=3", "tome:merge=-1",
        "tome:inflect=.5:keep=.5", "tome:merge=1:inflect=3", "topk:flops=0", "topk:flops=1.1",
        "adaptive:flops=.5", "tome:merge=4:proportional=maybe", "topk:keep=.5:flops=.6"}) {
    const auto refused = read({wrong});
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().code, ErrorCode::usage) << wrong;
  }
}

class VitPruneSetupTest : public ::testing::Test {
 protected:
  VitPruneSetupTest() {
    auto model = VitClassifier::load(source_path("tests/golden/classifier/vit"), {});
    EXPECT_TRUE(model) << (model ? "" : model.error().to_string());
    if (model) model_ = *model;
  }
  Result<VitPruneSetup> setup(const std::string& written) {
    FOVEA_TRY(const VitPruneOptions options, read({written}));
    return make_vit_prune_setup(options.settings.front(), *model_);
  }
  std::shared_ptr<const VitClassifier> model_;
};

TEST_F(VitPruneSetupTest, cuts_must_fit_the_model) {
  const auto made = setup("adaptive:thresholds=.1,.2");
  ASSERT_TRUE(made) << made.error().to_string();
  ASSERT_TRUE(made->settings);
  EXPECT_EQ(made->settings->cuts[0].block, 3);
  EXPECT_EQ(made->settings->cuts[1].block, 4);
  EXPECT_EQ(made->settings->cuts[1].threshold, .2F);
  EXPECT_EQ(made->thresholds_from, "command line");
  for (const char* written :
       {"adaptive:thresholds=.1", "adaptive:thresholds=.1:blocks=5",
        "adaptive:thresholds=.1:blocks=2", "adaptive:thresholds=.1,.1:blocks=4,3", "topk:keep=.5",
        "topk:keep=.5,.6", "topk:keep=.5:blocks=3,4"}) {
    const auto refused = setup(written);
    ASSERT_FALSE(refused) << written;
    EXPECT_EQ(refused.error().code, ErrorCode::usage) << written;
    EXPECT_EQ(refused.error().field, "--vit-prune") << written;
  }
  EXPECT_FALSE(setup("none")->settings);
}

TEST_F(VitPruneSetupTest, a_checkpoint_without_thresholds_needs_some) {
  const auto made = setup("adaptive");
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().remedy.find("calibrate vit"), std::string::npos);
}

TEST_F(VitPruneSetupTest, a_file_of_thresholds_is_read) {
  const TemporaryFolder folder;
  const std::string file = folder.write(
      "t.json", R"({"blocks": [4], "thresholds": [0.5], "score": "accu", "patches": 32})");
  const auto made = setup("adaptive:thresholds=" + file);
  ASSERT_TRUE(made) << made.error().to_string();
  EXPECT_EQ(made->settings->cuts[0].block, 4);
  EXPECT_EQ(made->settings->cuts[0].threshold, 1.0F);  // found at 32 patches, run at 16
  EXPECT_EQ(made->settings->state, VitScoreState::accu);
  EXPECT_EQ(made->thresholds_from, file);
  EXPECT_EQ(setup("adaptive:thresholds=" + file + ":score=last")->settings->state,
            VitScoreState::last);
  EXPECT_EQ(setup("adaptive:thresholds=" + (folder / "none.json")).error().code,
            ErrorCode::not_found);
  folder.write("bad.json", "{");
  EXPECT_EQ(setup("adaptive:thresholds=" + (folder / "bad.json")).error().code,
            ErrorCode::bad_input);
}

}  // namespace
}  // namespace fovea::app
