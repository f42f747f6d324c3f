#include <gtest/gtest.h>

#include <filesystem>

#include "kernels/base/file.h"
#include "kernels/weights/safetensors.h"
#include "support/safetensors_bytes.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::raw_bytes;
using testing::safetensors_file;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

const std::string kFirst = safetensors_file({{"a.weight", "F32", {2}, raw_bytes<float>({1, 2})}});
const std::string kSecond =
    safetensors_file({{"b.weight", "F16", {1, 3}, raw_bytes<std::uint16_t>({1, 2, 3})},
                      {"b.count", "I64", {1}, raw_bytes<std::int64_t>({9})}});

std::string index_of(const std::string& weight_map) {
  return R"({"metadata":{"total_size":22},"weight_map":{)" + weight_map + "}}";
}
const std::string kGoodMap = R"("a.weight":"one.safetensors","b.weight":"two.safetensors",)"
                             R"("b.count":"two.safetensors")";

struct ShardedFolder : TemporaryFolder {
  explicit ShardedFolder(const std::string& weight_map = kGoodMap) {
    write("one.safetensors", kFirst);
    write("two.safetensors", kSecond);
    write(kIndex, index_of(weight_map));
  }
};

Error open_error(const TemporaryFolder& folder) {
  const auto opened = WeightFiles::open(folder.path().string());
  if (opened) {
    ADD_FAILURE() << "the folder was accepted";
    return {};
  }
  EXPECT_FALSE(opened.error().file.empty()) << opened.error().to_string();
  EXPECT_FALSE(opened.error().remedy.empty()) << opened.error().to_string();
  return opened.error();
}

TEST(weight_files, a_single_file_is_opened) {
  const TemporaryFolder folder;
  const std::string path = folder.write(kSingle, kFirst);
  const auto files = WeightFiles::open(folder.path().string());
  ASSERT_TRUE(files) << files.error().to_string();
  EXPECT_TRUE(files->contains("a.weight"));
  EXPECT_EQ(files->names(), std::vector<std::string>{"a.weight"});
  EXPECT_EQ(files->file_of("a.weight"), path);
  EXPECT_EQ(files->bytes(), 8u);
  EXPECT_EQ(files->find("a"), nullptr);
  EXPECT_EQ(files->sha256(), sha256_hex(std::as_bytes(std::span(kFirst))));
  const auto view = files->get("a.weight", {2});
  ASSERT_TRUE(view);
  EXPECT_EQ(view->as<float>()[1], 2.0f);
}

TEST(weight_files, shards_are_opened_through_their_index) {
  const ShardedFolder folder;
  const auto files = WeightFiles::open(folder.path().string());
  ASSERT_TRUE(files) << files.error().to_string();
  EXPECT_EQ(files->names(), (std::vector<std::string>{"a.weight", "b.count", "b.weight"}));
  EXPECT_EQ(files->files(),
            (std::vector<std::string>{folder / "one.safetensors", folder / "two.safetensors"}));
  EXPECT_EQ(files->file_of("b.count"), folder / "two.safetensors");
  EXPECT_EQ(files->get("b.weight", {1, 3})->dtype, DType::f16);
  EXPECT_EQ(files->bytes(), 22u);
  const std::string both = kFirst + kSecond;
  EXPECT_EQ(files->sha256(), sha256_hex(std::as_bytes(std::span(both))));
}

TEST(weight_files, a_single_file_wins_over_an_index) {
  const ShardedFolder folder;
  folder.write(kSingle, kFirst);
  const auto files = WeightFiles::open(folder.path().string());
  ASSERT_TRUE(files);
  EXPECT_EQ(files->names().size(), 1u);
}

TEST(weight_files, views_survive_moving_the_object) {
  const TemporaryFolder folder;
  folder.write(kSingle, kFirst);
  auto opened = WeightFiles::open(folder.path().string());
  const auto view = opened->get("a.weight", {2});
  const WeightFiles moved = std::move(*opened);
  EXPECT_EQ(moved.get("a.weight", {2})->data, view->data);
}

TEST(weight_files, wrong_shape_type_and_absence_name_tensor_file_and_both_values) {
  const ShardedFolder folder;
  const auto files = WeightFiles::open(folder.path().string());
  ASSERT_TRUE(files);
  const auto shape = files->get("b.weight", {3, 1});
  ASSERT_FALSE(shape);
  EXPECT_EQ(shape.error().code, ErrorCode::bad_model);
  EXPECT_EQ(shape.error().message, "expected shape [3, 1], found [1, 3]");
  EXPECT_EQ(shape.error().field, "b.weight");
  EXPECT_EQ(shape.error().file, folder / "two.safetensors");
  const auto rank = files->get("b.weight", {3});
  EXPECT_EQ(rank.error().message, "expected shape [3], found [1, 3]");
  const auto type = files->get("b.count", {1});
  ASSERT_FALSE(type);
  EXPECT_NE(type.error().message.find("found I64"), std::string::npos);
  const auto absent = files->get("c.weight", {5, 6});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::bad_model);
  EXPECT_NE(absent.error().message.find("[5, 6]"), std::string::npos);
  EXPECT_EQ(absent.error().file, folder / kIndex);
}

TEST(weight_files, tensors_at_odd_addresses_are_given_aligned) {
  for (std::size_t padding = 0; padding < 8; ++padding) {
    const TemporaryFolder folder;
    folder.write(kSingle, safetensors_file({{"flag", "BOOL", {1}, "x"},
                                            {"f32", "F32", {2}, raw_bytes<float>({1.5f, -2})},
                                            {"f16", "F16", {1}, raw_bytes<std::uint16_t>({7})}},
                                           padding));
    const auto files = WeightFiles::open(folder.path().string());
    ASSERT_TRUE(files);
    const auto wide = files->get("f32", {2});
    const auto half = files->get("f16", {1});
    ASSERT_TRUE(wide && half);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wide->data) % 4, 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(half->data) % 2, 0u);
    EXPECT_EQ(wide->as<float>()[0], 1.5f);
    EXPECT_EQ(wide->as<float>()[1], -2.0f);
    EXPECT_EQ(half->as<f16>()[0].bits, 7);
  }
}

TEST(weight_files, folders_without_safetensors_say_what_is_needed) {
  const TemporaryFolder empty;
  EXPECT_EQ(open_error(empty).code, ErrorCode::not_found);
  for (const char* name : {"pytorch_model.bin", "model.gguf", "consolidated.pth"}) {
    const TemporaryFolder folder;
    folder.write(name, "weights");
    const Error error = open_error(folder);
    EXPECT_EQ(error.code, ErrorCode::not_found);
    EXPECT_NE(error.message.find(name), std::string::npos);
    EXPECT_NE(error.remedy.find("safetensors"), std::string::npos);
  }
  const TemporaryFolder folder;
  for (const std::string& path : {folder / "absent", folder.write("file", "x")}) {
    const auto opened = WeightFiles::open(path);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, ErrorCode::not_found);
    EXPECT_EQ(opened.error().file, path);
  }
}

TEST(weight_files, weights_that_are_empty_folders_or_broken_links_are_typed_errors) {
  const TemporaryFolder empty;
  empty.write(kSingle, "");
  EXPECT_EQ(open_error(empty).code, ErrorCode::bad_model);
  const TemporaryFolder folder;
  fs::create_directory(folder / kSingle);
  EXPECT_EQ(WeightFiles::open(folder.path().string()).error().code, ErrorCode::not_found);
  const TemporaryFolder link;
  fs::create_symlink("nowhere", link / kSingle);
  EXPECT_EQ(WeightFiles::open(link.path().string()).error().code, ErrorCode::not_found);
}

TEST(weight_files, a_huge_sparse_file_is_refused_without_reading_it) {
  const TemporaryFolder folder;
  folder.write(kSingle, std::string(8, '\0'));
  fs::resize_file(folder / kSingle, std::uintmax_t{1} << 36);
  const Error error = open_error(folder);
  EXPECT_EQ(error.code, ErrorCode::bad_model);
  EXPECT_EQ(error.file, folder / kSingle);
}

TEST(weight_files, damage_in_a_shard_names_the_shard) {
  const ShardedFolder folder;
  folder.write("two.safetensors", kSecond.substr(0, kSecond.size() - 1));
  const Error error = open_error(folder);
  EXPECT_EQ(error.code, ErrorCode::bad_model);
  EXPECT_EQ(error.file, folder / "two.safetensors");
  EXPECT_EQ(error.field, "b.count");
}

TEST(weight_files, an_index_that_is_no_index_is_refused) {
  for (const char* text : {"", "[]", "{}", "7", R"({"weight_map":[]})", R"({"weight_map":{}})",
                           R"({"weight_map":{"a":"x"},"weight_map":{}})"}) {
    const TemporaryFolder folder;
    folder.write(kIndex, text);
    const Error error = open_error(folder);
    EXPECT_EQ(error.code, ErrorCode::bad_model) << text;
    EXPECT_EQ(error.file, folder / kIndex);
    EXPECT_TRUE(error.offset);
  }
}

TEST(weight_files, index_entries_that_lead_out_of_the_folder_are_refused) {
  const TemporaryFolder outside;
  const std::string target = outside.write("one.safetensors", kFirst);
  for (const std::string& name :
       {target, std::string("../one.safetensors"), std::string("sub/../../one.safetensors"),
        std::string("link.safetensors"), std::string("linked/one.safetensors"), std::string(),
        std::string("one.safetensors\\u0000"), std::string(".")}) {
    const ShardedFolder folder(R"("b.weight":"two.safetensors","a.weight":")" + name + "\"");
    fs::create_symlink(target, folder / "link.safetensors");
    fs::create_directory_symlink(outside.path(), folder / "linked");
    const Error error = open_error(folder);
    if (name == ".") {
      EXPECT_EQ(error.code, ErrorCode::not_found);  // inside, but a folder
      continue;
    }
    EXPECT_EQ(error.code, ErrorCode::bad_model) << name;
    EXPECT_EQ(error.file, folder / kIndex);
    EXPECT_EQ(error.field, "a.weight");
    const std::string index = *read_file(folder / kIndex, 1 << 20);
    EXPECT_EQ(error.offset, index.find("\"a.weight\"")) << name;
  }
}

TEST(weight_files, a_folder_whose_name_starts_like_the_models_is_outside) {
  const TemporaryFolder parent;
  fs::create_directory(parent / "model");
  fs::create_directory(parent / "model-other");
  parent.write("model-other/x.safetensors", kFirst);
  fs::create_symlink("../model-other/x.safetensors", parent / "model/x.safetensors");
  parent.write(std::string("model/") + kIndex, index_of(R"("a.weight":"x.safetensors")"));
  const auto opened = WeightFiles::open(parent / "model");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::bad_model);
}

TEST(weight_files, links_inside_the_folder_and_into_a_hugging_face_cache_are_followed) {
  const TemporaryFolder cache;
  fs::create_directories(cache / "snapshots/abc/parts");
  fs::create_directories(cache / "blobs");
  cache.write("blobs/0123", kFirst);
  cache.write("snapshots/abc/parts/two", kSecond);
  fs::create_symlink("../../blobs/0123", cache / "snapshots/abc/one.safetensors");
  fs::create_symlink("parts/two", cache / "snapshots/abc/two.safetensors");
  cache.write(std::string("snapshots/abc/") + kIndex, index_of(kGoodMap));
  const auto opened = WeightFiles::open(cache / "snapshots/abc");
  ASSERT_TRUE(opened) << opened.error().to_string();
  EXPECT_EQ(opened->names().size(), 3u);
  EXPECT_TRUE(WeightFiles::open(cache / "snapshots/abc/"));
}

TEST(weight_files, index_and_shards_must_agree) {
  const ShardedFolder missing_tensor(kGoodMap + R"(,"c.weight":"two.safetensors")");
  EXPECT_EQ(open_error(missing_tensor).field, "c.weight");
  const ShardedFolder other_shard(R"("a.weight":"two.safetensors","b.weight":"one.safetensors")");
  const Error swapped = open_error(other_shard);
  EXPECT_EQ(swapped.code, ErrorCode::bad_model);
  EXPECT_EQ(swapped.field, "a.weight");
  EXPECT_NE(swapped.message.find("two.safetensors"), std::string::npos);
  const ShardedFolder not_text(R"("a.weight":3)");
  EXPECT_EQ(open_error(not_text).field, "a.weight");
}

TEST(weight_files, a_shard_that_is_not_there_is_named) {
  const ShardedFolder folder(R"("a.weight":"three.safetensors")");
  const Error error = open_error(folder);
  EXPECT_EQ(error.code, ErrorCode::not_found);
  EXPECT_EQ(error.file, folder / "three.safetensors");
}

TEST(weight_files, a_tensor_in_two_shards_is_refused) {
  const ShardedFolder folder;
  folder.write("two.safetensors", kFirst);
  const Error error = open_error(folder);
  EXPECT_EQ(error.code, ErrorCode::bad_model);
  EXPECT_EQ(error.field, "a.weight");
  EXPECT_NE(error.message.find("one.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace fovea
