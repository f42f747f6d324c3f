// A small model that answers first (sgl), and pruning inside the vision tower.

#include "gui/overlay_scene.h"
#include "gui_support.h"

namespace fovea::gui {
namespace {

class GuidedTest : public ViewerTest {
 protected:
  static PruneChoice sgl() {
    PruneChoice choice;
    choice.method = "sgl";
    return choice;
  }
  static PruneChoice in_tower(PruneChoice::Tower tower, double share) {
    PruneChoice choice;
    choice.tower = tower;
    choice.tower_share = share;
    return choice;
  }
  void open_guide_as_model(const QString& guide) {
    viewer_->load_model({.folder = asset("models/fovea-guide"), .guide = guide});
    ASSERT_TRUE(wait_idle());
    ASSERT_EQ(viewer_->inference().model()->id, "fovea-guide");
  }
};

TEST_F(GuidedTest, the_guide_ranks_the_patches_that_the_model_keeps) {
  open();
  viewer_->set_prune(sgl());
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run);
  ASSERT_TRUE(run->answer.guide);
  EXPECT_FALSE(run->by_guide());
  EXPECT_EQ(run->model->id, "fovea-base");
  ASSERT_EQ(run->answer.pruning.stages.size(), 1U);
  EXPECT_EQ(run->answer.pruning.stages[0].kept.size(), 230U) << "int(0.4 x 576)";
  EXPECT_TRUE(guide_text(*run).contains("fovea-guide")) << guide_text(*run).toStdString();
  EXPECT_TRUE(guide_text(*run).contains("ranked"));
  EXPECT_NE(viewer_->readings().of(*run, 0), nullptr);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(GuidedTest, a_guides_answer_that_is_taken_is_looked_at_with_the_guides_layers) {
  open();
  viewer_->set_prune(sgl().guide_alone());
  viewer_->view().choose({11, {HeadChoice::Kind::one, 7}});
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run);
  EXPECT_TRUE(run->by_guide());
  EXPECT_EQ(run->text().toStdString(), run->answer.guide->answer.text);
  EXPECT_EQ(run->model->id, "fovea-guide");
  EXPECT_EQ(run->model->layers, run->answer.trace->layers());
  EXPECT_LT(viewer_->view().choice().layer, run->model->layers);
  EXPECT_EQ(run->words(), static_cast<int>(run->tokens.size()) - 1);
  const Reading* reading = viewer_->readings().of(*run, 0);
  ASSERT_NE(reading, nullptr);
  EXPECT_GT(reading->share, 0);
  const OverlayScene scene = compose(*run, 0, viewer_->view(), viewer_->readings());
  EXPECT_TRUE(scene.caption.contains("Guide")) << scene.caption.toStdString();
  viewer_->view().set_lens(Lens::kept);
  EXPECT_TRUE(
      compose(*run, 0, viewer_->view(), viewer_->readings()).caption.contains("guide answered"));
  EXPECT_EQ(pruning_text(*run), "the guide alone");
  EXPECT_TRUE(visual_token_text(*run).startsWith("no visual token"));
}

TEST_F(GuidedTest, the_guides_own_answer_stands_beside_the_models) {
  open();
  viewer_->set_prune(sgl());
  viewer_->set_against(Viewer::Against::guide);
  viewer_->set_comparing(true);
  const RunPtr run = ask(short_sample().question);
  const RunPtr reference = viewer_->view().reference();
  ASSERT_TRUE(run && reference);
  EXPECT_FALSE(run->by_guide());
  EXPECT_TRUE(reference->by_guide());
  EXPECT_EQ(run->answer.guide->answer.token_ids, reference->answer.token_ids);
  // A layer that the guide does not have stands for its last one, and the caption says so.
  viewer_->view().choose({run->model->layers - 1, {}});
  ASSERT_TRUE(wait_maps());
  const OverlayScene scene = compose(*reference, 0, viewer_->view(), viewer_->readings());
  const QString last = QStringLiteral("layer %1").arg(reference->model->layers - 1);
  EXPECT_TRUE(scene.caption.contains(last)) << scene.caption.toStdString();
  // Beside the unpruned answer it is the pair that counts.
  viewer_->set_against(Viewer::Against::unpruned);
  ASSERT_TRUE(wait_idle());
  ASSERT_TRUE(viewer_->view().reference());
  EXPECT_FALSE(viewer_->view().reference()->prune.prunes());
  EXPECT_EQ(viewer_->view().run(), run);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(GuidedTest, a_conversation_goes_on_after_the_guides_answer_and_without_it) {
  open();
  viewer_->set_prune(sgl().guide_alone());
  const RunPtr first = ask(short_sample().question);
  viewer_->set_follow_up(true);
  const RunPtr second = ask("What color is it?");
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(second->by_guide());
  EXPECT_GT(second->answer.prompt_token_ids.size(), first->answer.prompt_token_ids.size());
  viewer_->set_prune({});
  const RunPtr third = ask(other_sample().question);
  EXPECT_FALSE(third->answer.guide);
  EXPECT_GT(third->answer.prompt_token_ids.size(), second->answer.prompt_token_ids.size());
  EXPECT_EQ(third->pictures.size(), 1U);
}

TEST_F(GuidedTest, a_guided_question_that_is_stopped_leaves_nothing_behind) {
  open();
  viewer_->set_prune(sgl());
  viewer_->ask(long_sample().question);
  viewer_->stop();
  ASSERT_TRUE(wait_idle());
  for (const RunPtr& run : viewer_->history().runs()) EXPECT_FALSE(run->tokens.empty());
  viewer_->set_prune({});
  EXPECT_EQ(ask(short_sample().question)->text(), short_sample().answer);
}

TEST_F(GuidedTest, a_model_without_a_guide_says_so_and_answers_otherwise) {
  open();
  open_guide_as_model({});
  viewer_->set_prune(sgl());
  viewer_->ask(short_sample().question);
  ASSERT_TRUE(wait_idle());
  ASSERT_EQ(notices_.size(), 1U);
  EXPECT_NE(notices_[0].message.find("guide"), std::string::npos);
  EXPECT_NE(notices_[0].remedy.find("Ctrl+M"), std::string::npos);
  viewer_->set_prune({});
  EXPECT_TRUE(ask(short_sample().question));
  EXPECT_EQ(notices_.size(), 1U);
}

TEST_F(GuidedTest, a_guide_that_was_named_is_used_and_a_broken_one_is_said) {
  open();
  open_guide_as_model(asset("models/fovea-guide"));
  viewer_->set_prune(sgl());
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run && run->answer.guide);
  EXPECT_TRUE(notices_.empty());
  open_guide_as_model(folder_.filePath("nothing"));
  viewer_->ask(short_sample().question);
  ASSERT_TRUE(wait_idle());
  ASSERT_EQ(notices_.size(), 1U);
  EXPECT_NE(notices_[0].to_string().find("nothing"), std::string::npos);
}

TEST_F(GuidedTest, patches_that_leave_in_the_tower_never_reach_the_decoder) {
  open();
  for (const auto tower : {PruneChoice::Tower::top_k, PruneChoice::Tower::random}) {
    viewer_->set_prune(in_tower(tower, 0.25));
    const RunPtr run = ask(short_sample().question);
    ASSERT_TRUE(run);
    EXPECT_EQ(run->answer.pruning.stages.size(), 3U);
    EXPECT_EQ(run->answer.pruning.stages.back().kept.size(), 144U);
    EXPECT_EQ(run->answer.budget.entering.front(), 144);
    viewer_->view().set_lens(Lens::kept);
    const OverlayScene scene = compose(*run, 0, viewer_->view(), viewer_->readings());
    EXPECT_TRUE(scene.caption.contains("tower")) << scene.caption.toStdString();
    EXPECT_EQ(std::count(scene.cells.begin(), scene.cells.end(), CellState::present), 144);
  }
  EXPECT_TRUE(notices_.empty());
}

TEST_F(GuidedTest, patches_merged_in_the_tower_are_marked_as_merged_beside_the_whole) {
  open();
  viewer_->set_prune(in_tower(PruneChoice::Tower::merged, 0.5));
  viewer_->set_comparing(true);
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run && viewer_->view().reference());
  EXPECT_FALSE(viewer_->view().reference()->prune.prunes());
  EXPECT_EQ(run->answer.budget.entering.front(), 288);
  viewer_->view().set_lens(Lens::kept);
  const OverlayScene scene = compose(*run, 0, viewer_->view(), viewer_->readings());
  const StageRecord& last = run->answer.pruning.stages.back();
  EXPECT_EQ(last.tokens(), 288);
  const auto alone = static_cast<std::ptrdiff_t>(last.kept.size());
  EXPECT_LT(alone, 288) << "the rest are tokens made of several patches";
  EXPECT_EQ(std::count(scene.cells.begin(), scene.cells.end(), CellState::present), alone);
  EXPECT_EQ(std::count(scene.cells.begin(), scene.cells.end(), CellState::merged), 576 - alone);
}

TEST_F(GuidedTest, thresholds_that_no_patch_exceeds_leave_none) {
  open();
  PruneChoice choice = in_tower(PruneChoice::Tower::adaptive, 0.5);
  choice.tower_thresholds = {1, 1, 1};
  viewer_->set_prune(choice);
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->answer.budget.entering.front(), 0);
  EXPECT_TRUE(notices_.empty());
}

TEST_F(GuidedTest, two_methods_for_one_tower_are_said) {
  open();
  PruneChoice both = in_tower(PruneChoice::Tower::top_k, 0.5);
  both.method = "visionzip";
  viewer_->set_prune(both);
  viewer_->ask(short_sample().question);
  ASSERT_TRUE(wait_idle());
  EXPECT_EQ(notices_.size(), 1U);
  viewer_->set_prune({});
  EXPECT_EQ(ask(short_sample().question)->text(), short_sample().answer);
}

TEST_F(GuidedTest, guide_and_tower_are_remembered) {
  PruneChoice choice = sgl();
  choice.exit_threshold = 0.75;
  choice.exit_by_confidence = true;
  choice.tower = PruneChoice::Tower::merged;
  choice.tower_share = 0.3;
  choice.tower_thresholds = {0.1 / 3, 0, 1};
  viewer_->set_prune(choice);
  viewer_->set_against(Viewer::Against::guide);
  const Viewer again(settings_);
  EXPECT_EQ(again.prune(), choice);
  EXPECT_EQ(again.against(), Viewer::Against::guide);
}

TEST(PruneChoice, guide_and_tower_are_in_the_label) {
  PruneChoice choice;
  choice.method = "sgl";
  EXPECT_EQ(choice.label(), "sgl");
  choice.exit_threshold = 0.9;
  EXPECT_EQ(choice.label(), "sgl:exit-threshold=0.9");
  choice.exit_by_confidence = true;
  EXPECT_EQ(choice.label(), "sgl:exit-threshold=0.9:exit-by=confidence");
  choice.tower = PruneChoice::Tower::top_k;
  EXPECT_EQ(choice.label(), "sgl:exit-threshold=0.9:exit-by=confidence, topk in the tower to 50 %");
  choice.method.clear();
  EXPECT_TRUE(choice.prunes());
  EXPECT_FALSE(choice.needs_guide());
  EXPECT_EQ(choice.label(), "topk in the tower to 50 %");
  choice.tower = PruneChoice::Tower::adaptive;
  EXPECT_EQ(choice.label(), "adaptive in the tower above 0.0006+0.0005+0.0013");
}

}  // namespace
}  // namespace fovea::gui
