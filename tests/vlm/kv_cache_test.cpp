#include "vlm/kv_cache.h"

#include <gtest/gtest.h>

#include <array>

#include "kernels/copy.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/rope/rope.h"
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
  static constexpr float kTheta = 10000.0f;
  static Status write_turned(Context& context, const KvCache& cache, int layer, Placed& query,
                             Placed& key, std::int32_t position) {
    const OnDevice<std::int32_t> there(context, {position});
    const ConstTensorView where(reinterpret_cast<const std::byte*>(there.data()), DType::i32, {1},
                                context.device);
    FOVEA_CHECK(turn_and_write_last_row(context, cache.table(layer), query.view(), key.view(),
                                        key.view(), where, kTheta));
    return synchronize(context);
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

TEST_P(KvCacheTest, rows_of_several_sequences_find_their_own_pages) {
  Context context = test_context(GetParam().device);
  constexpr std::array<std::int64_t, 4> kRows{70, 0, 1, 130};
  std::vector<KvCache> caches;
  for (std::size_t i = 0; i < kRows.size(); ++i) caches.push_back(make(context));
  append(context, caches[0], 1, 0, 60);
  append(context, caches[1], 1, 0, 2);
  append(context, caches[2], 1, 0, 64);
  std::vector<float> all;
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    const auto part = rows(static_cast<std::int32_t>(200 * (i + 1)), kRows[i]);
    all.insert(all.end(), part.begin(), part.end());
  }
  GuardedTensor block({201, kHeads, kHeadDim}, all, 4);
  Placed placed(context, block);
  std::vector<KvCache*> given;
  for (KvCache& cache : caches) given.push_back(&cache);
  ASSERT_TRUE(KvCache::append_all(context, 1, given, kRows, placed.view(), placed.view()));
  const auto second_half = [&](std::size_t i, std::int32_t before) {
    const std::vector<float> found = keys(context, caches[i], 1, 5);
    const auto length = static_cast<std::size_t>(caches[i].length(1));
    EXPECT_EQ(length, static_cast<std::size_t>(before + kRows[i]));
    for (std::int32_t row = 0; row < before; ++row) {
      EXPECT_EQ(found[static_cast<std::size_t>(row)], static_cast<float>(row));
    }
    for (std::int64_t row = 0; row < kRows[i]; ++row) {
      EXPECT_EQ(found[static_cast<std::size_t>(before + row)],
                static_cast<float>(200 * (static_cast<std::int64_t>(i) + 1) + row));
    }
  };
  second_half(0, 60);
  second_half(1, 2);
  second_half(2, 64);
  second_half(3, 0);
  EXPECT_EQ(caches[0].length(0), 0);
}

TEST_P(KvCacheTest, the_last_rows_of_several_sequences_are_those_of_each_alone) {
  if (GetParam().device == DeviceKind::cpu) GTEST_SKIP() << "the CPU appends for itself";
  Context context = test_context(GetParam().device);
  constexpr std::int64_t kSequences = 3, kPages = 4;
  const std::vector<std::int32_t> lengths{5, 64, 130}, positions{1234, 0, 77};
  GuardedTensor query({kSequences, kHeads, kHeadDim}, Random(1).normals(kSequences * kWidth), 4),
      key({kSequences, kHeads, kHeadDim}, Random(2).normals(kSequences * kWidth), 4);
  const std::vector<float> as_given = query.values();
  Placed pquery(context, query), pkey(context, key);
  std::vector<KvCache> together, apart;
  std::vector<std::int64_t> pages(kSequences * 2 * 2 * kPages);
  for (std::size_t i = 0; i < kSequences; ++i) {
    for (std::vector<KvCache>* list : {&together, &apart}) {
      list->push_back(make(context));
      append(context, list->back(), 1, 0, lengths[i]);
      ASSERT_TRUE(list->back().reserve(context, 1));
      list->back().advance(1);
      ASSERT_TRUE(list->back().prepare(context));
    }
    ASSERT_TRUE(together[i].list_pages(kPages, pages.data() + i * 2 * 2 * kPages));
  }
  std::vector<std::int32_t> counts;
  for (const std::int32_t length : lengths) counts.push_back(length + 1);
  counts.push_back(0);  // nobody: its row is not written
  const OnDevice<std::int64_t> pages_there(context, pages);
  const OnDevice<std::int32_t> counts_there(context, counts), positions_there(context, positions);
  KvTables tables;
  auto* first = reinterpret_cast<const std::byte**>(const_cast<std::int64_t*>(pages_there.data()) +
                                                    2 * kPages);  // of layer 1
  tables.first = {first, first + kPages, const_cast<std::int32_t*>(counts_there.data()),
                  KvCache::kPageTokens, DType::f32};
  tables.page_stride = 2 * 2 * kPages;
  tables.length_stride = 1;
  const ConstTensorView where(reinterpret_cast<const std::byte*>(positions_there.data()),
                              DType::i32, {kSequences}, context.device);
  ASSERT_TRUE(turn_and_write_last_rows(context, tables, pquery.view(), pkey.view(), pkey.view(),
                                       where, kTheta));
  ASSERT_TRUE(synchronize(context));
  pquery.fetch();
  for (std::size_t i = 0; i < kSequences; ++i) {
    const auto begin = static_cast<std::ptrdiff_t>(i * kWidth);
    GuardedTensor own_query(
        {1, kHeads, kHeadDim},
        std::vector<float>(as_given.begin() + begin, as_given.begin() + begin + kWidth));
    const std::vector<float> key_values = key.values();
    GuardedTensor own_key(
        {1, kHeads, kHeadDim},
        std::vector<float>(key_values.begin() + begin, key_values.begin() + begin + kWidth));
    Placed pown_query(context, own_query), pown_key(context, own_key);
    ASSERT_TRUE(write_turned(context, apart[i], 1, pown_query, pown_key, positions[i]));
    pown_query.fetch();
    const std::vector<float> turned = query.values();
    EXPECT_TRUE(same_bits(own_query.values(), std::vector<float>(turned.begin() + begin,
                                                                 turned.begin() + begin + kWidth)));
    for (std::int64_t channel = 0; channel < kHeadDim; ++channel) {
      EXPECT_EQ(keys(context, together[i], 1, channel), keys(context, apart[i], 1, channel));
    }
  }
}

// At position 0 nothing turns.
TEST_P(KvCacheTest, a_row_written_where_only_the_device_knows_is_the_next_one) {
  if (GetParam().device == DeviceKind::cpu) GTEST_SKIP() << "the CPU appends for itself";
  Context context = test_context(GetParam().device);
  KvCache cache = make(context);
  append(context, cache, 0, 0, 63);
  append(context, cache, 1, 0, 10);
  for (std::int32_t step = 0; step < 3; ++step) {  // over the end of layer 0's page
    ASSERT_TRUE(cache.reserve(context, 1));
    cache.advance(1);
    ASSERT_TRUE(cache.prepare(context));
    for (int layer = 0; layer < 2; ++layer) {
      GuardedTensor block({1, kHeads, kHeadDim}, rows(700 + step, 1));
      Placed placed(context, block);
      ASSERT_TRUE(write_turned(context, cache, layer, placed, placed, 0));
    }
  }
  EXPECT_EQ(cache.length(0), 66);
  EXPECT_EQ(keys(context, cache, 0, 3)[65], 702.0f);
  EXPECT_EQ(keys(context, cache, 0, 3)[63], 700.0f);
  EXPECT_EQ(keys(context, cache, 1, 3)[12], 702.0f);
}

TEST_P(KvCacheTest, a_row_that_turns_on_its_way_is_what_rope_and_append_make_of_it) {
  if (GetParam().device == DeviceKind::cpu) GTEST_SKIP() << "the CPU appends for itself";
  Context context = test_context(GetParam().device);
  const std::vector<float> query_values = Random(1).normals(2 * kWidth);
  const std::vector<float> key_values = Random(2).normals(kWidth);
  GuardedTensor query({1, 2 * kHeads, kHeadDim}, query_values),
      turned_query({1, 2 * kHeads, kHeadDim}, query_values);
  GuardedTensor key({1, kHeads, kHeadDim}, key_values),
      turned_key({1, kHeads, kHeadDim}, key_values);
  Placed pquery(context, query), pkey(context, key), pturned_query(context, turned_query),
      pturned_key(context, turned_key);

  KvCache apart = make(context), together = make(context);
  append(context, apart, 0, 0, 5);
  append(context, together, 0, 0, 5);
  const std::vector<std::int32_t> position{1234};
  ASSERT_TRUE(rope(context, pturned_query.view(), position, kTheta));
  ASSERT_TRUE(rope(context, pturned_key.view(), position, kTheta));
  ASSERT_TRUE(apart.append(context, 0, pturned_key.view(), pkey.view()));
  ASSERT_TRUE(together.reserve(context, 1));
  together.advance(1);
  ASSERT_TRUE(together.prepare(context));
  ASSERT_TRUE(write_turned(context, together, 0, pquery, pkey, position[0]));
  pquery.fetch();
  pturned_query.fetch();
  EXPECT_TRUE(same_bits(query.values(), turned_query.values()));
  for (std::int64_t channel = 0; channel < kHeadDim; ++channel) {
    EXPECT_EQ(keys(context, together, 0, channel), keys(context, apart, 0, channel));
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, KvCacheTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
