#include "vlm/kv_cache.h"

#include <gtest/gtest.h>

#include "kernels/copy.h"
#include "kernels/ops/attention/attention.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

constexpr std::int64_t kHeads = 2, kHeadDim = 8, kWidth = kHeads * kHeadDim;

/// What attention reads of a layer is what tests look at: the keys behind one-hot queries.
class KvCacheTest : public DeviceTest<DeviceCase> {
 protected:
  /// Key c of every token and head, read back through the cache's own view.
  std::vector<float> keys(Context& context, const KvCache& cache, int layer, std::int64_t channel) {
    const std::int64_t tokens = cache.length(layer);
    std::vector<float> query(kWidth, 0.0f);
    for (std::int64_t head = 0; head < kHeads; ++head) {
      query[static_cast<std::size_t>(head * kHeadDim + channel)] = 1.0f;
    }
    GuardedTensor row({1, kHeads, kHeadDim}, query),
        lse({kHeads, 1}, std::vector<float>(kHeads, 0.0f));
    GuardedTensor out({kHeads, tokens});
    Placed prow(context, row), plse(context, lse), pout(context, out);
    std::vector<std::int32_t> columns(static_cast<std::size_t>(tokens));
    for (std::size_t i = 0; i < columns.size(); ++i) columns[i] = static_cast<std::int32_t>(i);
    EXPECT_TRUE(cache.prepare(context));
    ScoreArgs args;
    args.query = prow.view();
    args.lse = plse.view();
    args.kv = cache.view(layer);
    args.columns = columns;
    args.rows = Reduction::sum;
    args.out = pout.view();
    const Status status = attention_scores(context, args);
    EXPECT_TRUE(status) << status.error().to_string();
    pout.fetch();
    std::vector<float> values = out.values();
    for (float& value : values) value = std::round(std::log(value) * 1000.0f);
    return values;
  }
  /// Rows whose numbers are the token's, in thousandths.
  std::vector<float> rows(std::int32_t first, std::int64_t count) const {
    std::vector<float> values;
    for (std::int64_t token = first; token < first + count; ++token) {
      values.insert(values.end(), kWidth, static_cast<float>(token) / 1000.0f);
    }
    return values;
  }
  void append(Context& context, KvCache& cache, int layer, std::int32_t first, std::int64_t count) {
    GuardedTensor block({count, kHeads, kHeadDim}, rows(first, count), 4);
    Placed placed(context, block);
    const Status status = cache.append(context, layer, placed.view(), placed.view());
    ASSERT_TRUE(status) << status.error().to_string();
  }
  static std::vector<float> numbers(std::int32_t first, std::int32_t count) {
    std::vector<float> values;
    for (std::int64_t head = 0; head < kHeads; ++head) {
      for (std::int32_t i = 0; i < count; ++i) values.push_back(static_cast<float>(first + i));
    }
    return values;
  }
  KvCache make(Context& context) const {
    return KvCache(2, kHeads, kHeadDim, DType::f32, context.device);
  }
};

TEST_P(KvCacheTest, rows_are_found_again_across_pages_and_appends) {
  Context context = test_context(GetParam().device);
  KvCache cache = make(context);
  append(context, cache, 0, 0, 60);
  append(context, cache, 0, 60, 1);
  append(context, cache, 0, 61, 150);
  append(context, cache, 1, 0, 3);
  EXPECT_EQ(keys(context, cache, 0, 5), numbers(0, 211));
  EXPECT_EQ(keys(context, cache, 1, 0), numbers(0, 3));
}

TEST_P(KvCacheTest, a_copy_keeps_what_it_was_when_the_other_goes_on) {
  Context context = test_context(GetParam().device);
  KvCache cache = make(context);
  append(context, cache, 0, 0, 70);
  KvCache copy = cache;
  copy.truncate(0, 66);
  append(context, cache, 0, 500, 10);
  append(context, copy, 0, 900, 2);
  std::vector<float> first = keys(context, copy, 0, 1);
  EXPECT_EQ(first[65], 65.0f);
  EXPECT_EQ(first[66], 900.0f);
  EXPECT_EQ(keys(context, cache, 0, 1)[66], 66.0f);
  EXPECT_EQ(keys(context, cache, 0, 1)[70], 500.0f);
}

TEST_P(KvCacheTest, a_row_written_where_only_the_device_knows_is_the_next_one) {
  if (GetParam().device == DeviceKind::cpu) GTEST_SKIP() << "the CPU appends for itself";
  Context context = test_context(GetParam().device);
  KvCache cache = make(context);
  append(context, cache, 0, 0, 63);
  append(context, cache, 1, 0, 10);
  for (std::int32_t step = 0; step < 3; ++step) {  // over the end of layer 0's page
    ASSERT_TRUE(cache.grow(context));
    for (int layer = 0; layer < 2; ++layer) {
      GuardedTensor block({1, kHeads, kHeadDim}, rows(700 + step, 1));
      Placed placed(context, block);
      ASSERT_TRUE(write_last_row(context, cache.table(layer), placed.view(), placed.view()));
    }
  }
  EXPECT_EQ(cache.length(0), 66);
  EXPECT_EQ(keys(context, cache, 0, 3)[65], 702.0f);
  EXPECT_EQ(keys(context, cache, 0, 3)[63], 700.0f);
  EXPECT_EQ(keys(context, cache, 1, 3)[12], 702.0f);
}

INSTANTIATE_TEST_SUITE_P(Devices, KvCacheTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
