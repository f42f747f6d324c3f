// What is written when a view is exported.

#include "gui/export.h"

#include <QJsonArray>

#include "gui/exported_picture.h"
#include "gui_support.h"
#include "kernels/base/npy.h"

namespace fovea::gui {
namespace {

class ExportTest : public ViewerTest {
 protected:
  ExportTest() : pane_(transform_) { pane_.resize(400, 300); }

  void show(const RunPtr& run) {
    ASSERT_TRUE(run);
    pane_.set_picture(viewer_->shown_picture());
    pane_.set_scene(compose(*run, 0, viewer_->view(), viewer_->readings()));
  }
  Result<QImage> draw(Exported kind) {
    return exported_picture(kind, *viewer_, pane_, plain_picture(8, 6));
  }

  ViewTransform transform_;
  PictureView pane_;
};

TEST_F(ExportTest, the_overlay_covers_everything_that_the_model_saw) {
  open();
  show(ask(short_sample().question));
  const auto overlay = draw(Exported::overlay);
  ASSERT_TRUE(overlay);
  const int side = std::max(viewer_->shown_picture()->width(), viewer_->shown_picture()->height());
  EXPECT_EQ(overlay->size(), QSize(side, side)) << "padding included";
  // Without the overlay the same picture looks otherwise.
  pane_.set_scene({});
  const auto bare = draw(Exported::overlay);
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->width(), viewer_->shown_picture()->width());
  EXPECT_NE(bare->pixel(bare->rect().center()), overlay->pixel(overlay->rect().center()));
}

TEST_F(ExportTest, the_map_alone_has_the_colours_of_its_values) {
  open();
  const RunPtr run = ask(short_sample().question);
  Display display;
  display.smooth = false;
  display.range = Range::own;
  viewer_->view().set_display(display);
  show(run);
  const auto map = draw(Exported::map);
  ASSERT_TRUE(map);
  const OverlayScene& scene = pane_.scene();
  const int patch = map->width() / scene.cols;
  EXPECT_EQ(map->size(), QSize(scene.cols * patch, scene.rows * patch));
  for (int cell = 0; cell < scene.rows * scene.cols; cell += 7) {
    const double value = scene.values[static_cast<std::size_t>(cell)];
    const auto color = display_color(display, value / scene.high);
    const QPoint middle(cell % scene.cols * patch + patch / 2,
                        cell / scene.cols * patch + patch / 2);
    EXPECT_EQ(map->pixel(middle), qRgb(color[0], color[1], color[2])) << cell;
  }
}

TEST_F(ExportTest, every_layer_and_head_is_a_grid_of_its_own_size) {
  open();
  const RunPtr run = ask(short_sample().question);
  show(run);
  const auto heads = draw(Exported::heads);
  ASSERT_TRUE(heads);
  EXPECT_GE(heads->width(), 40 * run->model->heads);
  EXPECT_GE(heads->height(), 40 * run->model->layers);
}

TEST_F(ExportTest, what_is_not_on_screen_cannot_be_exported) {
  EXPECT_FALSE(draw(Exported::overlay)) << "no picture";
  open();
  pane_.set_picture(viewer_->shown_picture());
  EXPECT_TRUE(draw(Exported::overlay));
  for (const Exported kind : {Exported::map, Exported::heads}) {
    const auto drawn = draw(kind);
    ASSERT_FALSE(drawn) << "no answer";
    EXPECT_EQ(drawn.error().code, ErrorCode::usage);
    EXPECT_FALSE(drawn.error().remedy.empty());
  }
}

TEST_F(ExportTest, values_and_what_they_are_lie_beside_the_picture) {
  open();
  PruneChoice choice;
  choice.method = "sgl";
  viewer_->set_prune(choice);
  const RunPtr run = ask(short_sample().question);
  show(run);
  const QString png = folder_.filePath("out.png");
  ASSERT_TRUE(export_files(png, *draw(Exported::map), *viewer_, pane_.scene()));
  EXPECT_FALSE(QImage(png).isNull());
  EXPECT_TRUE(QFile::exists(folder_.filePath("out.npy")));
  QFile sidecar(folder_.filePath("out.json"));
  ASSERT_TRUE(sidecar.open(QIODevice::ReadOnly));
  const QJsonDocument json = QJsonDocument::fromJson(sidecar.readAll());
  EXPECT_EQ(json["answer"].toString(), run->text());
  EXPECT_EQ(json["values"].toString(), "out.npy");
  EXPECT_EQ(json["guide"]["model"].toString(), "fovea-guide");
  EXPECT_EQ(json["stages"][0]["kept"].toArray().size(), 230);
}

TEST_F(ExportTest, a_place_that_cannot_be_written_leaves_nothing) {
  open();
  show(ask(short_sample().question));
  const QString png = folder_.filePath("no/such/folder/out.png");
  EXPECT_FALSE(export_files(png, *draw(Exported::map), *viewer_, pane_.scene()));
  EXPECT_FALSE(QDir(folder_.filePath("no")).exists());
}

TEST(Exported, kinds_are_found_by_name_and_the_view_stands_for_unknown_ones) {
  for (const ExportedRow& row : kExported) {
    EXPECT_EQ(find_exported(QString::fromLatin1(row.name)).kind, row.kind);
  }
  EXPECT_EQ(find_exported("hologram").kind, Exported::view);
}

}  // namespace
}  // namespace fovea::gui
