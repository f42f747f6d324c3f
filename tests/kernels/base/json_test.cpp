#include "kernels/base/json.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/tensors.h"

namespace fovea {
namespace {

Error refused(std::string_view text, const JsonLimits& limits = {}) {
  const auto parsed = parse_json(text, limits);
  if (parsed) {
    ADD_FAILURE() << "accepted: " << text.substr(0, 80);
    return {};
  }
  EXPECT_EQ(parsed.error().code, ErrorCode::bad_input);
  EXPECT_FALSE(parsed.error().message.empty());
  EXPECT_TRUE(parsed.error().offset.has_value() || text.size() > limits.max_bytes);
  return parsed.error();
}

TEST(json, values_of_every_kind_are_read) {
  const auto parsed = parse_json(
      " {\"n\":null,\"t\":true,\"i\":-9223372036854775808,\"j\":9223372036854775807,"
      "\"d\":-1.5e-3,\"s\":\"a\\u00e9\\n\\ud83d\\ude00\",\"a\":[1,[],{}],\"o\":{\"x\":1}}\r\n\t");
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  const Json& root = *parsed;
  EXPECT_TRUE(root.find("n")->is_null());
  EXPECT_TRUE(root.find("t")->as_bool());
  EXPECT_EQ(root.find("i")->as_int(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(root.find("j")->as_int(), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(root.find("d")->as_double(), -1.5e-3);
  EXPECT_FALSE(root.find("d")->is_int());
  EXPECT_EQ(root.find("s")->as_string(), "a\xc3\xa9\n\xf0\x9f\x98\x80");
  EXPECT_EQ(root.find("a")->as_array().size(), 3u);
  EXPECT_EQ(root.find("o")->find("x")->as_double(), 1.0);
  EXPECT_EQ(root.find("missing"), nullptr);
  EXPECT_EQ(root.find("a")->find("x"), nullptr);
  EXPECT_EQ(root.as_object()[3].first, "j");
}

TEST(json, syntax_errors_say_where_reading_failed) {
  EXPECT_EQ(refused("[1, nul]").offset, 7u);
  EXPECT_EQ(refused("{\"a\" 1}").offset, 5u);
  EXPECT_EQ(refused("[1,,2]").offset, 3u);
  EXPECT_EQ(refused("[1,2").offset, 4u);
  EXPECT_EQ(refused("").offset, 0u);
  EXPECT_EQ(refused("\"abc").offset, 4u);
  EXPECT_EQ(refused("[01]").offset, 2u);
  EXPECT_EQ(refused("\"a\nb\"").offset, 2u);
  EXPECT_EQ(refused("{} x").offset, 3u);
  EXPECT_EQ(refused("{}\n{}").offset, 3u);
  EXPECT_EQ(refused("// no\n1").offset, 0u);
  EXPECT_EQ(refused("[1,]").offset, 3u);
}

TEST(json, messages_do_not_repeat_the_text) {
  const Error error = refused("[\"" + std::string(100'000, 'x') + "\n\"]");
  EXPECT_LT(error.message.size(), 200u);
  EXPECT_LT(refused("{\"" + std::string(5000, 'k') + "\":1,\"" + std::string(5000, 'k') + "\":2}")
                .message.size(),
            200u);
}

TEST(json, duplicate_keys_are_refused_at_the_second) {
  EXPECT_EQ(refused("{\"a\":1, \"b\":{\"a\":2}, \"a\":3}").offset, 21u);
  EXPECT_EQ(refused("{\"a\":1,\"\\u0061\":2}").offset, 7u);
  std::string large = "{";
  for (int i = 0; i < 1000; ++i) large += "\"k" + std::to_string(i) + "\":[0],";
  EXPECT_TRUE(parse_json(large + "\"z\":0}"));
  EXPECT_EQ(refused(large + "\"k3\":0}").offset, large.size());
  EXPECT_EQ(refused(large + "\"k900\":0}").offset, large.size());
  EXPECT_TRUE(parse_json("[{\"a\":1},{\"a\":1}]"));
}

TEST(json, a_hundred_thousand_keys_are_read_in_bounded_time) {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  const auto parsed = parse_json(text + "}");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->as_object().size(), 100'000u);
}

TEST(json, integers_outside_64_bits_are_refused_not_rounded) {
  EXPECT_EQ(refused("[9223372036854775808]").offset, 1u);
  EXPECT_EQ(refused("{\"a\": 18446744073709551615}").offset, 6u);
  EXPECT_EQ(refused("-9223372036854775809").offset, 0u);
  const Error error = refused("[1, 123456789012345678901234567890]");
  EXPECT_EQ(error.offset, 4u);
  EXPECT_NE(error.message.find("64 bits"), std::string::npos);
  EXPECT_EQ(parse_json("1e20")->as_double(), 1e20);
}

TEST(json, numbers_that_json_does_not_have_are_refused) {
  for (const char* text :
       {"NaN", "Infinity", "-Infinity", "[nan]", "1e999", "-1e999", "+1", ".5", "1.", "0x10"}) {
    refused(text);
  }
}

TEST(json, invalid_utf8_and_zero_bytes_are_refused) {
  for (const std::string_view text :
       {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xe2\x82\"",
        "\"\\ud800\"", "\xff"}) {
    refused(text);
  }
  EXPECT_EQ(refused(std::string_view("1\0 garbage", 10)).offset, 1u);
  EXPECT_EQ(refused(std::string_view("\"a\0\"", 4)).offset, 2u);
  EXPECT_EQ(refused(std::string_view("{}\0", 3)).offset, 2u);
}

TEST(json, limits_on_depth_count_and_size_hold_exactly) {
  const JsonLimits shallow{.max_depth = 3};
  EXPECT_TRUE(parse_json("[[[1]]]", shallow));
  EXPECT_EQ(refused("[[{\"a\":[1]}]]", shallow).offset, 7u);
  const JsonLimits few{.max_values = 4};
  EXPECT_TRUE(parse_json("[1,2,3]", few));
  EXPECT_EQ(refused("[1,2,3,4]", few).offset, 7u);
  const JsonLimits small{.max_bytes = 5};
  EXPECT_TRUE(parse_json("[1,2]", small));
  refused("[1, 2]", small);
}

TEST(json, absurd_nesting_is_an_error_not_a_stack_overflow) {
  refused(std::string(1'000'000, '['));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  refused(objects);
}

TEST(json, written_text_escapes_and_reads_back_the_same) {
  Json root = Json::object();
  root.set("quote\"back\\slash", "line\nfeed\ttab\rreturn\x01\x7f");
  root.set("empty", Json::array());
  root.set("nested", Json::object().set("list", Json::array_of(std::vector<int>{1, 2})));
  root.set("accent", "\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(root.dump(),
            "{\"quote\\\"back\\\\slash\":\"line\\nfeed\\ttab\\rreturn\\u0001\\u007f\",\"empty\":[],"
            "\"nested\":{\"list\":[1,2]},\"accent\":\"\xc3\xa9\xf0\x9f\x98\x80\"}");
  EXPECT_EQ(root.find("nested")->dump(2), "{\n  \"list\": [\n    1,\n    2\n  ]\n}");
  for (const int indent : {-1, 0, 2}) {
    const auto again = parse_json(root.dump(indent));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->dump(), root.dump());
  }
}

TEST(json, written_doubles_are_short_and_read_back_exactly) {
  EXPECT_EQ(Json(0.1).dump(), "0.1");
  EXPECT_EQ(Json(3.0).dump(), "3.0");
  EXPECT_EQ(Json(-0.0).dump(), "-0.0");
  EXPECT_EQ(Json(std::nan("")).dump(), "null");
  EXPECT_EQ(Json(INFINITY).dump(), "null");
  testing::Random random;
  for (int i = 0; i < 100'000; ++i) {
    const auto bits = static_cast<std::uint64_t>(random.integer(0, 0xffffffff)) << 32 |
                      static_cast<std::uint64_t>(random.integer(0, 0xffffffff));
    const auto value = std::bit_cast<double>(bits);
    if (!std::isfinite(value)) continue;
    const auto again = parse_json(Json(value).dump());
    ASSERT_TRUE(again) << value;
    ASSERT_FALSE(again->is_int()) << value;
    ASSERT_EQ(std::bit_cast<std::uint64_t>(again->as_double()), bits) << value;
  }
}

TEST(json, invalid_utf8_is_replaced_when_written) {
  const std::string replacement = "\xef\xbf\xbd";
  EXPECT_EQ(Json("a\xff"
                 "b")
                .dump(),
            "\"a" + replacement + "b\"");
  EXPECT_EQ(Json("\xe2\x82").dump(), "\"" + replacement + replacement + "\"");
  EXPECT_EQ(Json("\xed\xa0\x80").dump(), "\"" + replacement + replacement + replacement + "\"");
  testing::Random random;
  for (int i = 0; i < 2000; ++i) {
    std::string noise;
    for (int k = 0; k < 20; ++k) noise += static_cast<char>(random.integer(-128, 127));
    ASSERT_TRUE(parse_json(Json(noise).dump())) << Json(noise).dump();
  }
}

TEST(json, integers_of_every_width_are_held_exactly) {
  EXPECT_EQ(Json(std::uint64_t{1} << 62).as_int(), std::int64_t{1} << 62);
  EXPECT_FALSE(Json(std::numeric_limits<std::uint64_t>::max()).is_int());
  EXPECT_EQ(Json(7u).as_int(), 7);
  EXPECT_EQ(Json(-7LL).as_int(), -7);
  EXPECT_TRUE(Json(true).is_bool());
}

TEST(json, members_are_replaced_and_items_appended) {
  Json value;
  value.set("a", 1).set("b", 2).set("a", 3);
  EXPECT_EQ(value.dump(), "{\"a\":3,\"b\":2}");
  Json list;
  list.push("x");
  list.push(Json());
  EXPECT_EQ(list.dump(), "[\"x\",null]");
}

TEST(json_offset, finds_members_and_items_and_nothing_else) {
  const std::string_view text =
      " {\"a}\": [1, {\"x\":2, \"y\" :[5,6]}], \"b\\\"\" : 3,\"c\":{\"d\":0}} ";
  const auto offset = [&](std::vector<std::size_t> path) { return json_offset(text, path); };
  EXPECT_EQ(offset({0}), text.find("\"a}"));
  EXPECT_EQ(offset({1}), text.find("\"b"));
  EXPECT_EQ(offset({2}), text.find("\"c"));
  EXPECT_EQ(offset({3}), text.size());
  EXPECT_EQ(offset({0, 0}), text.find("1"));
  EXPECT_EQ(offset({0, 1}), text.find("{\"x"));
  EXPECT_EQ(offset({0, 1, 1}), text.find("\"y"));
  EXPECT_EQ(offset({0, 1, 1, 1}), text.find("6"));
  EXPECT_EQ(offset({0, 1, 2}), text.size());
  EXPECT_EQ(offset({1, 0}), text.size());
  EXPECT_EQ(offset({2, 0}), text.find("\"d"));
  EXPECT_EQ(offset({}), text.size());
}

}  // namespace
}  // namespace fovea
