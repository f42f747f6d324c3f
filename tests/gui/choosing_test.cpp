// Patches chosen by hand and debiased scores, and what a comparison puts beside them.

#include "gui/overlay_scene.h"
#include "gui_support.h"

namespace fovea::gui {
namespace {

class ChoosingTest : public ViewerTest {
 protected:
  std::vector<std::int32_t> paint_rows(int first, int last) {
    const Run::Grid grid = viewer_->view().run()->grid(0);
    std::vector<int> ids;
    for (int row = first; row <= last; ++row) {
      for (int col = 0; col < grid.cols; ++col) {
        ids.push_back(grid.ids[static_cast<std::size_t>(row * grid.cols + col)]);
      }
    }
    viewer_->view().paint(ids, true);
    return {ids.begin(), ids.end()};
  }
};

TEST_F(ChoosingTest, painted_patches_are_all_that_the_model_sees) {
  open();
  ask(short_sample().question);
  const auto painted = paint_rows(12, 23);
  viewer_->ask_with_painted();
  ASSERT_TRUE(wait_idle());
  const RunPtr run = viewer_->view().run();
  EXPECT_EQ(run->prune.keep, painted);
  EXPECT_EQ(run->question, short_sample().question);
  ASSERT_EQ(run->answer.pruning.stages.size(), 1U);
  EXPECT_EQ(run->answer.pruning.stages[0].kept, painted);
  EXPECT_EQ(run->answer.budget.entering.front(), static_cast<std::int64_t>(painted.size()));
  EXPECT_TRUE(notices_.empty());
}

TEST_F(ChoosingTest, painting_everything_changes_nothing) {
  open();
  const RunPtr whole = ask(short_sample().question);
  paint_rows(0, 23);
  viewer_->ask_with_painted();
  ASSERT_TRUE(wait_idle());
  const RunPtr run = viewer_->view().run();
  EXPECT_NE(run, whole);
  EXPECT_TRUE(run->answer.pruning.stages.empty());
  EXPECT_EQ(run->answer.token_ids, whole->answer.token_ids);
}

TEST_F(ChoosingTest, a_painted_run_stands_beside_the_unpruned_one) {
  open();
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100});
  ask(short_sample().question);
  viewer_->set_comparing(true);
  ASSERT_TRUE(wait_idle());
  paint_rows(0, 11);
  viewer_->ask_with_painted();
  ASSERT_TRUE(wait_idle());
  ASSERT_TRUE(viewer_->view().reference());
  EXPECT_FALSE(viewer_->view().reference()->prune.prunes());
  EXPECT_EQ(viewer_->view().run()->prune.keep.size(), 12U * 24U);
  EXPECT_EQ(viewer_->history().rowCount(), 3) << "the unpruned answer was there already";
}

TEST_F(ChoosingTest, a_comparison_asks_for_the_unpruned_half_of_a_painted_run) {
  open();
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100});
  ask(short_sample().question);
  paint_rows(0, 11);
  viewer_->set_prune({});
  viewer_->ask_with_painted();
  ASSERT_TRUE(wait_idle());
  EXPECT_EQ(viewer_->view().reference(), nullptr);
  viewer_->set_comparing(true);
  ASSERT_TRUE(wait_idle());
  ASSERT_TRUE(viewer_->view().reference());
  EXPECT_FALSE(viewer_->view().reference()->prune.prunes());
  EXPECT_FALSE(viewer_->view().run()->prune.keep.empty());
}

TEST_F(ChoosingTest, nothing_painted_is_said_and_asks_nothing) {
  open();
  ask(short_sample().question);
  viewer_->ask_with_painted();
  EXPECT_FALSE(viewer_->busy());
  ASSERT_EQ(notices_.size(), 1U);
}

TEST_F(ChoosingTest, what_was_painted_goes_with_its_picture) {
  open();
  ask(short_sample().question);
  paint_rows(3, 4);
  viewer_->view().set_painting(true);
  ask(other_sample().question);
  EXPECT_EQ(viewer_->view().painted().size(), 2U * 24U) << "the same picture";
  viewer_->pictures().next();
  ASSERT_TRUE(wait([this] { return viewer_->pictures().current() != nullptr; }));
  EXPECT_TRUE(viewer_->view().painted().empty());
  EXPECT_FALSE(viewer_->view().painting()) << "there is no answer to paint on";
}

TEST_F(ChoosingTest, while_painting_the_scene_counts_what_was_chosen) {
  open();
  const RunPtr run = ask(short_sample().question);
  paint_rows(5, 5);
  viewer_->view().set_painting(true);
  const OverlayScene scene = compose_painting(*run, 0, viewer_->view());
  EXPECT_TRUE(scene.heat.isNull());
  EXPECT_TRUE(scene.caption.contains("24 of 576")) << scene.caption.toStdString();
}

TEST_F(ChoosingTest, debiased_and_not_stand_side_by_side) {
  open();
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100, .debias = 3.0});
  viewer_->set_against(Viewer::Against::biased);
  viewer_->set_comparing(true);
  const RunPtr run = ask(short_sample().question);
  const RunPtr reference = viewer_->view().reference();
  ASSERT_TRUE(run && reference);
  EXPECT_EQ(run->prune.debias, 3.0);
  EXPECT_EQ(reference->prune, run->prune.without_debias());
  const auto& after = run->answer.pruning.stages.at(0).kept;
  const auto& before = reference->answer.pruning.stages.at(0).kept;
  EXPECT_EQ(after.size(), before.size());
  const auto mean = [](const std::vector<std::int32_t>& ids) {
    double sum = 0;
    for (const std::int32_t id : ids) sum += id;
    return sum / static_cast<double>(ids.size());
  };
  EXPECT_LT(mean(after), mean(before)) << "weights that fall with the index favour the front";
  // Against the unpruned answer, that one is asked for and shown instead.
  viewer_->set_against(Viewer::Against::unpruned);
  ASSERT_TRUE(wait_idle());
  ASSERT_TRUE(viewer_->view().reference());
  EXPECT_FALSE(viewer_->view().reference()->prune.prunes());
  EXPECT_EQ(viewer_->view().run()->prune.debias, 3.0);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(ChoosingTest, debiasing_is_remembered) {
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 64, .debias = 0.5,
                      .ignore_padding = true});
  viewer_->set_against(Viewer::Against::biased);
  const Viewer again(settings_);
  EXPECT_EQ(again.prune(), viewer_->prune());
  EXPECT_EQ(again.against(), Viewer::Against::biased);
}

TEST(PruneChoice, a_method_that_ranks_by_no_score_takes_no_debiasing) {
  EXPECT_TRUE(takes_debias("fastv"));
  EXPECT_FALSE(takes_debias("divprune"));
  EXPECT_FALSE(takes_debias(""));
}

TEST(PruneChoice, debiasing_and_own_choices_are_in_the_label) {
  PruneChoice choice{.method = "fastv", .preset = "", .budget = 64, .debias = 1.2,
                     .ignore_padding = true};
  EXPECT_EQ(choice.label(), "fastv:budget=64:debias=1.2:debias-padding=0.5");
  EXPECT_EQ(choice.without_debias().label(), "fastv:budget=64");
  choice.keep = {1, 5};
  EXPECT_EQ(choice.label(), "2 patches chosen by hand");
  EXPECT_FALSE(choice.debiased());
}

}  // namespace
}  // namespace fovea::gui
