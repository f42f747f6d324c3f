#include "kernels/base/npy.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::TemporaryFolder;

std::string npy_text(const std::string& dictionary, const std::string& data, int version = 1) {
  std::string text = "\x93NUMPY";
  text += static_cast<char>(version);
  text += '\0';
  const std::size_t length = dictionary.size();
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
    text += static_cast<char>(length >> (8 * i) & 255);
  return text + dictionary + data;
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string text(values.size() * sizeof(T), '\0');
  std::memcpy(text.data(), values.begin(), text.size());
  return text;
}

Result<NpyArray> parse(const std::string& text) {
  return parse_npy(std::as_bytes(std::span(text)));
}

TEST(npy, written_files_are_byte_for_byte_what_numpy_writes) {
  const TemporaryFolder folder;
  const auto padded = [](std::string dictionary) {
    dictionary.resize(117, ' ');
    return dictionary + '\n';
  };
  ASSERT_TRUE(write_npy(folder / "a.npy", std::vector<std::int64_t>{2, 3},
                        std::vector<float>{0, 1, 2, 3, 4, -0.5f}));
  EXPECT_EQ(*read_file(folder / "a.npy", 1000),
            npy_text(padded("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"),
                     raw<float>({0, 1, 2, 3, 4, -0.5f})));
  ASSERT_TRUE(
      write_npy(folder / "b.npy", std::vector<std::int64_t>{1}, std::vector<std::int32_t>{7}));
  EXPECT_EQ(*read_file(folder / "b.npy", 1000),
            npy_text(padded("{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }"),
                     raw<std::int32_t>({7})));
}

TEST(npy, shapes_of_every_rank_read_back) {
  const TemporaryFolder folder;
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{}, {4}, {1, 4}, {2, 0, 3}, {1, 2, 2, 1, 1}, {0}}) {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    std::vector<float> values(static_cast<std::size_t>(count), 1.5f);
    if (!values.empty()) values.back() = std::nanf("");
    ASSERT_TRUE(write_npy(folder / "a.npy", shape, values));
    const auto size = std::filesystem::file_size(folder / "a.npy");
    EXPECT_EQ((size - values.size() * 4) % 64, 0u);
    const auto read = read_npy(folder / "a.npy");
    ASSERT_TRUE(read) << read.error().to_string();
    EXPECT_EQ(read->shape, shape);
    ASSERT_EQ(read->values.size(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(read->values[i]),
                std::bit_cast<std::uint32_t>(values[i]));
    }
  }
  ASSERT_TRUE(write_npy(folder / "i.npy", std::vector<std::int64_t>{3},
                        std::vector<std::int32_t>{-1, 0, 7}));
  EXPECT_EQ(read_npy(folder / "i.npy")->values, (std::vector<float>{-1, 0, 7}));
}

TEST(npy, a_shape_that_does_not_match_the_values_is_not_written) {
  const TemporaryFolder folder;
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{2},
                                                 {-1},
                                                 {std::int64_t{1} << 62, 4},
                                                 std::vector<std::int64_t>(33, 1)}) {
    EXPECT_FALSE(write_npy(folder / "a.npy", shape, std::vector<float>{1, 2, 3}));
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(npy, every_listed_type_and_version_is_read) {
  const auto dictionary = [](const std::string& descr) {
    return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (2,), }\n";
  };
  const std::vector<float> expected = {1.5f, -2.0f};
  for (const int version : {1, 2, 3}) {
    EXPECT_EQ(parse(npy_text(dictionary("<f4"), raw<float>({1.5f, -2.0f}), version))->values,
              expected);
  }
  EXPECT_EQ(parse(npy_text(dictionary("<f8"), raw<double>({1.5, -2.0})))->values, expected);
  EXPECT_EQ(parse(npy_text(dictionary("<f2"), raw<std::uint16_t>({0x3e00, 0xc000})))->values,
            expected);
  EXPECT_EQ(parse(npy_text(dictionary("<i4"), raw<std::int32_t>({5, -6})))->values,
            (std::vector<float>{5, -6}));
  EXPECT_EQ(parse(npy_text(dictionary("<i8"), raw<std::int64_t>({5, -6})))->values,
            (std::vector<float>{5, -6}));
}

TEST(npy, keys_in_any_order_and_either_quotes_are_read) {
  EXPECT_TRUE(parse(
      npy_text("{ \"shape\":( 1 , ) , 'fortran_order' :False,\"descr\":'<f4'}", raw<float>({1}))));
}

struct Bad {
  const char* name;
  std::string text;
  std::uint64_t offset;
};

void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.name;
}

std::vector<Bad> bad_files() {
  const std::string one = raw<float>({1});
  const auto with = [&](const std::string& descr, const std::string& order,
                        const std::string& shape) {
    return npy_text(
        "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + "}", one);
  };
  const std::string good = with("'<f4'", "False", "(1,)");
  const std::size_t data = good.size() - one.size();
  const std::size_t header = 10;
  std::string version = good;
  version[6] = 4;
  std::string long_header = good;
  long_header[9] = '\x7f';
  std::vector<Bad> files = {
      {"empty", "", 0},
      {"other_magic", "PK\x03\x04 and more text", 0},
      {"magic_alone", good.substr(0, 6), 6},
      {"version_4", version, 6},
      {"ends_in_length", good.substr(0, 9), 9},
      {"header_past_the_end", long_header, 8},
      {"data_cut", good.substr(0, good.size() - 1), data},
      {"data_too_long", good + "x", data},
      {"big_endian", with("'>f4'", "False", "(1,)"), header},
      {"objects", with("'|O'", "False", "(1,)"), header},
      {"fortran_order", with("'<f4'", "True", "(1,)"), header},
      {"no_dictionary", npy_text("[]", one), header},
      {"empty_header", npy_text("", one), header},
  };
  // Errors inside the dictionary point at the text given here.
  const auto add = [&](const char* name, const std::string& text, const char* where) {
    files.push_back({name, text, text.rfind(where)});
  };
  add("structure", with("[('a', '<f4')]", "False", "(1,)"), "[(");
  add("order_is_a_number", with("'<f4'", "0", "(1,)"), "0,");
  add("negative_extent", with("'<f4'", "False", "(-1,)"), "-1");
  add("extent_past_64_bits", with("'<f4'", "False", "(99999999999999999999,)"),
      "99999999999999999999");
  add("shape_without_end", with("'<f4'", "False", "(1,"), "}");
  add("unknown_key", npy_text("{'descr': '<f4', 'more': 1}", one), "'more'");
  add("key_twice", npy_text("{'descr': '<f4', 'descr': '<f4'}", one), "'descr'");
  const std::string lacking = npy_text("{'descr': '<f4', 'fortran_order': False}", one);
  files.push_back({"missing_shape", lacking, lacking.size() - one.size()});
  add("text_after", npy_text("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", one),
      "x");
  add("quote_without_end", npy_text("{'descr': '<f4", one), "'<f4");
  const std::string overflow = with("'<f4'", "False", "(4611686018427387904, 4)");
  files.push_back({"product_overflows", overflow, overflow.size() - one.size()});
  return files;
}

class BadNpy : public ::testing::TestWithParam<Bad> {};

TEST_P(BadNpy, is_refused_with_its_offset) {
  const auto parsed = parse(GetParam().text);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::bad_input);
  EXPECT_EQ(parsed.error().offset, GetParam().offset) << parsed.error().to_string();
  EXPECT_FALSE(parsed.error().remedy.empty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, BadNpy, ::testing::ValuesIn(bad_files()),
                         [](const auto& test) { return test.param.name; });

TEST(npy, more_extents_than_numpy_allows_are_refused) {
  std::string shape = "(";
  for (int i = 0; i < 33; ++i) shape += "1,";
  const auto parsed = parse(npy_text(
      "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ")}", raw<float>({1})));
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find("32"), std::string::npos);
}

TEST(npy, reading_errors_name_the_file) {
  const TemporaryFolder folder;
  const std::string path = folder.write("bad.npy", "no array");
  EXPECT_EQ(read_npy(path).error().file, path);
  EXPECT_EQ(read_npy(folder / "absent.npy").error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace fovea
