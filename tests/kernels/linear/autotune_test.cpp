#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "kernels/base/file.h"
#include "kernels/ops/linear/algorithm_table.h"
#include "kernels/ops/linear/algorithms.h"
#include "kernels/ops/linear/linear.h"
#include "support/temporary_folder.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

constexpr std::int64_t kInputs = 320, kOutputs = 512;
const double kSums = 2e-6 * std::sqrt(static_cast<double>(kInputs));  // added in another order

class AutotuneTest : public DeviceTest<DeviceCase> {
 protected:
  void SetUp() override {
    DeviceTest<DeviceCase>::SetUp();
    if (const char* named = std::getenv("FOVEA_CACHE")) before_ = named;
  }
  void TearDown() override {
    if (IsSkipped()) return;
    // What later tests compute is theirs to say: no table is in use any more.
    use(folder_ / "none", false);
    before_.empty() ? ::unsetenv("FOVEA_CACHE") : ::setenv("FOVEA_CACHE", before_.c_str(), 1);
  }

  void use(const std::string& folder, bool autotune) {
    ::setenv("FOVEA_CACHE", folder.c_str(), 1);
    const Status used = use_algorithm_table({.kind = GetParam().device, .index = 0}, autotune);
    ASSERT_TRUE(used) << used.error().to_string();
  }
  std::string table_in(const std::string& folder) const {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      return entry.path().string();
    }
    return {};
  }

  /// A product on the device of `rows` rows; what it fails with is in `failed`.
  std::vector<float> product(std::int64_t rows, std::vector<float>* expected = nullptr,
                             DType result = DType::f32) {
    Random random(static_cast<std::uint64_t>(rows));
    const DType dtype = GetParam().dtype;
    GuardedTensor weight({kOutputs, kInputs},
                         rounded(random.normals(kOutputs * kInputs, 0.05f), dtype));
    GuardedTensor bias({kOutputs}, rounded(random.normals(kOutputs), dtype));
    GuardedTensor x({rows, kInputs}, rounded(random.normals(rows * kInputs), dtype), 8);
    GuardedTensor y({rows, kOutputs}, 8);
    Context here = cpu_context(1), there = test_context(GetParam().device);
    const LinearDType kept = dtype == DType::f32    ? LinearDType::f32
                             : dtype == DType::bf16 ? LinearDType::bf16
                                                    : LinearDType::f16;
    auto linear = Linear::create(there, weight.view(), bias.view(), kept);
    if (!linear) {
      ADD_FAILURE() << linear.error().to_string();
      return {};
    }
    Placed px(there, x, dtype), py(there, y, result);
    const Status made = linear->apply(there, px.view(), py.view());
    failed = made ? std::nullopt : std::optional(made.error());
    if (!made) return {};
    py.fetch();
    EXPECT_TRUE(y.guards_intact());
    if (expected != nullptr) {
      auto reference = Linear::create(here, weight.view(), bias.view(), LinearDType::f32);
      GuardedTensor sums({rows, kOutputs});
      EXPECT_TRUE(reference && reference->apply(here, x.view(), sums.view()));
      *expected = sums.values();
    }
    return y.values();
  }

  std::optional<Error> failed;
  TemporaryFolder folder_;

 private:
  std::string before_;
};

TEST_P(AutotuneTest, tuned_products_equal_the_cpus) {
  use(folder_ / "tuned", true);
  for (const std::int64_t rows : {2, 65, 128, 577}) {
    for (const DType result : {DType::f32, GetParam().dtype}) {
      std::vector<float> expected;
      const std::vector<float> found = product(rows, &expected, result);
      ASSERT_FALSE(failed) << failed->to_string();
      const double rounding = result == DType::f32 ? 0 : GetParam().tolerance;
      EXPECT_TRUE(close_to(found, wide(expected), kSums + rounding)) << rows;
    }
  }
}

TEST_P(AutotuneTest, a_bucket_is_timed_once_and_kept_for_all_its_token_counts) {
  use(folder_ / "tuned", true);
  product(67);
  product(128);
  product(130);
  ASSERT_FALSE(failed) << failed->to_string();
  auto text = read_file(table_in(folder_ / "tuned"), AlgorithmTable::kMaxBytes);
  ASSERT_TRUE(text);
  const auto table = parse_algorithm_table(*text);
  ASSERT_TRUE(table) << table.error().to_string();
  std::vector<std::int64_t> rows;
  for (const auto& [key, kept] : table->products) {
    rows.push_back(key.rows);
    EXPECT_EQ(bucket_end(kept.least), key.rows);
    EXPECT_EQ(bucket_end(kept.most), key.rows);
  }
  EXPECT_EQ(rows, (std::vector<std::int64_t>{128, 192}));
}

TEST_P(AutotuneTest, two_runs_with_one_table_give_the_same_bits) {
  use(folder_ / "tuned", true);
  const std::vector<float> tuned = product(100);
  std::filesystem::copy(folder_ / "tuned", folder_ / "again");
  use(folder_ / "tuned", false);
  const std::vector<float> first = product(100);
  use(folder_ / "again", false);
  const std::vector<float> second = product(100);
  ASSERT_FALSE(failed) << failed->to_string();
  EXPECT_TRUE(same_bits(tuned, first));
  EXPECT_TRUE(same_bits(first, second));
  EXPECT_NE(algorithms_note({.kind = GetParam().device, .index = 0}).find("again"),
            std::string::npos);
}

TEST_P(AutotuneTest, an_algorithm_the_library_does_not_offer_counts_as_none_until_tuned_again) {
  use(folder_ / "tuned", true);
  product(100);
  const std::string path = table_in(folder_ / "tuned");
  auto table = parse_algorithm_table(*read_file(path, AlgorithmTable::kMaxBytes));
  ASSERT_TRUE(table);
  for (auto& [key, kept] : table->products) {
    kept.words.emplace().fill(0xfedcba9876543210);
  }
  const std::string damaged =
      folder_ / ("damaged/" + std::filesystem::path(path).filename().string());
  ASSERT_TRUE(write_algorithm_table(damaged, *table));
  for (const bool autotune : {false, true}) {
    use(folder_ / "damaged", autotune);
    std::vector<float> expected;
    const std::vector<float> found = product(100, &expected);
    ASSERT_FALSE(failed) << failed->to_string();
    EXPECT_TRUE(close_to(found, wide(expected), kSums));
  }
}

TEST_P(AutotuneTest, a_broken_file_is_refused_before_anything_is_computed) {
  use(folder_ / "tuned", true);
  const std::string name = std::filesystem::path(table_in(folder_ / "tuned")).filename();
  std::filesystem::create_directory(folder_ / "broken");
  const std::string broken = folder_.write("broken/" + name, "{\"format\": 1}");
  ::setenv("FOVEA_CACHE", (folder_ / "broken").c_str(), 1);
  const Status used = use_algorithm_table({.kind = GetParam().device, .index = 0}, false);
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().code, ErrorCode::bad_input);
  EXPECT_EQ(used.error().file, broken);
}

INSTANTIATE_TEST_SUITE_P(Devices, AutotuneTest, gpu_types(), case_name);

}  // namespace
}  // namespace fovea::testing
