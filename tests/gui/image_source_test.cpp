#include "gui/image_source.h"

#include "gui_support.h"

namespace fovea::gui {
namespace {

class ImageSourceTest : public ViewerTest {
 protected:
  ImageSource& source() { return viewer_->pictures(); }
  bool wait_current() {
    return wait(
        [this] { return source().current() != nullptr || !source().current_error().isEmpty(); });
  }
};

TEST_F(ImageSourceTest, a_folder_is_sorted_as_people_count) {
  for (const char* name : {"p10.png", "p2.png", "P1.png", "p002b.png"}) write_picture(name);
  write("notes.txt", "no picture");
  source().open({folder_.path()});
  QStringList names;
  for (const QString& file : source().files()) names << QFileInfo(file).fileName();
  EXPECT_EQ(names, QStringList({"P1.png", "p2.png", "p002b.png", "p10.png"}));
}

TEST_F(ImageSourceTest, one_file_brings_its_folder_along) {
  const QString a = write_picture("a.png"), b = write_picture("b.png"), c = write_picture("c.png");
  source().open({b});
  EXPECT_EQ(source().files().size(), 3);
  EXPECT_EQ(source().index(), 1);
  source().next();
  source().next();
  EXPECT_EQ(source().index(), 0) << "the list wraps around";
  source().previous();
  EXPECT_EQ(source().index(), 2);
  ASSERT_TRUE(wait_current());
  EXPECT_EQ(source().current()->path(), c);
}

TEST_F(ImageSourceTest, several_files_are_the_list) {
  const QString a = write_picture("a.png"), b = write_picture("b.png"), c = write_picture("c.png");
  source().open({c, a, c});
  EXPECT_EQ(source().files(), QStringList({c, a}));
  EXPECT_EQ(source().index(), 0);
}

TEST_F(ImageSourceTest, a_corrupt_file_is_an_error_as_data_and_the_others_still_open) {
  const QString good = write_picture("a.png");
  const QString bad = write("b.png", QByteArray("\x89PNG\r\n\x1a\n cut short", 20));
  source().open({bad, good});
  ASSERT_TRUE(wait_current());
  EXPECT_EQ(source().current(), nullptr);
  ASSERT_FALSE(notices_.empty());
  EXPECT_NE(notices_.back().file.find("b.png"), std::string::npos);
  EXPECT_TRUE(source().broken(0));
  source().next();
  ASSERT_TRUE(wait_current());
  ASSERT_NE(source().current(), nullptr);
  EXPECT_EQ(source().current()->path(), good);
}

TEST_F(ImageSourceTest, a_folder_without_pictures_says_so_and_changes_nothing) {
  const QString picture = write_picture("a.png");
  source().open({picture});
  QDir(folder_.path()).mkdir("empty");
  source().open({folder_.filePath("empty")});
  ASSERT_EQ(notices_.size(), 1U);
  EXPECT_EQ(notices_.back().code, ErrorCode::not_found);
  EXPECT_EQ(source().files(), QStringList({picture}));
}

TEST_F(ImageSourceTest, thumbnails_arrive_for_every_file_and_mark_the_broken_ones) {
  write_picture("a.png", 300, 100);
  write("b.png", "nothing");
  write_picture("c.png");
  source().open({folder_.path()});
  ASSERT_TRUE(wait([this] { return !source().thumbnail(2).isNull() && source().broken(1); }));
  EXPECT_EQ(source().thumbnail(0).size(), QSize(160, 53));
}

TEST(Picture, levels_share_the_picture_and_are_chosen_by_scale) {
  Image image = Image::filled(4000, 2000, 10, 20, 30);
  const Picture picture(QStringLiteral("x.png"), std::move(image), 1);
  EXPECT_EQ(picture.level_for(1).constBits(), picture.image()->rgb.data()) << "pixels were copied";
  EXPECT_EQ(picture.level_for(0.5).size(), QSize(2000, 1000));
  EXPECT_EQ(picture.level_for(0.3).size(), QSize(2000, 1000));
  EXPECT_EQ(picture.level_for(0.01).size(), QSize(1000, 500));
}

}  // namespace
}  // namespace fovea::gui
