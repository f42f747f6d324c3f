#include "kernels/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "kernels/base/mapped_file.h"
#include "kernels/base/sha256.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::TemporaryFolder;
namespace fs = std::filesystem;

std::string content_of(const std::string& path) {
  auto text = read_file(path, 1 << 20);
  return text ? *text : text.error().to_string();
}

TEST(read_file, returns_every_byte_up_to_the_cap) {
  const TemporaryFolder folder;
  const std::string bytes("a\0b\n", 4);
  const std::string path = folder.write("f", bytes);
  EXPECT_EQ(*read_file(path, 4), bytes);
  const auto capped = read_file(path, 3);
  ASSERT_FALSE(capped);
  EXPECT_EQ(capped.error().code, ErrorCode::too_large);
  EXPECT_EQ(capped.error().file, path);
  EXPECT_EQ(*read_file(folder.write("empty", ""), 0), "");
}

TEST(read_file, a_file_that_claims_no_size_is_read_to_its_end) {
  const auto text = read_file("/proc/self/status", 1 << 20);
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("Pid:"), std::string::npos);
  const auto capped = read_file("/proc/self/status", 10);
  ASSERT_FALSE(capped);
  EXPECT_EQ(capped.error().code, ErrorCode::too_large);
}

TEST(read_file, what_is_no_file_is_a_typed_error) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_file(folder / "absent", 10).error().code, ErrorCode::not_found);
  EXPECT_EQ(read_file(folder.path().string(), 10).error().code, ErrorCode::not_found);
  EXPECT_EQ(read_file("/dev/zero", 10).error().code, ErrorCode::io);
  EXPECT_EQ(read_file("", 10).error().code, ErrorCode::not_found);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_file(folder / "pipe", 10).error().code, ErrorCode::io);  // and does not wait
}

TEST(mapped_file, shows_the_bytes_and_keeps_them_when_moved) {
  const TemporaryFolder folder;
  auto opened = MappedFile::open(folder.write("f", "hello"));
  ASSERT_TRUE(opened);
  const std::byte* address = opened->bytes().data();
  MappedFile moved = std::move(*opened);
  EXPECT_EQ(moved.bytes().data(), address);
  EXPECT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(moved.bytes()[1], std::byte{'e'});
  EXPECT_EQ(moved.path(), folder / "f");
  auto empty = MappedFile::open(folder.write("empty", ""));
  ASSERT_TRUE(empty);
  EXPECT_TRUE(empty->bytes().empty());
  moved = std::move(*empty);
  EXPECT_TRUE(moved.bytes().empty());
}

TEST(mapped_file, what_is_no_file_is_a_typed_error) {
  const TemporaryFolder folder;
  EXPECT_EQ(MappedFile::open(folder / "absent").error().code, ErrorCode::not_found);
  EXPECT_EQ(MappedFile::open(folder.path().string()).error().code, ErrorCode::not_found);
  EXPECT_EQ(MappedFile::open("/dev/zero").error().code, ErrorCode::io);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(folder / "pipe").error().code, ErrorCode::io);
}

TEST(write_file_atomically, replaces_the_file_and_leaves_nothing_else) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.txt";
  ASSERT_TRUE(write_file_atomically(path, "first"));
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  ASSERT_TRUE(write_file_atomically(path, std::string_view("second\0x", 8)));
  EXPECT_EQ(content_of(path), std::string("second\0x", 8));
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST(write_file_atomically, an_open_reader_keeps_the_old_content) {
  const TemporaryFolder folder;
  const std::string path = folder.write("f", "old");
  const auto reader = MappedFile::open(path);
  ASSERT_TRUE(reader);
  ASSERT_TRUE(write_file_atomically(path, "new and longer"));
  EXPECT_EQ(reader->bytes().size(), 3u);
  EXPECT_EQ(reader->bytes()[0], std::byte{'o'});
}

TEST(write_file_atomically, writes_through_links_and_keeps_them) {
  const TemporaryFolder folder;
  folder.write("real", "old");
  fs::create_symlink("real", folder / "link");
  ASSERT_TRUE(write_file_atomically(folder / "link", "new"));
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(content_of(folder / "real"), "new");
}

TEST(write_file_atomically, failures_name_the_path_and_leave_nothing) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "taken");
  for (const std::string& path : {folder / "absent/f", folder / "taken"}) {
    const auto status = write_file_atomically(path, "x");
    ASSERT_FALSE(status) << path;
    EXPECT_EQ(status.error().code, ErrorCode::io);
    EXPECT_EQ(status.error().file, path);
  }
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(write_file_atomically("/dev/full", "x").error().code, ErrorCode::io);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(write_file_atomically, writes_into_the_current_folder) {
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  const auto status = write_file_atomically("plain.txt", "x");
  fs::current_path(before);
  ASSERT_TRUE(status);
  EXPECT_EQ(content_of(folder / "plain.txt"), "x");
}

std::string digest_of(std::string_view text) {
  return sha256_hex(std::as_bytes(std::span(text)));
}

TEST(make_folder, makes_what_is_not_there_and_names_what_cannot_be) {
  const TemporaryFolder folder;
  const std::string deep = folder / "a/b";
  EXPECT_TRUE(make_folder(deep));
  EXPECT_TRUE(fs::is_directory(deep));
  EXPECT_TRUE(make_folder(deep)) << "once more";
  const std::string taken = folder.write("file", "x");
  const Status refused = make_folder(taken);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::io);
  EXPECT_EQ(refused.error().file, taken);
}

TEST(sha256, equals_the_published_vectors) {
  // FIPS 180-4 examples (NIST), and the million letters of its appendix.
  EXPECT_EQ(digest_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest_of("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklm"
                      "nopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(digest_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(sha256, pieces_of_any_length_give_the_digest_of_the_whole) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(std::as_const(text)));
  for (const std::size_t piece : {1u, 3u, 55u, 56u, 63u, 64u, 65u, 127u, 129u, 999u}) {
    Sha256 digest;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      digest.update(bytes.subspan(at, std::min(piece, bytes.size() - at)));
    }
    EXPECT_EQ(digest.hex(), digest_of(text)) << piece;
  }
}

}  // namespace
}  // namespace fovea
