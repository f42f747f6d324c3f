// The vision tower by itself: its maps are those that the library reads, for any picture.

#include "gui/encoder_reader.h"

#include "gui/overlay_scene.h"
#include "gui_support.h"

namespace fovea::gui {
namespace {

class EncoderReaderTest : public ViewerTest {
 protected:
  EncoderMapsPtr read(const RolloutOptions& rollout = {}) {
    const PicturePtr picture = viewer_->shown_picture();
    EXPECT_TRUE(wait([&] { return viewer_->encoder().maps(picture, rollout) != nullptr; }));
    return viewer_->encoder().maps(picture, rollout);
  }

  EncoderMaps read_directly(const RolloutOptions& rollout) {
    const auto& model = *viewer_->inference().weights();
    Context context;
    auto prepared =
        preprocess(context, *viewer_->shown_picture()->image(), model.config().preprocess);
    EXPECT_TRUE(prepared);
    auto maps = read_encoder(context, model.vision(), *prepared, {.rollout = rollout});
    EXPECT_TRUE(maps);
    return std::move(*maps);
  }
};

TEST_F(EncoderReaderTest, maps_need_no_question_and_are_those_of_the_library) {
  open();
  const EncoderMapsPtr maps = read();
  const EncoderMaps direct = read_directly({});
  EXPECT_EQ(maps->class_maps, direct.class_maps);
  EXPECT_EQ(maps->received_maps, direct.received_maps);
  EXPECT_EQ(maps->rollout, direct.rollout);
  EXPECT_EQ(maps->nmi, direct.nmi);

  viewer_->view().choose_encoder({EncoderChoice::Map::received, 2, 1, {}});
  const OverlayScene scene = compose_encoder(maps.get(), viewer_->view(), nullptr, 0);
  EXPECT_EQ(scene.values, direct.mean(direct.received_maps, {2}, {1}).values);
  EXPECT_FALSE(scene.heat.isNull());
  EXPECT_TRUE(scene.caption.contains("layer 2")) << scene.caption.toStdString();
  EXPECT_EQ(scene.cell_of(30), 30) << "without a prompt patches count in raster order";
}

TEST_F(EncoderReaderTest, rollout_is_read_anew_for_other_options) {
  open();
  const RolloutOptions other{.fusion = HeadFusion::max, .discard = 0.5};
  const EncoderMapsPtr mean = read(), largest = read(other);
  EXPECT_EQ(largest->rollout, read_directly(other).rollout);
  EXPECT_NE(largest->rollout, mean->rollout);
  EXPECT_EQ(read(), mean) << "what was read before is still there";
}

TEST_F(EncoderReaderTest, while_it_is_read_the_scene_waits) {
  open();
  EXPECT_EQ(viewer_->encoder().maps(viewer_->shown_picture(), {}), nullptr);
  EXPECT_TRUE(compose_encoder(nullptr, viewer_->view(), nullptr, 0).waiting);
}

TEST_F(EncoderReaderTest, another_models_tower_is_read_anew) {
  open();
  const EncoderMapsPtr base = read();
  viewer_->load_model({.folder = asset("models/fovea-guide")});
  ASSERT_TRUE(wait_idle());
  const EncoderMapsPtr guide = read();
  EXPECT_NE(guide, base);
  EXPECT_EQ(guide->layers, viewer_->inference().weights()->vision().run_layers());
}

TEST_F(EncoderReaderTest, closing_while_a_tower_is_read_is_safe) {
  open();
  viewer_->encoder().maps(viewer_->shown_picture(), {.fusion = HeadFusion::mean, .discard = 0.9});
  viewer_.reset();
  SUCCEED();
}

}  // namespace
}  // namespace fovea::gui
