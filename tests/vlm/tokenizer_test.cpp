#include "vlm/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "support/temporary_folder.h"
#include "vlm/sentencepiece_bytes.h"

namespace fovea {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace): the writers of model bytes

const std::string kSource = FOVEA_SOURCE_DIR;
const std::string kLlama2 = kSource + "/../shared/data/llama2-tokenizer";
const std::string kFoveaBase = kSource + "/assets/models/fovea-base";

Tokenizer tokenizer_of(const std::string& bytes) {
  Result<Tokenizer> tokenizer = Tokenizer::from_bytes(bytes, "test.model");
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().to_string();
    std::abort();  // nothing to go on with
  }
  return std::move(tokenizer).value();
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  StreamDecoder stream(tokenizer);
  std::string text;
  for (const std::int32_t id : ids) text += stream.push(id);
  text += stream.finish();
  EXPECT_EQ(stream.text(), text);
  return text;
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// ---- Against Python's sentencepiece ------------------------------------------------------------

class GoldenTokens : public ::testing::TestWithParam<std::pair<const char*, std::string>> {};

TEST_P(GoldenTokens, ids_and_texts_equal_those_of_pythons_sentencepiece) {
  const auto& [name, folder] = GetParam();
  if (!is_there(folder + "/tokenizer.model")) {
    GTEST_SKIP() << folder << "/tokenizer.model is not there";
  }
  const std::string golden_path = kSource + "/tests/golden/tokenizer/" + name + ".json";
  const Result<std::string> text = read_file(golden_path, 1 << 20);
  ASSERT_TRUE(text) << text.error().to_string();
  const Result<Json> golden = parse_json(*text);
  ASSERT_TRUE(golden) << golden.error().to_string();
  const Result<std::string> model = read_file(folder + "/tokenizer.model", 1 << 25);
  ASSERT_TRUE(model);
  ASSERT_EQ(sha256_hex(std::as_bytes(std::span(*model))), golden->find("model_sha256")->as_string())
      << "another tokenizer than the stored ids are of: run tests/golden/make_tokenizer_golden.py";

  const Result<Tokenizer> tokenizer = Tokenizer::load(folder);
  ASSERT_TRUE(tokenizer) << tokenizer.error().to_string();
  EXPECT_EQ(tokenizer->bos_id(), golden->find("bos")->as_int());
  EXPECT_EQ(tokenizer->eos_id(), golden->find("eos")->as_int());
  EXPECT_EQ(tokenizer->piece_count(), golden->find("pieces")->as_int());
  ASSERT_GE(golden->find("cases")->as_array().size(), 50u);
  for (const Json& each : golden->find("cases")->as_array()) {
    const std::string& input = each.find("text")->as_string();
    std::vector<std::int32_t> expected;
    for (const Json& id : each.find("ids")->as_array()) {
      expected.push_back(static_cast<std::int32_t>(id.as_int()));
    }
    EXPECT_EQ(tokenizer->encode(input), expected) << input;
    EXPECT_EQ(tokenizer->decode(expected), each.find("decoded")->as_string());
    EXPECT_EQ(streamed(*tokenizer, expected), each.find("decoded")->as_string());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTokens,
                         ::testing::Values(std::pair("llama-2", kLlama2),
                                           std::pair("fovea-base", kFoveaBase)),
                         [](const auto& test) {
                           std::string name = test.param.first;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Tokenizer, llama_2_encodes_the_chunks_around_a_picture_as_llava_does) {
  if (!is_there(kLlama2)) GTEST_SKIP() << kLlama2 << " is not there";
  const Result<Tokenizer> tokenizer = Tokenizer::load(kLlama2);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("USER: "), (std::vector<std::int32_t>{3148, 1001, 29901, 29871}));
  EXPECT_EQ(tokenizer->encode("\nWhat"), (std::vector<std::int32_t>{29871, 13, 5618}));
  EXPECT_EQ(tokenizer->piece(13), "<0x0A>");
}

TEST(Tokenizer, streaming_equals_decoding_on_random_rows_of_ids) {
  std::vector<std::pair<std::string, Tokenizer>> tokenizers;
  tokenizers.emplace_back("bpe", tokenizer_of(small_model()));
  tokenizers.emplace_back("unigram", tokenizer_of(small_model({.model_type = 1})));
  tokenizers.emplace_back("no prefix", tokenizer_of(small_model({.add_dummy_prefix = false})));
  tokenizers.emplace_back("bare", tokenizer_of(small_model({.remove_extra_whitespaces = true})));
  tokenizers.emplace_back("surface", tokenizer_of(small_model({.unknown_surface = "[?]"})));
  if (is_there(kLlama2)) {
    tokenizers.emplace_back("llama-2", std::move(Tokenizer::load(kLlama2)).value());
  }
  std::mt19937 random(20240607);
  for (const auto& [name, tokenizer] : tokenizers) {
    for (int round = 0; round < 400; ++round) {
      std::vector<std::int32_t> ids;
      for (auto length = random() % 12; length > 0; --length) {
        // Mostly bytes, marks of spaces and control pieces, where the rules are; some ids are none.
        const auto pieces = static_cast<unsigned>(tokenizer.piece_count());
        switch (random() % 6) {
          case 0:
            ids.push_back(static_cast<std::int32_t>(random() % 3));
            break;
          case 1:
          case 2:
            ids.push_back(static_cast<std::int32_t>(3 + 0x80 + random() % 0x80));
            break;
          case 3:
            ids.push_back(static_cast<std::int32_t>(random() % (pieces + 2)) - 1);
            break;
          case 4:
            ids.push_back(static_cast<std::int32_t>(pieces - 1 - random() % 11));
            break;
          default:
            ids.push_back(static_cast<std::int32_t>(random() % 300));
            break;
        }
      }
      std::ostringstream shown;
      for (const std::int32_t id : ids) shown << id << " ";
      ASSERT_EQ(streamed(tokenizer, ids), tokenizer.decode(ids)) << name << ": " << shown.str();
    }
  }
}

TEST(Tokenizer, a_character_in_byte_pieces_comes_out_when_it_is_whole) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  StreamDecoder stream(tokenizer);
  const std::string smile = "\xF0\x9F\x99\x82";
  for (int index = 0; index < 3; ++index) {
    EXPECT_EQ(stream.push(3 + static_cast<std::uint8_t>(smile[static_cast<std::size_t>(index)])),
              "");
  }
  EXPECT_EQ(stream.push(3 + 0x82), smile);
  EXPECT_EQ(stream.push(3 + 0xE4), "");
  EXPECT_EQ(stream.push(3 + 'x'), "\xEF\xBF\xBDx");  // the byte before can no longer be completed
  EXPECT_EQ(stream.push(3 + 0xE4), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Tokenizer, only_the_first_space_is_swallowed) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  StreamDecoder stream(tokenizer);
  const std::vector<std::int32_t> ids = tokenizer.encode("a b");
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_EQ(stream.push(tokenizer.bos_id()), "");
  EXPECT_EQ(stream.push(ids[0]), "a");
  EXPECT_EQ(stream.push(ids[1]), " b");
  EXPECT_EQ(stream.push(tokenizer.eos_id()), "");
}

// ---- What users and templates write ------------------------------------------------------------

TEST(Tokenizer, control_pieces_in_text_are_ordinary_text) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  for (const std::string text : {"</s>", "<s>", "a</s>b", "<unk>", "<0x0A>", "<image>"}) {
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    for (const std::int32_t id : ids) EXPECT_GT(id, 2) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(Tokenizer, any_bytes_are_encoded_and_valid_text_comes_back) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  for (const std::string& text :
       {std::string("line\nbreak"), std::string("a\0b", 3), std::string("\x7f\x01"),
        std::string("\xE4\xBD\xA0\xE5\xA5\xBD"), std::string(5000, 'a')}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  for (const std::string text : {"\xFF\xFE", "a\x80", "\xE4\xBD", "\xED\xA0\x80", "\xF8\x88\x80"}) {
    for (const std::int32_t id : tokenizer.encode(text)) {
      EXPECT_GE(id, 0);
      EXPECT_LT(id, tokenizer.piece_count());
    }
  }
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(Tokenizer, ids_outside_the_pieces_decode_to_nothing) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  const std::int32_t count = tokenizer.piece_count();
  EXPECT_EQ(tokenizer.decode({-1, count, count + 7, std::numeric_limits<std::int32_t>::max(),
                              std::numeric_limits<std::int32_t>::min()}),
            "");
  EXPECT_EQ(tokenizer.piece(-1), "<unknown>");
  EXPECT_EQ(tokenizer.piece(count), "<unknown>");
  EXPECT_EQ(tokenizer.decode({tokenizer.bos_id(), tokenizer.eos_id()}), "");
}

TEST(Tokenizer, names_give_control_and_user_defined_pieces_but_no_ordinary_ones) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  EXPECT_EQ(tokenizer.token_id("</s>"), 2);
  EXPECT_EQ(tokenizer.token_id("<sep>"), tokenizer.piece_count() - 1);
  EXPECT_FALSE(tokenizer.token_id("abc"));
  EXPECT_FALSE(tokenizer.token_id("<0x0A>"));
  EXPECT_FALSE(tokenizer.token_id("<image>"));
}

TEST(Tokenizer, added_tokens_are_named_by_the_files_beside_the_model) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", small_model());
  folder.write("added_tokens.json", R"({"<image>": 270, "<pad>": 271})");
  folder.write("tokenizer_config.json",
               R"({"added_tokens_decoder": {"2": {"content": "</s>", "special": true},
                   "272": {"content": "<|im_end|>"}}})");
  const Result<Tokenizer> tokenizer = Tokenizer::load(folder.path().string());
  ASSERT_TRUE(tokenizer) << tokenizer.error().to_string();
  EXPECT_EQ(tokenizer->token_id("<image>"), 270);
  EXPECT_EQ(tokenizer->token_id("<|im_end|>"), 272);
  EXPECT_EQ(tokenizer->token_id("</s>"), 2);
  EXPECT_EQ(tokenizer->piece(271), "<pad>");
  EXPECT_EQ(tokenizer->piece(273), "<unknown>");
  EXPECT_EQ(tokenizer->decode({270, 271}), "");
}

// ---- Bad input ---------------------------------------------------------------------------------

Error error_of(const std::string& bytes) {
  const Result<Tokenizer> tokenizer = Tokenizer::from_bytes(bytes, "test.model");
  EXPECT_FALSE(tokenizer);
  if (tokenizer) return {};
  EXPECT_EQ(tokenizer.error().file, "test.model");
  return tokenizer.error();
}

TEST(Tokenizer, a_missing_model_says_where_to_find_one) {
  const TemporaryFolder folder;
  Result<Tokenizer> tokenizer = Tokenizer::load(folder.path().string());
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::not_found);
  EXPECT_EQ(tokenizer.error().file, folder / "tokenizer.model");
  EXPECT_EQ(tokenizer.error().remedy.find("tokenizer.json"), std::string::npos);

  folder.write("tokenizer.json", "{}");
  tokenizer = Tokenizer::load(folder.path().string());
  ASSERT_FALSE(tokenizer);
  EXPECT_NE(tokenizer.error().remedy.find("does not read tokenizer.json"), std::string::npos);
  EXPECT_NE(tokenizer.error().remedy.find("tokenizer.model"), std::string::npos);
}

TEST(Tokenizer, a_model_over_the_cap_is_too_large) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", "");
  std::filesystem::resize_file(folder / "tokenizer.model", (32u << 20) + 1);
  const Result<Tokenizer> tokenizer = Tokenizer::load(folder.path().string());
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, ErrorCode::too_large);
  EXPECT_EQ(error_of(std::string((32u << 20) + 1, '\0')).code, ErrorCode::too_large);
}

TEST(Tokenizer, damaged_models_are_refused) {
  const std::string unknown = piece("<unk>", kUnknown);
  const std::string plain = specs({.byte_fallback = false});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<std::string, std::string>> cases{
      {"empty file", ""},
      {"text", "this is no tokenizer"},
      {"no pieces", specs()},
      {"length past the end", varint(1 << 3 | 2) + varint(1000) + "x"},
      {"huge length", varint(1 << 3 | 2) + varint(~std::uint64_t{0})},
      {"number over 64 bits", std::string("\x08") + std::string(10, '\xFF') + "\x01"},
      {"ends in a number", unknown + plain + "\x08\x80"},
      {"field number 0", unknown + plain + std::string("\x02\x00", 2)},
      {"group", unknown + plain + "\x33"},
      {"pieces as numbers", integer_field(1, 5)},
      {"empty piece", unknown + piece("") + plain},
      {"zero byte", unknown + piece(std::string_view("a\0b", 3)) + plain},
      {"not UTF-8", unknown + piece("\xC3\x28") + plain},
      {"long piece", unknown + piece(std::string(513, 'a')) + plain},
      {"long user-defined piece", unknown + piece(std::string(65, 'a'), kUserDefined) + plain},
      {"not a number", unknown + piece("a", kNormal, nan) + plain},
      {"infinite", unknown + piece("a", kNormal, infinity) + plain},
      {"unknown type", unknown + piece("a", static_cast<PieceKind>(7)) + plain},
      {"twice the same", unknown + piece("a") + piece("a") + plain},
      {"a special and an ordinary piece of one name",
       unknown + piece("<s>", kControl) + piece("<s>") + plain},
      {"no unknown piece", piece("a") + plain},
      {"two unknown pieces", unknown + piece("<unk2>", kUnknown) + plain},
      {"byte pieces missing", unknown + piece("<0x00>", kByte) + specs()},
      {"a byte piece that is none", unknown + byte_pieces() + piece("<0xZZ>", kByte) + specs()},
      {"long unknown text", unknown + specs({.unknown_surface = std::string(65, '?')})},
      {"large self-test", unknown + plain + bytes_field(4, std::string((1u << 20) + 1, '\0'))},
  };
  for (const auto& [what, bytes] : cases) {
    EXPECT_EQ(error_of(bytes).code, ErrorCode::bad_model) << what;
  }
}

TEST(Tokenizer, models_it_cannot_check_are_unsupported_by_name) {
  EXPECT_EQ(error_of(small_model({.model_type = 3})).field, "model_type");
  EXPECT_EQ(error_of(small_model({.model_type = 4})).code, ErrorCode::unsupported);
  const Error table = error_of(small_model() + bytes_field(3, bytes_field(2, "table")));
  EXPECT_EQ(table.code, ErrorCode::unsupported);
  EXPECT_EQ(table.field, "precompiled_charsmap");
  EXPECT_EQ(error_of(small_model() + bytes_field(5, bytes_field(2, "table"))).code,
            ErrorCode::unsupported);
}

TEST(Tokenizer, errors_point_at_the_byte) {
  const std::string good = piece("<unk>", kUnknown);
  const Error error = error_of(good + varint(1 << 3 | 2) + varint(1000));
  ASSERT_TRUE(error.offset);
  EXPECT_EQ(*error.offset, good.size() + 3);
}

TEST(Tokenizer, wrong_files_of_added_tokens_are_refused_by_name) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"added_tokens.json", "["},
      {"added_tokens.json", "[1]"},
      {"added_tokens.json", R"({"<image>": "32000"})"},
      {"added_tokens.json", R"({"<image>": -1})"},
      {"added_tokens.json", R"({"<image>": 99999999999})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": 3})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"5": {"content": 1}}})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"123456789": {"content": "a"}}})"}};
  for (const auto& [file, content] : cases) {
    const TemporaryFolder folder;
    folder.write("tokenizer.model", small_model());
    folder.write(file, content);
    const Result<Tokenizer> tokenizer = Tokenizer::load(folder.path().string());
    ASSERT_FALSE(tokenizer) << content;
    EXPECT_EQ(tokenizer.error().code, ErrorCode::bad_model) << content;
    EXPECT_EQ(tokenizer.error().file, folder / file);
  }
}

/// Loads what may be damaged and uses it as far as it goes.
void exercise(const std::string& bytes) {
  Result<Tokenizer> tokenizer = Tokenizer::from_bytes(bytes, "mutated");
  if (!tokenizer) return;
  for (const char* text : {"", "a b abc", "\xE4\xBD\xA0 <sep>", "\xFF"}) {
    const std::vector<std::int32_t> ids = tokenizer->encode(text);
    streamed(*tokenizer, ids);
    tokenizer->decode(ids);
  }
  for (const std::int32_t id : {-1, 0, 1, 300}) tokenizer->piece(id);
}

TEST(Tokenizer, truncated_and_mutated_models_never_crash) {
  for (const int model_type : {1, 2}) {
    const std::string good = small_model({.model_type = model_type});
    for (std::size_t length = 0; length < good.size(); length += 7) {
      exercise(good.substr(0, length));
    }
    std::mt19937 random(7);
    for (int round = 0; round < 1500; ++round) {
      std::string bytes = good;
      for (auto changes = 1 + random() % 4; changes > 0; --changes) {
        const std::size_t at = random() % bytes.size();
        switch (random() % 3) {
          case 0:
            bytes[at] = static_cast<char>(random());
            break;
          case 1:
            bytes.erase(at, 1 + random() % 5);
            break;
          default:
            bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 20));
            break;
        }
      }
      exercise(bytes);
    }
  }
}

}  // namespace
}  // namespace fovea
