#include "kernels/ops/linear/algorithm_table.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "kernels/ops/linear/algorithms.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::TemporaryFolder;

AlgorithmTable example() {
  AlgorithmTable table{.card = "NVIDIA \"H100\" 80GB", .library = 130100, .products = {}};
  ProductKey key{.rows = 640,
                 .inputs = 4096,
                 .outputs = 12288,
                 .x_stride = 4096,
                 .y_stride = 12290,
                 .x = DType::bf16,
                 .y = DType::f32,
                 .accumulate = true,
                 .bias = false};
  table.products[key] = {AlgorithmWords{1, 0xfedcba9876543210, 0, ~std::uint64_t{0}, 5, 6, 7, 8},
                         577, 600};
  key.rows = 1;
  key.bias = true;
  key.x = key.y = DType::f16;
  key.x_alignment = 2;
  table.products[key] = {std::nullopt, 1, 1};
  return table;
}

/// The example's text with one piece of it replaced.
std::string with(const std::string& piece, const std::string& other) {
  std::string text = algorithm_table_text(example());
  const std::size_t at = text.find(piece);
  EXPECT_NE(at, std::string::npos) << piece;
  return at == std::string::npos ? text : text.replace(at, piece.size(), other);
}

TEST(bucket_end, token_counts_share_buckets_of_64_above_one_row) {
  EXPECT_EQ(bucket_end(1), 1);
  for (const std::int64_t rows : {2, 63, 64}) EXPECT_EQ(bucket_end(rows), 64);
  for (const std::int64_t rows : {65, 128}) EXPECT_EQ(bucket_end(rows), 128);
  EXPECT_EQ(bucket_end(577), 640);
  EXPECT_EQ(bucket_end(18064), 18112);
  for (const std::int64_t end : {1, 64, 128, 640}) {
    EXPECT_EQ(bucket_end(bucket_begin(end)), end);
    if (end > 1) {
      EXPECT_NE(bucket_end(bucket_begin(end) - 1), end);
    }
  }
}

TEST(AlgorithmTable, what_was_written_is_read_back_bit_by_bit) {
  const auto read = parse_algorithm_table(algorithm_table_text(example()));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(*read, example());
  const AlgorithmTable empty{.card = "", .library = 0, .products = {}};
  EXPECT_EQ(*parse_algorithm_table(algorithm_table_text(empty)), empty);
}

TEST(AlgorithmTable, every_broken_field_is_named_with_its_byte) {
  const struct {
    const char *piece, *other, *field;
  } cases[] = {{"\"card\": \"", "\"card\": 5, \"x\": \"", ""},
               {"-1\"", "-2\"", "format"},
               {"130100", "-1", "cublaslt"},
               {"130100", "1.5", "cublaslt"},
               {"\"cublaslt\"", "\"cublas\"", "cublaslt"},
               {"[\n{", "7, \"y\": [\n{", ""},
               {"\"rows\":1,", "\"rows\":0,", "products[0].rows"},
               {"\"rows\":1,", "\"rows\":63,", "products[0].rows"},
               {"\"rows\":640,", "\"rows\":\"640\",", "products[1].rows"},
               {"\"rows\":640,", "\"rows\":1099511627840,", "products[1].rows"},
               {"\"rows\":640,", "\"row\":640,", "products[1].rows"},
               {"\"inputs\":4096", "\"inputs\":0", "products[0].inputs"},
               {"\"outputs\":12288", "\"outputs\":-12288", "products[0].outputs"},
               {"\"x_stride\":4096", "\"x_stride\":4095", "products[0].x_stride"},
               {"\"y_stride\":12290", "\"y_stride\":12287", "products[0].y_stride"},
               {"\"x\":\"bf16\"", "\"x\":\"i8\"", "products[1].x"},
               {"\"y\":\"f32\"", "\"y\":\"f16\"", "products[1].y"},
               {"\"accumulate\":true", "\"accumulate\":1", "products[0].accumulate"},
               {"\"bias\":false", "\"bias\":null", "products[1].bias"},
               {"\"x_alignment\":2,", "\"x_alignment\":3,", "products[0].x_alignment"},
               {"\"x_alignment\":2,", "\"x_alignment\":512,", "products[0].x_alignment"},
               {"\"algorithm\":\"0", "\"algorithm\":\"", "products[1].algorithm"},
               {"\"algorithm\":\"0", "\"algorithm\":\"g", "products[1].algorithm"},
               {"\"algorithm\":\"0", "\"algorithm\":\"-", "products[1].algorithm"},
               {"\"algorithm\":\"0", "\"algorithm\":\"00", "products[1].algorithm"},
               {"\"algorithm\":\"library\"", "\"algorithm\":\"\"", "products[0].algorithm"},
               {"\"least\":577", "\"least\":576", "products[1].least"},
               {"\"least\":577", "\"least\":641", "products[1].least"},
               {"\"most\":600", "\"most\":576", "products[1].most"},
               {"\"most\":600", "\"most\":641", "products[1].most"},
               {"\"bias\":false", "\"bias\":false,\"more\":1", "products[1]"}};
  for (const auto& one : cases) {
    const auto read = parse_algorithm_table(with(one.piece, one.other));
    ASSERT_FALSE(read) << one.other;
    EXPECT_EQ(read.error().code, ErrorCode::bad_input) << one.other;
    EXPECT_EQ(read.error().field, one.field) << one.other << ": " << read.error().to_string();
    EXPECT_TRUE(read.error().offset.has_value()) << one.other;
  }
  const auto wrong = parse_algorithm_table(with("\"rows\":640", "\"rows\":65"));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(*wrong.error().offset, with("\"rows\":640", "\"rows\":65").find("\"rows\":65"));
}

TEST(AlgorithmTable, a_product_that_stands_twice_is_refused) {
  std::string text = algorithm_table_text(example());
  const std::size_t begin = text.find("{\"rows\":1,"), end = text.find(",\n", begin);
  text.insert(begin, text.substr(begin, end + 2 - begin));
  const auto read = parse_algorithm_table(text);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().field, "products[1]");
}

TEST(AlgorithmTable, a_text_cut_off_anywhere_is_refused) {
  const std::string text = algorithm_table_text(example());
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    EXPECT_FALSE(parse_algorithm_table(text.substr(0, size))) << size;
  }
  for (const char* other : {"null", "[]", "[[[[[[[[1]]]]]]]]", "{}", "7", "\"\""}) {
    EXPECT_FALSE(parse_algorithm_table(other)) << other;
  }
}

TEST(AlgorithmTable, more_products_than_allowed_are_refused) {
  AlgorithmTable table = example();
  ProductKey key = table.products.begin()->first;
  while (table.products.size() <= AlgorithmTable::kMaxProducts) {
    ++key.outputs;
    ++key.y_stride;
    table.products[key] = {std::nullopt, 1, 1};
  }
  EXPECT_FALSE(parse_algorithm_table(algorithm_table_text(table)));
  table.products.erase(table.products.begin());
  const auto most = parse_algorithm_table(algorithm_table_text(table));
  EXPECT_TRUE(most) << most.error().to_string();
}

TEST(AlgorithmTable, a_broken_file_is_named_with_the_remedy) {
  const TemporaryFolder folder;
  for (const std::string& path :
       {folder.write("text", "no table"), folder.write("cut", with("]}", "")),
        folder.write("large", std::string(AlgorithmTable::kMaxBytes + 1, ' ')),
        folder.path().string()}) {
    const auto read = read_algorithm_table(path, example().card, example().library);
    ASSERT_FALSE(read) << path;
    EXPECT_EQ(read.error().file, path);
    EXPECT_NE(read.error().remedy.find("--autotune"), std::string::npos);
  }
}

TEST(AlgorithmTable, only_a_table_of_this_card_and_version_is_used) {
  const TemporaryFolder folder;
  const AlgorithmTable table = example();
  const std::string path = folder.write("table", algorithm_table_text(table));
  EXPECT_EQ(**read_algorithm_table(path, table.card, table.library), table);
  EXPECT_FALSE(read_algorithm_table(path, "another card", table.library)->has_value());
  EXPECT_FALSE(read_algorithm_table(path, table.card, table.library + 1)->has_value());
  EXPECT_FALSE(read_algorithm_table(folder / "absent", table.card, table.library)->has_value());
}

TEST(AlgorithmTable, writing_makes_the_folder_and_leaves_the_table_alone_in_it) {
  const TemporaryFolder folder;
  const std::string path = folder / "cache/fovea/table.json";
  AlgorithmTable table = example();
  ASSERT_TRUE(write_algorithm_table(path, table));
  table.products.erase(table.products.begin());
  ASSERT_TRUE(write_algorithm_table(path, table));
  EXPECT_EQ(**read_algorithm_table(path, table.card, table.library), table);
  const std::filesystem::directory_iterator inside(folder / "cache/fovea");
  EXPECT_EQ(std::distance(inside, std::filesystem::directory_iterator()), 1);
}

TEST(AlgorithmTable, a_folder_that_cannot_be_made_is_an_error_with_the_remedy) {
  const TemporaryFolder folder;
  const auto written = write_algorithm_table(folder.write("taken", "") + "/t.json", example());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::io);
  EXPECT_NE(written.error().remedy.find("FOVEA_CACHE"), std::string::npos);
  EXPECT_EQ(folder.entries(), 1u);
}

/// An environment variable for one test.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  void set(const char* value) { value != nullptr ? ::setenv(name_, value, 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(algorithm_cache_folder, is_the_first_that_the_environment_names) {
  Variable own("FOVEA_CACHE", "here"), caches("XDG_CACHE_HOME", "/c"), home("HOME", "/h");
  EXPECT_EQ(algorithm_cache_folder(), "here");
  own.set(nullptr);
  EXPECT_EQ(algorithm_cache_folder(), "/c/fovea");
  caches.set("relative");
  EXPECT_EQ(algorithm_cache_folder(), "/h/.cache/fovea");
  home.set("");
  EXPECT_EQ(algorithm_cache_folder(), "");
}

TEST(algorithm_table_path, holds_card_and_version_and_no_separator) {
  EXPECT_EQ(algorithm_table_path("/c", "NVIDIA H100 80GB/../x", 130100),
            "/c/cublaslt-NVIDIA-H100-80GB----x-130100.json");
}

TEST(use_algorithm_table, tuning_on_the_cpu_is_refused) {
  EXPECT_TRUE(use_algorithm_table(Device{}, false));
  EXPECT_EQ(algorithms_note(Device{}), "");
  const Status tuned = use_algorithm_table(Device{}, true);
  ASSERT_FALSE(tuned);
  EXPECT_EQ(tuned.error().code, ErrorCode::usage);
  EXPECT_EQ(tuned.error().field, "--autotune");
}

}  // namespace
}  // namespace fovea
