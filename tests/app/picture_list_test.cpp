#include "app/picture_list.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temporary_folder.h"

namespace fovea::app {
namespace {

using testing::TemporaryFolder;

/// Names below the folder that a list holds.
std::vector<std::string> listed(const TemporaryFolder& folder,
                                const std::vector<std::string>& words) {
  const auto pictures = list_pictures(words);
  EXPECT_TRUE(pictures) << (pictures ? "" : pictures.error().to_string());
  std::vector<std::string> names;
  if (!pictures) return names;
  for (const std::string& path : *pictures) {
    names.push_back(std::filesystem::relative(path, folder.path()).string());
  }
  return names;
}

class PictureList : public ::testing::Test {
 protected:
  PictureList() {
    for (const char* name : {"b", "b/c", ".hidden"}) {
      std::filesystem::create_directory(folder_.path() / name);
    }
    for (const char* name : {"z.png", "a.JPG", "notes.txt", "b/2.bmp", "b/10.png", "b/c/x.gif",
                             ".hidden/h.png", "b/.y.png", "b[1].png"}) {
      folder_.write(name, "");
    }
    std::filesystem::create_directory_symlink(folder_.path(), folder_.path() / "loop");
  }
  TemporaryFolder folder_;
};

TEST_F(PictureList, folders_are_searched_to_the_bottom_and_sorted) {
  const std::vector<std::string> all{"a.JPG",     "b/10.png", "b/2.bmp",
                                     "b/c/x.gif", "b[1].png", "z.png"};
  EXPECT_EQ(listed(folder_, {folder_.path().string()}), all);
}

TEST_F(PictureList, words_keep_their_order_and_files_their_names) {
  EXPECT_EQ(listed(folder_, {folder_ / "z.png", folder_ / "notes.txt", folder_ / "b/c"}),
            (std::vector<std::string>{"z.png", "notes.txt", "b/c/x.gif"}));
  EXPECT_EQ(*list_pictures({"no/such/file.png"}), std::vector<std::string>{"no/such/file.png"});
}

TEST_F(PictureList, patterns_list_what_they_match) {
  EXPECT_EQ(listed(folder_, {folder_ / "b/*.*"}),
            (std::vector<std::string>{"b/10.png", "b/2.bmp"}));
  EXPECT_EQ(listed(folder_, {folder_ / "[ab]"}),
            (std::vector<std::string>{"b/10.png", "b/2.bmp", "b/c/x.gif"}));
  // A file whose own name looks like a pattern is that file.
  EXPECT_EQ(listed(folder_, {folder_ / "b[1].png"}), (std::vector<std::string>{"b[1].png"}));
}

TEST_F(PictureList, what_yields_nothing_is_an_error_that_names_it) {
  for (const std::string& word : {folder_ / "*.webp", folder_ / ".hidden/../b/none*"}) {
    const auto pictures = list_pictures({word});
    ASSERT_FALSE(pictures);
    EXPECT_EQ(pictures.error().code, ErrorCode::not_found);
    EXPECT_EQ(pictures.error().file, word);
  }
  std::filesystem::create_directory(folder_.path() / "empty");
  EXPECT_FALSE(list_pictures({folder_ / "empty"}));
}

}  // namespace
}  // namespace fovea::app
