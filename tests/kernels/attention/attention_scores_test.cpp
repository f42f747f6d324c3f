#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "kernels/attention/attention_problem.h"
#include "kernels/ops/attention/attention.h"

namespace fovea::testing {
namespace {

enum class Weights { none, per_row, per_head_and_row };

/// A request for scores of some rows of a one-sequence problem, and its answer in double.
struct Request {
  std::vector<std::int32_t> rows, columns;
  bool visible = true;  // hand over the causal limits
  Weights weights = Weights::none;
  Reduction reduce_rows = Reduction::none, reduce_heads = Reduction::none;
};

class AttentionScoresTest : public DeviceTest<KvCase> {
 protected:
  static std::vector<std::int32_t> all(std::int32_t count) {
    std::vector<std::int32_t> indices(static_cast<std::size_t>(count));
    std::iota(indices.begin(), indices.end(), 0);
    return indices;
  }

  struct Inputs {
    std::vector<float> query, lse, weights;
    std::vector<std::int32_t> visible;
  };

  static Inputs gather(const Solved& solved, const Request& request) {
    const std::int64_t width = std::int64_t{solved.problem.heads} * solved.problem.head_dim;
    Inputs inputs;
    for (const std::int32_t row : request.rows) {
      const float* from = solved.query.data() + row * width;
      inputs.query.insert(inputs.query.end(), from, from + width);
      inputs.visible.push_back(solved.visible(0, row));
    }
    for (std::int32_t head = 0; head < solved.problem.heads; ++head) {
      for (const std::int32_t row : request.rows) {
        double lse = 0.0;
        solved.dense_row(0, row, head, &lse);
        inputs.lse.push_back(static_cast<float>(lse));
      }
    }
    Random random(99);
    const std::size_t weights =
        request.weights == Weights::per_row ? request.rows.size() : inputs.lse.size();
    if (request.weights != Weights::none) {
      for (std::size_t i = 0; i < weights; ++i) {
        inputs.weights.push_back(i % 3 == 2 ? 0.0f : random.uniform(0.1f, 2.0f));
      }
    }
    return inputs;
  }

  static double reduce(Reduction how, std::size_t count,
                       const std::function<double(std::size_t)>& value) {
    double total = count == 0 ? 0.0 : value(0);
    for (std::size_t i = 1; i < count; ++i) {
      total = how == Reduction::max ? std::max(total, value(i)) : total + value(i);
    }
    return how == Reduction::mean && count > 0 ? total / static_cast<double>(count) : total;
  }

  /// By the words of attention.h, from dense probabilities.
  static std::vector<double> expected(const Solved& solved, const Request& request,
                                      const Inputs& inputs) {
    const auto heads = static_cast<std::size_t>(solved.problem.heads);
    const std::size_t rows = request.rows.size();
    std::vector<std::vector<double>> p;  // [heads * rows][keys]
    for (std::size_t head = 0; head < heads; ++head) {
      for (const std::int32_t row : request.rows) {
        double lse = 0.0;
        p.push_back(solved.dense_row(0, row, static_cast<std::int32_t>(head), &lse));
      }
    }
    const auto cell = [&](std::size_t head, std::size_t row, std::int32_t column) {
      double weight = 1.0;
      if (request.weights == Weights::per_row) weight = inputs.weights[row];
      if (request.weights == Weights::per_head_and_row) weight = inputs.weights[head * rows + row];
      return weight * p[head * rows + row][static_cast<std::size_t>(column)];
    };
    const bool keep_rows = request.reduce_rows == Reduction::none;
    const bool keep_heads = request.reduce_heads == Reduction::none;
    std::vector<double> result;
    for (std::size_t head = 0; head < (keep_heads ? heads : 1); ++head) {
      for (std::size_t row = 0; row < (keep_rows ? rows : 1); ++row) {
        for (const std::int32_t column : request.columns) {
          const auto over_rows = [&](std::size_t h) {
            if (keep_rows) return cell(h, row, column);
            return reduce(request.reduce_rows, rows,
                          [&](std::size_t r) { return cell(h, r, column); });
          };
          const auto most_of_heads = [&](std::size_t r) {
            return reduce(Reduction::max, heads, [&](std::size_t h) { return cell(h, r, column); });
          };
          if (keep_heads) {
            result.push_back(over_rows(head));
          } else if (request.reduce_heads == Reduction::max && !keep_rows) {
            result.push_back(reduce(request.reduce_rows, rows, most_of_heads));
          } else {
            result.push_back(reduce(request.reduce_heads, heads, over_rows));
          }
        }
      }
    }
    return result;
  }

  static Shape out_shape(const Solved& solved, const Request& request) {
    const std::int64_t heads = solved.problem.heads;
    const auto rows = static_cast<std::int64_t>(request.rows.size());
    const auto columns = static_cast<std::int64_t>(request.columns.size());
    const bool keep_rows = request.reduce_rows == Reduction::none;
    const bool keep_heads = request.reduce_heads == Reduction::none;
    if (keep_rows && keep_heads) return {heads, rows, columns};
    if (keep_heads) return {heads, columns};
    if (keep_rows) return {rows, columns};
    return {columns};
  }

  static std::vector<float> run(const Solved& solved, const Request& request, const Inputs& inputs,
                                int threads) {
    Context context = test_context(solved.where.device, threads);
    const auto rows = static_cast<std::int64_t>(request.rows.size());
    const std::int64_t heads = solved.problem.heads;
    GuardedTensor query({rows, heads, solved.problem.head_dim}, inputs.query, 3);
    GuardedTensor lse({heads, rows}, inputs.lse, 2);
    GuardedTensor weights =
        request.weights == Weights::per_head_and_row
            ? GuardedTensor({heads, rows}, inputs.weights, 1)
            : GuardedTensor({static_cast<std::int64_t>(inputs.weights.size())}, inputs.weights);
    const Shape shape = out_shape(solved, request);
    GuardedTensor out(shape, shape.rank() == 1 ? 0 : 5);
    Placed placed_query(context, query, solved.where.activation()), placed_lse(context, lse);
    Placed placed_weights(context, weights), placed_out(context, out);
    const PlacedKv kv(context, solved.kv[0]);
    const OnDevice<float> bias(context, solved.biases[0]);
    ScoreArgs args;
    args.query = placed_query.view();
    args.lse = placed_lse.view();
    if (request.visible) args.visible = inputs.visible;
    args.kv = kv.view();
    args.scale = solved.scale;
    if (solved.problem.bias) args.key_bias = bias.data();
    args.columns = request.columns;
    if (request.weights != Weights::none) args.row_weights = placed_weights.view();
    args.rows = request.reduce_rows;
    args.heads = request.reduce_heads;
    args.out = placed_out.view();
    const Status status = attention_scores(context, args);
    EXPECT_TRUE(status) << (status ? "" : status.error().to_string());
    placed_out.fetch();
    EXPECT_TRUE(out.guards_intact());
    return out.values();
  }

  static void expect_equals_dense(const Solved& solved, const Request& request) {
    const Inputs inputs = gather(solved, request);
    const std::vector<float> one = run(solved, request, inputs, 1);
    EXPECT_TRUE(close_to(one, expected(solved, request, inputs), kTolerance));
    EXPECT_TRUE(same_bits(one, run(solved, request, inputs, 3)));
  }

  // Relative to max(1, value), and values are probabilities and sums of up to a few hundred.
  static constexpr double kTolerance = 5e-6;
};

Problem causal_problem(std::int32_t rows, std::int32_t length) {
  Problem problem;
  problem.heads = 6;
  problem.kv_heads = 3;
  problem.head_dim = 32;
  problem.bias = true;
  problem.sequences = {{rows, length}};
  return problem;
}

TEST_P(AttentionScoresTest, scores_equal_dense_softmax) {
  const Solved solved(causal_problem(70, 110), GetParam(), 1);
  Request request;
  request.rows = {0, 3, 4, 5, 17, 40, 41, 42, 68, 69};
  request.columns = {0, 1, 2, 39, 40, 41, 60, 80, 100, 108, 109};
  for (const Weights weights : {Weights::none, Weights::per_row, Weights::per_head_and_row}) {
    for (const Reduction rows :
         {Reduction::none, Reduction::sum, Reduction::mean, Reduction::max}) {
      for (const Reduction heads :
           {Reduction::none, Reduction::sum, Reduction::mean, Reduction::max}) {
        SCOPED_TRACE(::testing::Message()
                     << "weights " << static_cast<int>(weights) << ", rows "
                     << static_cast<int>(rows) << ", heads " << static_cast<int>(heads));
        request.weights = weights;
        request.reduce_rows = rows;
        request.reduce_heads = heads;
        expect_equals_dense(solved, request);
      }
    }
  }
}

TEST_P(AttentionScoresTest, every_number_of_rows_and_columns_equals_dense) {
  for (const std::int32_t rows : {1, 2, 4, 5, 12, 129, 300}) {
    const Solved solved(causal_problem(rows, 300), GetParam(), 2);
    for (const std::int32_t columns : {1, 47, 48, 49, 97, 300}) {
      SCOPED_TRACE(::testing::Message() << rows << " rows, " << columns << " columns");
      Request request;
      request.rows = all(rows);
      request.columns = all(columns);
      request.reduce_rows = Reduction::sum;
      expect_equals_dense(solved, request);
      request.reduce_heads = Reduction::max;
      expect_equals_dense(solved, request);
    }
  }
}

TEST_P(AttentionScoresTest, every_head_dim_page_and_layout_equals_dense) {
  for (const std::int32_t head_dim : {1, 6, 15, 64, 80, 128}) {
    for (const std::int32_t page_tokens : {1, 16, 64}) {
      for (const KvLayout layout : {KvLayout::head_major, KvLayout::token_major}) {
        for (const std::int32_t rows : {1, 30}) {
          SCOPED_TRACE(::testing::Message() << "head_dim " << head_dim << ", " << page_tokens
                                            << " tokens a page, " << rows << " rows");
          Problem problem = causal_problem(rows, 100);
          problem.head_dim = head_dim;
          problem.page_tokens = page_tokens;
          problem.layout = layout;
          const Solved solved(problem, GetParam(), 3);
          Request request;
          request.rows = all(rows);
          request.columns = all(100);
          request.reduce_heads = Reduction::mean;
          expect_equals_dense(solved, request);
        }
      }
    }
  }
}

TEST_P(AttentionScoresTest, last_prompt_row_of_a_model_equals_dense) {
  Problem problem;
  problem.heads = 32;
  problem.kv_heads = 4;
  problem.head_dim = 64;
  problem.page_tokens = 64;
  problem.sequences = {{1, 640}};
  const Solved solved(problem, GetParam(), 4);
  Request request;
  request.rows = {0};
  request.columns = all(640);
  request.reduce_heads = Reduction::mean;
  expect_equals_dense(solved, request);
}

TEST_P(AttentionScoresTest, rows_sum_to_one_with_the_lse_of_attention) {
  Problem problem = causal_problem(50, 577);
  problem.mask = MaskKind::full;
  const Solved solved(problem, GetParam(), 5);
  const Solved::Answer answer = solved.run(1);
  Request request;
  request.rows = all(50);
  request.columns = all(577);
  request.visible = false;
  Inputs inputs = gather(solved, request);
  inputs.lse = answer.lse;
  const std::vector<float> p = run(solved, request, inputs, 2);
  for (std::size_t row = 0; row < p.size() / 577; ++row) {
    double sum = 0.0;
    for (std::size_t c = 0; c < 577; ++c) sum += p[row * 577 + c];
    EXPECT_NEAR(sum, 1.0, 5e-6) << row;
  }
}

TEST_P(AttentionScoresTest, columns_beyond_a_rows_sight_are_exactly_zero) {
  const Solved solved(causal_problem(40, 40), GetParam(), 6);
  Request request;
  request.rows = all(40);
  request.columns = all(40);
  const Inputs inputs = gather(solved, request);
  const std::vector<float> p = run(solved, request, inputs, 1);
  for (std::size_t i = 0; i < p.size(); ++i) {
    const std::size_t row = i / 40 % 40;
    const std::size_t column = i % 40;
    if (column > row) {
      EXPECT_EQ(p[i], 0.0f);
    } else {
      EXPECT_GT(p[i], 0.0f);
    }
  }
}

TEST_P(AttentionScoresTest, a_row_that_saw_no_key_scores_zero) {
  Problem problem = causal_problem(5, 3);  // rows 0 and 1 see nothing; their lse is -infinity
  const Solved solved(problem, GetParam(), 7);
  Request request;
  request.rows = all(5);
  request.columns = all(3);
  for (const bool visible : {true, false}) {
    request.visible = visible;
    const Inputs inputs = gather(solved, request);
    const std::vector<float> p = run(solved, request, inputs, 1);
    for (std::size_t i = 0; i < p.size(); ++i) {
      if (i / 3 % 5 < 2) {
        EXPECT_EQ(p[i], 0.0f);
      } else {
        EXPECT_TRUE(std::isfinite(p[i]));
      }
    }
  }
}

TEST_P(AttentionScoresTest, extreme_logits_stay_finite) {
  Problem problem = causal_problem(20, 100);
  problem.key_deviation = 1e4f;
  const Solved solved(problem, GetParam(), 8);
  Request request;
  request.rows = all(20);
  request.columns = all(100);
  const Inputs inputs = gather(solved, request);
  for (const float p : run(solved, request, inputs, 1)) {
    EXPECT_TRUE(std::isfinite(p));
    EXPECT_GE(p, 0.0f);
    EXPECT_LE(p, 1.01f);  // a logit of 1e4 is only known to some 1e-3
  }
}

TEST_P(AttentionScoresTest, nothing_asked_for_is_fine) {
  const Solved solved(causal_problem(3, 10), GetParam(), 9);
  for (const Reduction rows : {Reduction::none, Reduction::sum, Reduction::mean, Reduction::max}) {
    Request request;
    request.reduce_rows = rows;
    request.columns = all(10);  // no rows
    expect_equals_dense(solved, request);
    request.rows = all(3);
    request.columns.clear();
    expect_equals_dense(solved, request);
  }
}

INSTANTIATE_TEST_SUITE_P(kv, AttentionScoresTest, ::testing::ValuesIn(kKvCases),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(AttentionScoresErrors, arguments_that_disagree_are_usage_errors) {
  Problem problem = causal_problem(4, 9);
  const Solved solved(problem, kKvCases[0], 10);
  GuardedTensor query(solved.query_shape(), solved.query);
  GuardedTensor lse({problem.heads, 4}, std::vector<float>(24, 1.0f));
  GuardedTensor out({problem.heads, 4, 2});
  const std::vector<std::int32_t> columns = {2, 5};
  ScoreArgs good;
  good.query = query.view();
  good.lse = lse.view();
  good.kv = solved.kv[0].view();
  good.columns = columns;
  good.out = out.view();
  Context context = cpu_context(1);
  ASSERT_TRUE(attention_scores(context, good));

  const auto expect_usage = [&](const char* what, const auto& spoil) {
    ScoreArgs bad = good;
    spoil(bad);
    const Status status = attention_scores(context, bad);
    ASSERT_FALSE(status) << what;
    EXPECT_EQ(status.error().code, ErrorCode::usage) << what;
  };
  const std::vector<std::int32_t> falling = {5, 2}, twice = {2, 2}, outside = {2, 9},
                                  negative = {-1, 2}, few = {1, 2, 3};
  expect_usage("no lse", [](ScoreArgs& a) { a.lse = {}; });
  expect_usage("falling", [&](ScoreArgs& a) { a.columns = falling; });
  expect_usage("twice", [&](ScoreArgs& a) { a.columns = twice; });
  expect_usage("outside", [&](ScoreArgs& a) { a.columns = outside; });
  expect_usage("negative", [&](ScoreArgs& a) { a.columns = negative; });
  expect_usage("visible", [&](ScoreArgs& a) { a.visible = few; });
  expect_usage("out shape", [](ScoreArgs& a) { a.rows = Reduction::sum; });
  expect_usage("weights", [&](ScoreArgs& a) { a.row_weights = lse.view().slice(0, 3); });
  expect_usage("head_dim", [](ScoreArgs& a) { a.kv.head_dim = 8; });
  expect_usage("keys", [](ScoreArgs& a) { a.kv.key_pages = nullptr; });
}

}  // namespace
}  // namespace fovea::testing
