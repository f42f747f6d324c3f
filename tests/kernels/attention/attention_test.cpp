#include "kernels/ops/attention/attention.h"

#include <gtest/gtest.h>

#include "kernels/attention/attention_problem.h"

namespace fovea::testing {
namespace {

class AttentionTest : public DeviceTest<KvCase> {
 protected:
  /// attention() equals the dense softmax in double, stays inside its blocks, and gives the same
  /// bits on one thread and on three. On a GPU, rows that are not aligned take another way than
  /// rows that are.
  void expect_equals_dense(const Problem& problem) {
    for (const std::int64_t padding : {7, 8}) {
      if (padding == 8 && GetParam().device == DeviceKind::cpu) continue;
      SCOPED_TRACE(::testing::Message() << "padding " << padding);
      expect_equals_dense(problem, {.padding = padding});
    }
  }
  void expect_equals_dense(const Problem& problem, const Solved::Options& options) {
    Solved solved(problem, GetParam(), ++stream_);
    solved.solve_dense();
    const Solved::Answer one = solved.run(1, options);
    ASSERT_TRUE(one.status) << one.status.error().to_string();
    EXPECT_TRUE(one.guards);
    EXPECT_TRUE(close_to(one.out, solved.expected_out, GetParam().tolerance)) << "out";
    EXPECT_TRUE(close_to(one.lse, solved.expected_lse, GetParam().lse_tolerance)) << "lse";
    const Solved::Answer three = solved.run(3, options);
    ASSERT_TRUE(three.status);
    EXPECT_TRUE(same_bits(one.out, three.out)) << "out on three threads";
    EXPECT_TRUE(same_bits(one.lse, three.lse)) << "lse on three threads";
  }

 private:
  std::uint64_t stream_ = 100;
};

TEST_P(AttentionTest, every_head_dim_equals_dense) {
  for (const std::int32_t head_dim : {1, 2, 6, 15, 32, 64, 80, 96, 100, 128, 256}) {
    SCOPED_TRACE(head_dim);
    Problem problem;
    problem.sequences = {{37, 90}};
    problem.head_dim = head_dim;
    expect_equals_dense(problem);
    problem.sequences = {{1, 90}};
    expect_equals_dense(problem);
  }
}

TEST_P(AttentionTest, every_group_size_equals_dense) {
  for (const std::int32_t group : {1, 2, 3, 4, 5, 8, 13}) {
    for (const std::int32_t rows : {1, 2, 9, 70}) {
      SCOPED_TRACE(::testing::Message() << group << " query heads a kv head, " << rows << " rows");
      Problem problem;
      problem.kv_heads = 2;
      problem.heads = 2 * group;
      problem.sequences = {{rows, 150}};
      expect_equals_dense(problem);
    }
  }
}

TEST_P(AttentionTest, row_counts_equal_dense) {
  for (const MaskKind mask : {MaskKind::full, MaskKind::causal}) {
    for (const std::int32_t rows : {1, 2, 7, 8, 23, 24, 25, 47, 97, 193}) {
      SCOPED_TRACE(rows);
      Problem problem;
      problem.mask = mask;
      problem.heads = 3;
      problem.kv_heads = 1;
      problem.sequences = {{rows, rows}};
      expect_equals_dense(problem);
    }
  }
}

TEST_P(AttentionTest, vision_tower_shape_equals_dense) {
  Problem problem;
  problem.mask = MaskKind::full;
  problem.layout = KvLayout::token_major;
  problem.page_tokens = 577;
  problem.head_dim = 64;
  problem.sequences = {{577, 577}};
  expect_equals_dense(problem);
}

TEST_P(AttentionTest, prompt_shape_equals_dense) {
  Problem problem;
  problem.heads = 4;
  problem.kv_heads = 2;
  problem.head_dim = 64;
  problem.page_tokens = 64;
  problem.sequences = {{640, 640}};
  expect_equals_dense(problem);
}

TEST_P(AttentionTest, every_page_size_equals_dense) {
  for (const KvLayout layout : {KvLayout::head_major, KvLayout::token_major}) {
    for (const std::int32_t page_tokens : {1, 3, 16, 64, 1000}) {
      for (const std::int32_t rows : {1, 40}) {
        SCOPED_TRACE(::testing::Message() << page_tokens << " tokens a page, " << rows << " rows");
        Problem problem;
        problem.layout = layout;
        problem.page_tokens = page_tokens;
        problem.bias = true;
        problem.sequences = {{rows, 205}};
        expect_equals_dense(problem);
      }
    }
  }
}

TEST_P(AttentionTest, sequences_of_different_lengths_equal_dense) {
  for (const MaskKind mask : {MaskKind::full, MaskKind::causal}) {
    Problem problem;
    problem.mask = mask;
    problem.heads = 4;
    problem.kv_heads = 2;
    problem.bias = true;
    problem.sequences = {{1, 1}, {1, 700}, {30, 30}, {0, 12}, {5, 64}, {101, 333}, {1, 257}};
    expect_equals_dense(problem);
  }
}

TEST_P(AttentionTest, rows_without_keys_are_zero) {
  for (const MaskKind mask : {MaskKind::full, MaskKind::causal}) {
    Problem problem;
    problem.mask = mask;
    // No keys at all; fewer keys than rows, so that the first causal rows see none.
    problem.sequences = {{1, 0}, {3, 0}, {50, 20}, {4, 2}};
    expect_equals_dense(problem);
  }
}

TEST_P(AttentionTest, nothing_to_do_is_fine) {
  Problem problem;
  expect_equals_dense(problem);  // no sequence
  problem.sequences = {{0, 10}, {0, 0}};
  expect_equals_dense(problem);
}

TEST_P(AttentionTest, extreme_logits_stay_finite) {
  for (const std::int32_t rows : {1, 40}) {
    Problem problem;
    problem.head_dim = 64;
    problem.key_deviation = 3e3f;  // logits of some 1e4
    problem.sequences = {{rows, 300}};
    Solved solved(problem, GetParam(), 7);
    solved.solve_dense();
    const Solved::Answer answer = solved.run(2);
    ASSERT_TRUE(answer.status);
    // A logit of 1e4 has a rounding error of some 1e-3 in float32, and so has its exponential.
    EXPECT_TRUE(close_to(answer.out, solved.expected_out, 2e-2));
    EXPECT_TRUE(close_to(answer.lse, solved.expected_lse, 1e-6));
  }
}

TEST_P(AttentionTest, a_bias_of_minus_infinity_hides_a_key) {
  for (const std::int32_t rows : {1, 30}) {
    Problem problem;
    problem.bias = true;
    problem.mask = MaskKind::full;
    problem.sequences = {{rows, 200}, {rows, 20}};
    Solved solved(problem, GetParam(), 8);
    const float hidden = -std::numeric_limits<float>::infinity();
    for (std::size_t t = 0; t < 190; ++t) solved.biases[0][t] = hidden;
    for (float& bias : solved.biases[1]) bias = hidden;
    solved.solve_dense();
    const Solved::Answer answer = solved.run(1);
    ASSERT_TRUE(answer.status);
    EXPECT_TRUE(close_to(answer.out, solved.expected_out, GetParam().tolerance));
    EXPECT_TRUE(close_to(answer.lse, solved.expected_lse, GetParam().lse_tolerance));
  }
}

TEST_P(AttentionTest, a_nan_in_the_query_stays_in_its_row) {
  Problem problem;
  problem.sequences = {{30, 100}};
  Solved solved(problem, GetParam(), 9);
  const Solved::Answer clean = solved.run(1);
  solved.query[4 * 2 * 16] = std::numeric_limits<float>::quiet_NaN();  // row 4, head 0
  const Solved::Answer dirty = solved.run(1);
  for (std::size_t i = 0; i < clean.out.size(); ++i) {
    const bool touched = i / 16 == 4 * 2;
    EXPECT_EQ(std::isnan(dirty.out[i]), touched) << i;
    if (!touched) {
      EXPECT_EQ(dirty.out[i], clean.out[i]) << i;
    }
  }
}

TEST_P(AttentionTest, decode_row_equals_prefill_row) {
  for (const std::int32_t group : {1, 4, 8}) {
    Problem problem;
    problem.kv_heads = 2;
    problem.heads = 2 * group;
    problem.head_dim = 64;
    problem.bias = true;
    problem.sequences = {{300, 300}};
    Solved prefill(problem, GetParam(), 10);
    problem.sequences = {{1, 300}};
    Solved decode(problem, GetParam(), 10);  // same stream: same keys, values and biases
    const std::size_t row = static_cast<std::size_t>(problem.heads) * 64;
    std::copy(prefill.query.end() - static_cast<std::ptrdiff_t>(row), prefill.query.end(),
              decode.query.begin());
    const Solved::Answer all = prefill.run(2);
    const Solved::Answer last = decode.run(2);
    const std::vector<double> expected(all.out.end() - static_cast<std::ptrdiff_t>(row),
                                       all.out.end());
    EXPECT_TRUE(close_to(last.out, expected, GetParam().tolerance));
  }
}

TEST_P(AttentionTest, a_history_read_early_changes_nothing) {
  for (const std::int32_t group : {1, 4}) {
    for (const std::int32_t length : {1, 2, 31, 33, 64, 65, 257, 700}) {
      SCOPED_TRACE(::testing::Message() << group << " heads a kv head, " << length << " keys");
      Problem problem;
      problem.kv_heads = 2;
      problem.heads = 2 * group;
      problem.head_dim = 64;
      problem.sequences = {{1, length}, {1, 90}};
      Solved solved(problem, GetParam(), 12);
      const Solved::Answer plain = solved.run(1);
      const Solved::Answer early = solved.run(1, {.history_settled = true});
      ASSERT_TRUE(plain.status && early.status);
      EXPECT_TRUE(same_bits(plain.out, early.out));
      EXPECT_TRUE(same_bits(plain.lse, early.lse));
    }
  }
}

/// Rows that follow a sequence, some of it empty or long.
Problem decoded_rows(std::int32_t sequences, std::int32_t heads, std::int32_t kv_heads, std::int32_t head_dim) {
  Problem problem;
  problem.heads = heads;
  problem.kv_heads = kv_heads;
  problem.head_dim = head_dim;
  problem.page_tokens = 64;
  for (std::int32_t s = 0; s < sequences; ++s) {
    problem.sequences.push_back({1, s < 4 ? s : s % 16 == 10 ? 300 : 23 * s % 90});
  }
  return problem;
}

TEST_P(AttentionTest, decoded_rows_of_many_sequences_equal_dense) {
  // As many kv heads as a GPU has room for at a time, and fewer.
  for (const std::int32_t head_dim : {8, 64, 72, 136}) {
    SCOPED_TRACE(::testing::Message() << "heads of " << head_dim);
    Problem problem = decoded_rows(32, 32, 32, head_dim);
    problem.bias = head_dim == 64;
    expect_equals_dense(problem, {.padding = head_dim == 8 ? 7 : 8});
  }
  for (const std::int32_t group : {1, 3, 13}) {
    for (const std::int32_t head_dim : {56, 128, 256}) {
      SCOPED_TRACE(::testing::Message() << group << " heads a kv head, of " << head_dim);
      expect_equals_dense(decoded_rows(32, 9 * group, 9, head_dim), {.padding = 8});
    }
  }
}

TEST_P(AttentionTest, several_rows_of_many_sequences_equal_dense) {
  for (const std::int32_t page_tokens : {1, 8, 1000}) {
    SCOPED_TRACE(page_tokens);
    Problem problem = decoded_rows(32, 16, 16, 32);
    problem.page_tokens = page_tokens;
    problem.layout = page_tokens == 8 ? KvLayout::token_major : KvLayout::head_major;
    for (std::size_t s = 0; s < problem.sequences.size(); ++s) {
      problem.sequences[s].rows = static_cast<std::int32_t>(s % 4);
    }
    expect_equals_dense(problem, {.padding = 8});
  }
}

TEST_P(AttentionTest, a_history_of_many_sequences_read_early_changes_nothing) {
  for (const std::int32_t sequences : {12, 32}) {
    for (const std::int32_t kv_heads : {8, 32}) {
      SCOPED_TRACE(::testing::Message() << sequences << " sequences, " << kv_heads << " kv heads");
      Solved solved(decoded_rows(sequences, 32, kv_heads, 64), GetParam(), 14);
      const Solved::Answer plain = solved.run(1);
      const Solved::Answer early = solved.run(1, {.history_settled = true});
      ASSERT_TRUE(plain.status && early.status);
      EXPECT_TRUE(same_bits(plain.out, early.out));
      EXPECT_TRUE(same_bits(plain.lse, early.lse));
    }
  }
}

TEST_P(AttentionTest, a_decoded_row_depends_on_its_sequence_alone) {
  for (const std::int32_t kv_heads : {8, 32}) {
    Solved solved(decoded_rows(32, 32, kv_heads, 64), GetParam(), 15);
    const Solved::Answer clean = solved.run(1);
    const std::size_t row = 32 * 64, dirty_row = 17;
    std::fill_n(solved.query.begin() + static_cast<std::ptrdiff_t>(dirty_row * row), row,
                std::numeric_limits<float>::quiet_NaN());
    const Solved::Answer dirty = solved.run(1);
    for (std::size_t i = 0; i < clean.out.size(); ++i) {
      const bool touched = i / row == dirty_row;
      ASSERT_EQ(std::isnan(dirty.out[i]), touched) << i;
      if (!touched) {
        ASSERT_EQ(dirty.out[i], clean.out[i]) << i;
      }
    }
  }
}

TEST_P(AttentionTest, lse_may_be_left_out) {
  Problem problem;
  problem.sequences = {{1, 40}, {33, 40}};
  Solved solved(problem, GetParam(), 11);
  const Solved::Answer with = solved.run(1);
  const Solved::Answer without = solved.run(1, {.with_lse = false});
  ASSERT_TRUE(without.status);
  EXPECT_TRUE(same_bits(with.out, without.out));
}

TEST_P(AttentionTest, every_shape_of_the_tensor_cores_equals_dense) {
  for (const MaskKind mask : {MaskKind::full, MaskKind::causal}) {
    for (const std::int32_t head_dim : {32, 64, 80, 96, 128}) {
      SCOPED_TRACE(head_dim);
      Problem problem;
      problem.mask = mask;
      problem.heads = 4;
      problem.kv_heads = 2;
      problem.head_dim = head_dim;
      problem.page_tokens = 64;
      problem.bias = head_dim == 96;
      problem.sequences = {{65, 65}, {129, 200}, {64, 64}};
      expect_equals_dense(problem);
      problem.layout = KvLayout::token_major;
      expect_equals_dense(problem);
    }
  }
}

TEST_P(AttentionTest, rows_and_keys_around_whole_tiles_equal_dense) {
  for (const std::int32_t head_dim : {64, 128}) {
    for (const Sequence& sequence :
         {Sequence{127, 127}, Sequence{128, 128}, Sequence{129, 257}, Sequence{193, 320}, Sequence{256, 511},
          Sequence{70, 640}, Sequence{300, 897}}) {
      SCOPED_TRACE(::testing::Message() << sequence.rows << " rows over " << sequence.length << " keys of " << head_dim);
      Problem problem;
      problem.kv_heads = 1;
      problem.head_dim = head_dim;
      problem.page_tokens = 64;
      problem.sequences = {sequence};
      expect_equals_dense(problem, {.padding = 8});
    }
  }
}

TEST_P(AttentionTest, long_sequences_side_by_side_equal_dense) {
  for (const MaskKind mask : {MaskKind::full, MaskKind::causal}) {
    Problem problem;
    problem.mask = mask;
    problem.heads = 6;
    problem.kv_heads = 2;
    problem.head_dim = 128;
    problem.page_tokens = 128;
    problem.bias = mask == MaskKind::full;
    problem.sequences = {{200, 520}, {90, 40}, {129, 129}, {20, 0}, {40, 700}};
    expect_equals_dense(problem, {.padding = 8});
  }
}

TEST_P(AttentionTest, rows_of_many_heads_equal_dense) {
  // As many as a GPU has multiprocessors, and more.
  for (const MaskKind mask : {MaskKind::full, MaskKind::causal}) {
    for (const std::int32_t head_dim : {64, 128}) {
      Problem problem;
      problem.mask = mask;
      problem.heads = 60;
      problem.kv_heads = 3;
      problem.head_dim = head_dim;
      problem.page_tokens = 64;
      problem.sequences = {{150, 290}, {129, 130}};
      expect_equals_dense(problem, {.padding = 8});
    }
  }
}

TEST_P(AttentionTest, more_sequences_than_one_launch_takes_equal_dense) {
  Problem problem;
  problem.head_dim = 32;
  problem.page_tokens = 64;
  for (std::int32_t s = 0; s < 70; ++s) problem.sequences.push_back({s % 5 == 4 ? 20 : 1, 30 + s});
  expect_equals_dense(problem);
}

TEST_P(AttentionTest, a_bound_above_the_length_changes_nothing) {
  for (const std::int32_t rows : {1, 30}) {
    Problem problem;
    problem.head_dim = 64;
    problem.page_tokens = 64;
    problem.sequences = {{rows, 60}, {rows, 300}};
    const Solved solved(problem, GetParam(), 13);
    const Solved::Answer exact = solved.run(1);
    const Solved::Answer roomy = solved.run(1, {.beyond = 1000});
    ASSERT_TRUE(roomy.status);
    EXPECT_TRUE(same_bits(exact.out, roomy.out));
    EXPECT_TRUE(same_bits(exact.lse, roomy.lse));
  }
}

INSTANTIATE_TEST_SUITE_P(kv, AttentionTest, ::testing::ValuesIn(kKvCases),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(AttentionErrors, arguments_that_disagree_are_usage_errors) {
  Problem problem;
  problem.sequences = {{2, 5}, {1, 3}};
  const Solved solved(problem, kKvCases[0], 12);
  GuardedTensor query(solved.query_shape(), solved.query);
  GuardedTensor out(solved.query_shape());
  GuardedTensor lse({problem.heads, solved.rows()});
  const std::vector<KvView> kv = {solved.kv[0].view(), solved.kv[1].view()};
  AttentionArgs good;
  good.query = query.view();
  good.row_offsets = solved.offsets;
  good.kv = kv;
  good.scale = solved.scale;
  good.out = out.view();
  good.lse = lse.view();
  Context context = cpu_context(1);
  ASSERT_TRUE(attention(context, good));

  const auto expect_usage = [&](const char* what, const auto& spoil) {
    AttentionArgs bad = good;
    std::vector<KvView> views = kv;
    std::vector<std::int32_t> offsets = solved.offsets;
    spoil(bad, views, offsets);
    bad.kv = views;
    bad.row_offsets = offsets;
    const Status status = attention(context, bad);
    ASSERT_FALSE(status) << what;
    EXPECT_EQ(status.error().code, ErrorCode::usage) << what;
  };
  using Views = std::vector<KvView>;
  using Offsets = std::vector<std::int32_t>;
  expect_usage("query type",
               [](AttentionArgs& a, Views&, Offsets&) { a.query.dtype = DType::bf16; });
  expect_usage("out shape", [](AttentionArgs& a, Views&, Offsets&) { a.out.shape[2] = 8; });
  expect_usage("lse shape", [](AttentionArgs& a, Views&, Offsets&) { a.lse.shape[1] = 2; });
  expect_usage("scale", [](AttentionArgs& a, Views&, Offsets&) { a.scale = NAN; });
  expect_usage("offsets too few", [](AttentionArgs&, Views&, Offsets& o) { o.pop_back(); });
  expect_usage("offsets fall", [](AttentionArgs&, Views&, Offsets& o) { o[1] = 9; });
  expect_usage("offsets miss a row", [](AttentionArgs&, Views&, Offsets& o) { o[2] = 2; });
  expect_usage("kv head_dim", [](AttentionArgs&, Views& v, Offsets&) { v[1].head_dim = 8; });
  expect_usage("kv heads", [](AttentionArgs&, Views& v, Offsets&) { v[0].kv_heads = 3; });
  expect_usage("kv type", [](AttentionArgs&, Views& v, Offsets&) { v[0].dtype = DType::f16; });
  expect_usage("kv length", [](AttentionArgs&, Views& v, Offsets&) { v[0].length = nullptr; });
  expect_usage("page size", [](AttentionArgs&, Views& v, Offsets&) { v[0].page_tokens = 0; });
  expect_usage("pages", [](AttentionArgs&, Views& v, Offsets&) { v[0].value_pages = nullptr; });
  const float* bias[1] = {nullptr};
  expect_usage("bias count", [&](AttentionArgs& a, Views&, Offsets&) { a.key_bias = bias; });
}

}  // namespace
}  // namespace fovea::testing
