#include "kernels/weights/safetensors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "support/safetensors_bytes.h"
#include "support/tensors.h"

namespace fovea {
namespace {

using testing::raw_bytes;
using testing::safetensors_bytes;
using testing::safetensors_file;

Result<Safetensors> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)));
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(parse_safetensors, tensors_come_in_the_order_of_their_data) {
  const std::string file =
      safetensors_bytes(R"({"b":{"dtype":"F32","shape":[1,2],"data_offsets":[3,11]},)"
                        R"("__metadata__":{"format":"pt","note":"é"},)"
                        R"("a":{"data_offsets":[0,3],"shape":[3],"dtype":"U8","more":null}})",
                        "abcdefghijk");
  const auto parsed = parse(file);
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  ASSERT_EQ(parsed->tensors.size(), 2u);
  EXPECT_EQ(parsed->tensors[0].name, "a");
  EXPECT_EQ(text_of(parsed->tensors[0].bytes), "abc");
  EXPECT_EQ(parsed->tensors[1].name, "b");
  EXPECT_EQ(parsed->tensors[1].dtype, "F32");
  EXPECT_EQ(parsed->tensors[1].shape, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(text_of(parsed->tensors[1].bytes), "defghijk");
  EXPECT_EQ(parsed->metadata.at("note"), "é");
}

TEST(parse_safetensors, white_space_around_the_header_is_padding) {
  EXPECT_TRUE(parse(safetensors_bytes("  \n{}\t   ", "")));
  EXPECT_TRUE(parse(safetensors_bytes("{}", "")));
}

TEST(parse_safetensors, empty_and_scalar_tensors_are_tensors) {
  const auto parsed =
      parse(safetensors_bytes(R"({"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                              R"("e":{"dtype":"F32","shape":[4,0],"data_offsets":[8,8]},)"
                              R"("f":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                              "12345678"));
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  EXPECT_EQ(parsed->tensors[0].name, "f");
  EXPECT_EQ(parsed->tensors[1].bytes.size(), 8u);
  EXPECT_TRUE(parsed->tensors[1].shape.empty());
  EXPECT_TRUE(parsed->tensors[2].bytes.empty());
}

TEST(parse_safetensors, every_dtype_of_the_format_has_its_size) {
  const std::vector<std::pair<std::string, int>> bits = {
      {"BOOL", 8},    {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
      {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16},    {"BF16", 16},
      {"I32", 32},    {"U32", 32}, {"F32", 32}, {"F64", 64},    {"I64", 64},
      {"U64", 64},    {"C64", 64}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}};
  for (const auto& [dtype, size] : bits) {
    const std::string data(static_cast<std::size_t>(size), 'x');  // eight elements
    EXPECT_TRUE(parse(safetensors_file({{"w", dtype, {8}, data}}))) << dtype;
    EXPECT_FALSE(parse(safetensors_file({{"w", dtype, {8}, data + "x"}}))) << dtype;
  }
}

struct Bad {
  const char* name;
  std::string file;
  std::string field;  // tensor at fault, or empty
  std::size_t offset;
  const char* message;  // part of it
};

void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.name;
}

/// A file with tensors "a" (4 bytes) and then `second`, whose declaration is at fault.
Bad bad_second(const char* name, const std::string& declaration, const char* message,
               const std::string& data = "12345678") {
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"second":)" + declaration + "}";
  return {name, safetensors_bytes(header, data), "second", 8 + header.find("\"second\""), message};
}

std::vector<Bad> bad_files() {
  const std::string good = safetensors_file({{"w", "F32", {2}, "12345678"}});
  const std::string empty_header("\0\0\0\0\0\0\0\0", 8);
  std::string over_cap = good;
  over_cap.replace(0, 8, raw_bytes<std::uint64_t>({100'000'001}));
  std::string past_end = good;
  past_end.replace(0, 8, raw_bytes<std::uint64_t>({good.size() - 7}));
  std::string enormous = good;
  enormous.replace(0, 8, std::string(8, '\xff'));
  const std::string long_name(257, 'n');
  const std::string declaration = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  return {
      {"no_bytes", "", "", 0, "8 bytes"},
      {"seven_bytes", "1234567", "", 7, "8 bytes"},
      {"header_over_the_cap", over_cap, "", 0, "at most 100000000"},
      {"header_past_the_end", past_end, "", 0, "has"},
      {"header_of_2_to_64", enormous, "", 0, "at most 100000000"},
      {"header_empty", empty_header, "", 8, "not a JSON object"},
      {"header_an_array", safetensors_bytes("[]", ""), "", 8, "not a JSON object"},
      {"header_with_byte_order_mark", safetensors_bytes("\xef\xbb\xbf{}", ""), "", 8, "not a JSON"},
      {"header_not_json", safetensors_bytes("{\"a\":nope}", ""), "", 14, "not valid JSON"},
      {"header_cut", safetensors_bytes("{\"a\":", ""), "", 13, "not valid JSON"},
      {"header_not_utf8", safetensors_bytes("{\"\xff\":1}", ""), "", 10, "not valid JSON"},
      {"header_then_text", safetensors_bytes("{} {}", ""), "", 11, "not valid JSON"},
      {"header_zero_padded", safetensors_bytes(std::string("{}\0", 3), ""), "", 10, "zero byte"},
      {"duplicate_name",
       safetensors_bytes("{\"a\":" + declaration + ",\"a\":" + declaration + "}", ""), "",
       8 + 6 + declaration.size(), "twice"},
      {"duplicate_field", safetensors_bytes(R"({"a":{"dtype":"U8","dtype":"U8"}})", ""), "", 27,
       "twice"},
      {"name_too_long", safetensors_bytes("{\"" + long_name + "\":" + declaration + "}", ""),
       long_name.substr(1), 9, "at most 256"},
      {"name_with_control_characters",
       safetensors_bytes("{\"a\\u001b[2J\":" + declaration + "}", ""), "\"a\\u001b[2J\"", 9,
       "control"},
      {"metadata_not_an_object", safetensors_bytes(R"({"__metadata__":[]})", ""), "__metadata__", 9,
       "metadata"},
      {"metadata_not_of_strings", safetensors_bytes(R"({"__metadata__":{"a":1}})", ""),
       "__metadata__", 9, "metadata"},
      bad_second("entry_not_an_object", "7", "expected an object"),
      bad_second("dtype_missing", R"({"shape":[4],"data_offsets":[4,8]})", "dtype"),
      bad_second("shape_missing", R"({"dtype":"U8","data_offsets":[4,8]})", "shape"),
      bad_second("offsets_missing", R"({"dtype":"U8","shape":[4]})", "data_offsets"),
      bad_second("dtype_unknown", R"({"dtype":"F7","shape":[4],"data_offsets":[4,8]})", "\"F7\""),
      bad_second("dtype_in_lower_case", R"({"dtype":"u8","shape":[4],"data_offsets":[4,8]})",
                 "\"u8\""),
      bad_second("dtype_not_a_string", R"({"dtype":8,"shape":[4],"data_offsets":[4,8]})", "dtype"),
      bad_second("shape_not_a_list", R"({"dtype":"U8","shape":4,"data_offsets":[4,8]})", "shape"),
      bad_second("extent_negative", R"({"dtype":"U8","shape":[-4,-1],"data_offsets":[4,8]})",
                 "shape"),
      bad_second("extent_a_fraction", R"({"dtype":"U8","shape":[4.0],"data_offsets":[4,8]})",
                 "shape"),
      bad_second("extent_a_string", R"({"dtype":"U8","shape":["4"],"data_offsets":[4,8]})",
                 "shape"),
      bad_second("shape_product_overflows",
                 R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[4,8]})",
                 "64 bits"),
      bad_second("shape_overflows_before_a_zero",
                 R"({"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[4,4]})",
                 "64 bits"),
      bad_second("size_in_bits_overflows",
                 R"({"dtype":"F64","shape":[1152921504606846976],"data_offsets":[4,8]})",
                 "64 bits"),
      bad_second("shape_larger_than_its_bytes",
                 R"({"dtype":"F32","shape":[2],"data_offsets":[4,8]})", "need 8 bytes"),
      bad_second("shape_smaller_than_its_bytes",
                 R"({"dtype":"U8","shape":[3],"data_offsets":[4,8]})", "need 3 bytes"),
      bad_second("part_of_a_byte", R"({"dtype":"F4","shape":[7],"data_offsets":[4,8]})",
                 "whole bytes"),
      bad_second("offsets_not_a_list", R"({"dtype":"U8","shape":[4],"data_offsets":4})",
                 "data_offsets"),
      bad_second("one_offset", R"({"dtype":"U8","shape":[4],"data_offsets":[4]})", "data_offsets"),
      bad_second("three_offsets", R"({"dtype":"U8","shape":[4],"data_offsets":[4,8,8]})",
                 "data_offsets"),
      bad_second("offset_negative", R"({"dtype":"U8","shape":[4],"data_offsets":[-4,0]})",
                 "data_offsets"),
      bad_second("offset_a_fraction", R"({"dtype":"U8","shape":[4],"data_offsets":[4.0,8]})",
                 "data_offsets"),
      bad_second("offsets_backwards", R"({"dtype":"U8","shape":[4],"data_offsets":[8,4]})",
                 "outside"),
      bad_second("offsets_past_the_end", R"({"dtype":"U8","shape":[5],"data_offsets":[4,9]})",
                 "outside"),
      bad_second(
          "offsets_near_2_to_63",
          R"({"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]})",
          "outside"),
      bad_second("hole", R"({"dtype":"U8","shape":[3],"data_offsets":[5,8]})", "leave a hole"),
      bad_second("overlap", R"({"dtype":"U8","shape":[5],"data_offsets":[3,8]})", "overlap"),
      bad_second("same_bytes_twice", R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})",
                 "overlap", "1234"),
      {"first_does_not_begin_at_0",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "12"), "a", 9,
       "leave a hole"},
      {"bytes_after_the_last_tensor", good + "!", "", good.size(), "1 bytes at the end"},
      {"data_cut", good.substr(0, good.size() - 1), "w", good.find("\"w\""), "outside"},
      {"data_without_tensors", safetensors_bytes("{}", "x"), "", 10, "belong to no tensor"},
      {"offset_past_64_bits",
       safetensors_bytes(R"({"a":{"data_offsets":[0,18446744073709551616]}})", ""), "", 8 + 24,
       "64 bits"},
      {"nested_too_deep", safetensors_bytes("{\"a\":" + std::string(1000, '['), ""), "", 8 + 5 + 63,
       "levels deep"},
  };
}

class BadSafetensors : public ::testing::TestWithParam<Bad> {};

TEST_P(BadSafetensors, is_refused_with_tensor_offset_and_remedy) {
  const Bad& bad = GetParam();
  const auto parsed = parse(bad.file);
  ASSERT_FALSE(parsed);
  const Error& error = parsed.error();
  EXPECT_EQ(error.code, ErrorCode::bad_model);
  EXPECT_NE(error.message.find(bad.message), std::string::npos) << error.to_string();
  EXPECT_EQ(error.field, bad.field) << error.to_string();
  ASSERT_TRUE(error.offset) << error.to_string();
  EXPECT_EQ(*error.offset, bad.offset) << error.to_string();
  EXPECT_FALSE(error.remedy.empty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, BadSafetensors, ::testing::ValuesIn(bad_files()),
                         [](const auto& test) { return test.param.name; });

TEST(parse_safetensors, more_than_the_cap_of_tensors_is_refused) {
  std::string header = "{";
  for (int i = 0; i <= 100'001; ++i) {
    header += (i > 0 ? ",\"" : "\"") + std::to_string(i) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  const auto refused = parse(safetensors_bytes(header + "}", ""));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("100000"), std::string::npos);
}

TEST(parse_safetensors, random_files_round_trip) {
  testing::Random random(3);
  const std::vector<std::pair<std::string, std::int64_t>> types = {
      {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U8", 1}};
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<testing::TensorBytes> tensors;
    const std::int64_t count = random.integer(0, 12);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto& [dtype, size] = types[static_cast<std::size_t>(random.integer(0, 4))];
      testing::TensorBytes tensor{"t" + std::to_string(i), dtype, {}, ""};
      std::int64_t bytes = size;
      for (std::int64_t rank = random.integer(0, 6); rank > 0; --rank) {
        tensor.shape.push_back(random.integer(trial % 5 == 0 ? 0 : 1, 4));
        bytes *= tensor.shape.back();
      }
      for (std::int64_t k = 0; k < bytes; ++k) {
        tensor.data += static_cast<char>(random.integer(-128, 127));
      }
      tensors.push_back(std::move(tensor));
    }
    const std::string file =
        safetensors_file(tensors, static_cast<std::size_t>(random.integer(0, 9)));
    const auto parsed = parse(file);
    ASSERT_TRUE(parsed) << parsed.error().to_string();
    ASSERT_EQ(parsed->tensors.size(), tensors.size());
    for (const SafetensorsEntry& entry : parsed->tensors) {
      const auto& made = tensors[std::stoul(entry.name.substr(1))];
      ASSERT_EQ(entry.dtype, made.dtype);
      ASSERT_EQ(entry.shape, made.shape);
      ASSERT_EQ(text_of(entry.bytes), made.data);
    }
  }
}

TEST(parse_safetensors, every_truncation_of_a_good_file_is_refused) {
  const std::string file =
      safetensors_file({{"a", "F32", {2, 2}, std::string(16, 'a')}, {"b", "F16", {3}, "123456"}});
  ASSERT_TRUE(parse(file));
  for (std::size_t size = 0; size < file.size(); ++size) {
    ASSERT_FALSE(parse(file.substr(0, size))) << size;
  }
}

}  // namespace
}  // namespace fovea
