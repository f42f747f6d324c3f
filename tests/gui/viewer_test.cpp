// The program without its window, with the bundled model.

#include "gui/viewer.h"

#include <cmath>

#include "gui/overlay_scene.h"
#include "gui/token_model.h"
#include "gui_support.h"

namespace fovea::gui {
namespace {

TEST_F(ViewerTest, an_answer_streams_and_brings_its_tokens_and_maps) {
  open();
  QString streamed;
  QObject::connect(&viewer_->inference(), &Inference::piece, viewer_.get(),
                   [&](int, const QString& piece) { streamed += piece; });
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->text(), short_sample().answer);
  EXPECT_EQ(streamed, run->text());
  ASSERT_GE(run->tokens.size(), 3U);
  EXPECT_TRUE(run->tokens.back().ends);
  EXPECT_EQ(run->words(), static_cast<int>(run->tokens.size()) - 1);
  for (int word = 0; word < run->words(); ++word) {
    const Reading* reading = viewer_->readings().of(*run, word);
    ASSERT_NE(reading, nullptr);
    EXPECT_GT(reading->share, 0);
    EXPECT_LE(reading->share, 1);
  }
  const OverlayScene scene = compose(*run, 0, viewer_->view(), viewer_->readings());
  EXPECT_EQ(scene.rows, 24);
  EXPECT_FALSE(scene.heat.isNull());
  EXPECT_FALSE(scene.waiting);
  const QSizeF picture(run->pictures[0]->width(), run->pictures[0]->height());
  EXPECT_EQ(scene.rect.width(), scene.rect.height()) << "the model sees a square";
  EXPECT_EQ(scene.rect.center(), QRectF({}, picture).center());
  EXPECT_TRUE(notices_.empty());
}

TEST_F(ViewerTest, another_layer_and_head_changes_what_is_read) {
  open();
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run);
  const double mean = viewer_->readings().of(*run, 1)->high;
  viewer_->view().choose({3, {HeadChoice::Kind::one, 2}});
  ASSERT_NE(viewer_->readings().of(*run, 1), nullptr);
  EXPECT_NE(viewer_->readings().of(*run, 1)->high, mean);
  viewer_->view().choose({});
  EXPECT_EQ(viewer_->readings().of(*run, 1)->high, mean);
  // The shared range covers every word, and the whole answer is their mean.
  double high = 0;
  for (int word = 0; word < run->words(); ++word) {
    high = std::max(high, viewer_->readings().of(*run, word)->high);
  }
  EXPECT_EQ(viewer_->readings().shared_high(*run), high);
  const auto& whole = viewer_->readings().of(*run, ViewState::kWholeAnswer)->values;
  float sum = 0;
  for (int word = 0; word < run->words(); ++word) {
    sum += viewer_->readings().of(*run, word)->values[300];
  }
  EXPECT_FLOAT_EQ(whole[300], sum / static_cast<float>(run->words()));
}

TEST_F(ViewerTest, pruned_patches_have_no_attention_and_are_marked) {
  open();
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100});
  const RunPtr run = ask(short_sample().question);
  ASSERT_TRUE(run);
  ASSERT_EQ(run->answer.pruning.stages.size(), 1U);
  const auto& kept = run->answer.pruning.stages[0].kept;
  viewer_->view().choose({run->model->layers - 1, {}});
  const OverlayScene scene = compose(*run, 0, viewer_->view(), viewer_->readings());
  std::size_t present = 0;
  for (std::size_t cell = 0; cell < scene.cells.size(); ++cell) {
    const bool there = scene.cells[cell] == CellState::present;
    EXPECT_EQ(there, !std::isnan(scene.values[cell]));
    present += there ? 1 : 0;
  }
  EXPECT_EQ(present, kept.size());
}

TEST_F(ViewerTest, comparing_asks_twice_and_shows_both) {
  open();
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100});
  viewer_->set_comparing(true);
  const RunPtr run = ask(other_sample().question);
  ASSERT_TRUE(run);
  const RunPtr reference = viewer_->view().reference();
  ASSERT_TRUE(reference);
  EXPECT_EQ(run->prune.method, "fastv");
  EXPECT_FALSE(reference->prune.prunes());
  EXPECT_EQ(reference->answer.prompt_token_ids, run->answer.prompt_token_ids);
  EXPECT_EQ(viewer_->history().rowCount(), 2);
  // Choosing either of them shows the pair; without comparing each stands alone.
  viewer_->show_run(reference->id);
  EXPECT_EQ(viewer_->view().run(), run);
  EXPECT_EQ(viewer_->view().reference(), reference);
  viewer_->set_comparing(false);
  EXPECT_EQ(viewer_->view().reference(), nullptr);
}

TEST_F(ViewerTest, comparing_later_asks_for_the_missing_half) {
  open();
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100});
  ask(other_sample().question);
  viewer_->set_comparing(true);
  ASSERT_TRUE(wait_idle());
  ASSERT_TRUE(viewer_->view().reference());
  EXPECT_FALSE(viewer_->view().reference()->prune.prunes());
  EXPECT_TRUE(viewer_->view().run()->prune.prunes());
}

TEST_F(ViewerTest, a_follow_up_goes_on_and_a_comparison_stays_in_its_place) {
  open();
  const RunPtr first = ask(short_sample().question);
  viewer_->set_follow_up(true);
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100});
  viewer_->set_comparing(true);
  const RunPtr second = ask("What color is it?");
  ASSERT_TRUE(first && second && viewer_->view().reference());
  EXPECT_GT(second->answer.prompt_token_ids.size(), first->answer.prompt_token_ids.size());
  EXPECT_EQ(second->pictures.size(), 1U) << "the picture is shown once";
  EXPECT_EQ(viewer_->view().reference()->answer.prompt_token_ids, second->answer.prompt_token_ids);
  const RunPtr third = ask(other_sample().question);
  const auto longer =
      third->answer.prompt_token_ids.size() - second->answer.prompt_token_ids.size();
  EXPECT_LT(longer, 40U) << "the compared turn was counted twice";
}

TEST_F(ViewerTest, an_answer_stopped_half_way_stays_and_the_next_question_works) {
  open();
  const RunPtr run =
      ask_and_stop([this] { return ask(long_sample().question); }, [this] { viewer_->stop(); });
  ASSERT_TRUE(run);
  EXPECT_EQ(run->answer.finish_reason, FinishReason::cancelled);
  EXPECT_FALSE(run->text().isEmpty());
  EXPECT_NE(viewer_->readings().of(*run, 0), nullptr) << "what was said can be looked at";
  const RunPtr next = ask(short_sample().question);
  EXPECT_EQ(next->text(), short_sample().answer);
}

TEST_F(ViewerTest, a_question_stopped_before_its_first_word_leaves_nothing_behind) {
  open();
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 100});
  viewer_->set_comparing(true);
  viewer_->ask(long_sample().question);
  viewer_->stop();
  ASSERT_TRUE(wait_idle());
  for (const RunPtr& run : viewer_->history().runs()) EXPECT_FALSE(run->tokens.empty());
  viewer_->set_comparing(false);
  viewer_->set_prune({});
  const RunPtr next = ask(short_sample().question);
  EXPECT_EQ(next->text(), short_sample().answer);
}

TEST_F(ViewerTest, closing_in_the_middle_of_an_answer_is_safe) {
  open();
  bool said = false;
  QObject::connect(&viewer_->inference(), &Inference::piece, viewer_.get(), [&] { said = true; });
  viewer_->ask(long_sample().question);
  viewer_->ask(long_sample().question);
  ASSERT_TRUE(wait([&] { return said; }));
  viewer_.reset();
  SUCCEED();
}

TEST_F(ViewerTest, a_broken_model_is_reported_and_the_one_before_stays) {
  open();
  const QDir source(asset("models/fovea-base"));
  QDir(folder_.path()).mkdir("broken");
  for (const QString& name : source.entryList(QDir::Files)) {
    if (name.endsWith(".safetensors")) {
      write("broken/" + name, "not weights");
    } else {
      QFile::copy(source.filePath(name), folder_.filePath("broken/" + name));
    }
  }
  viewer_->load_model({.folder = folder_.filePath("broken")});
  ASSERT_TRUE(wait_idle());
  ASSERT_EQ(notices_.size(), 1U);
  EXPECT_EQ(notices_[0].code, ErrorCode::bad_model);
  EXPECT_EQ(viewer_->inference().model()->id, "fovea-base");
  EXPECT_EQ(ask(short_sample().question)->text(), short_sample().answer);
}

TEST_F(ViewerTest, a_remembered_model_that_is_gone_is_said_and_replaced_by_the_bundled_one) {
  viewer_->restore_model({.folder = folder_.filePath("gone")});
  ASSERT_TRUE(wait([this] { return viewer_->inference().model() != nullptr; }));
  EXPECT_EQ(viewer_->inference().model()->id, "fovea-base");
  ASSERT_EQ(notices_.size(), 1U);
  EXPECT_NE(notices_[0].remedy.find("bundled"), std::string::npos);
  // One that is named on the command line is not replaced.
  Viewer named(settings_);
  named.load_model({.folder = folder_.filePath("gone")});
  ASSERT_TRUE(wait([&] { return !named.inference().loading(); }));
  EXPECT_EQ(named.inference().model(), nullptr);
}

TEST_F(ViewerTest, what_cannot_be_asked_is_said) {
  viewer_->ask("What is this?");
  ASSERT_EQ(notices_.size(), 1U) << "no picture";
  viewer_->pictures().open({write_picture("a.png")});
  ASSERT_TRUE(wait([this] { return viewer_->pictures().current() != nullptr; }));
  viewer_->ask("  ");
  ASSERT_EQ(notices_.size(), 2U) << "no question";
  viewer_->ask("What is this?");
  ASSERT_TRUE(wait_idle());
  ASSERT_EQ(notices_.size(), 3U) << "no model";
  EXPECT_EQ(viewer_->history().rowCount(), 0);
}

TEST_F(ViewerTest, each_picture_brings_its_newest_answer) {
  open();
  const RunPtr first = ask(short_sample().question);
  const int index = viewer_->pictures().index();
  viewer_->pictures().next();
  ASSERT_TRUE(wait([this] { return viewer_->pictures().current() != nullptr; }));
  EXPECT_EQ(viewer_->view().run(), nullptr);
  viewer_->pictures().select(index);
  ASSERT_TRUE(wait([this] { return viewer_->pictures().current() != nullptr; }));
  EXPECT_EQ(viewer_->view().run(), first);
}

TEST_F(ViewerTest, only_the_newest_answers_keep_their_traces) {
  open();
  for (int i = 0; i < 6; ++i) ask(short_sample().question);
  int traced = 0;
  for (const RunPtr& run : viewer_->history().runs()) traced += run->has_trace() ? 1 : 0;
  EXPECT_EQ(traced, 4);
  EXPECT_FALSE(viewer_->history().runs().front()->has_trace());
  viewer_->show_run(viewer_->history().runs().front()->id);
  const RunPtr& old = viewer_->view().run();
  const OverlayScene scene = compose(*old, 0, viewer_->view(), viewer_->readings());
  EXPECT_TRUE(scene.heat.isNull());
  EXPECT_TRUE(scene.caption.contains("ask again"));
}

TEST_F(ViewerTest, token_bars_and_the_chosen_patch_follow) {
  open();
  const RunPtr run = ask(short_sample().question);
  TokenModel model(viewer_->readings());
  model.set_run(run);
  ASSERT_EQ(model.rowCount(), run->words() + 1);
  EXPECT_TRUE(short_sample().answer.contains(
      model.data(model.index(1), Qt::DisplayRole).toString()));
  EXPECT_GT(model.data(model.index(1), TokenModel::ShareRole).toDouble(), 0);
  const QModelIndex end = model.index(run->words());
  EXPECT_FALSE(model.data(end, TokenModel::ShareRole).isValid());
  model.set_patch(400);
  double most = 0;
  for (int row = 0; row < run->words(); ++row) {
    most = std::max(most, model.data(model.index(row), TokenModel::PatchRole).toDouble());
  }
  EXPECT_EQ(most, 1) << "relative to the word that looked most";
}

TEST_F(ViewerTest, choices_are_remembered) {
  viewer_->set_prune({.method = "fastv", .preset = "", .budget = 64});
  viewer_->set_comparing(true);
  const Viewer again(settings_);
  EXPECT_EQ(again.prune().method, "fastv");
  EXPECT_EQ(again.prune().budget, 64);
  EXPECT_TRUE(again.comparing());
}

TEST(PruneChoice, labels_are_what_the_command_line_takes) {
  EXPECT_EQ(PruneChoice{}.label(), "none");
  EXPECT_EQ((PruneChoice{"fastv", "", std::nullopt}.label()), "fastv");
  EXPECT_EQ((PruneChoice{"fastv", "r50", std::nullopt}.label()), "fastv:preset=r50");
  EXPECT_EQ((PruneChoice{"fastv", "r50", 64}.label()), "fastv:budget=64");
  EXPECT_FALSE(make_policy({"no-such-method", "", std::nullopt}));
}

}  // namespace
}  // namespace fovea::gui
