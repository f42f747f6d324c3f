// Attention debiasing (arXiv 2508.17807): weights by index, padding, and where both act.

#include "pruning/debias.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "kernels/base/file.h"
#include "pruning/method.h"
#include "pruning/methods/fastv.h"
#include "pruning/methods/himap.h"
#include "support/fake_stage.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;
using testing::TemporaryFolder;

constexpr ModelShape kShape{.layers = 12, .heads = 1, .kv_heads = 1, .hidden_size = 8};

std::vector<double> weights_of(const Result<IndexWeights>& made, std::int64_t tokens) {
  EXPECT_TRUE(made) << made.error().to_string();
  auto weights = made->weights(tokens);
  EXPECT_TRUE(weights) << weights.error().to_string();
  return weights ? *weights : std::vector<double>{};
}

/// A .npy file of one axis.
template <class T>
void write_array(const std::string& path, const char* descr, const std::vector<T>& values) {
  std::string header = "{'descr': '" + std::string(descr) +
                       "', 'fortran_order': False, 'shape': (" + std::to_string(values.size()) +
                       ",), }";
  header.append(117 - header.size(), ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += {static_cast<char>(header.size()), '\x00'};
  file += header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  ASSERT_TRUE(write_file_atomically(path, file));
}

/// A prompt with one picture of this size, padded to a square and seen as 24x24 cells.
SequenceLayout padded(int width, int height) {
  SequenceLayout layout = simple_layout(1, 576, 2);
  const double side = std::max(width, height);
  for (VisualToken& token : layout.visual) {
    token.width = token.height = static_cast<float>(side / 24);
    // Pasted at whole pixels, as the original LLaVA does.
    token.x = static_cast<float>(token.col * side / 24 - std::floor((side - width) / 2));
    token.y = static_cast<float>(token.row * side / 24 - std::floor((side - height) / 2));
  }
  layout.pictures = {{width, height}};
  return layout;
}

std::vector<bool> valid_tokens(const SequenceLayout& layout, double theta) {
  auto valid = tokens_in_picture(layout, theta);
  EXPECT_TRUE(valid) << valid.error().to_string();
  return valid ? *valid : std::vector<bool>{};
}

/// Rows [first, last] valid in every column, all others padding.
void expect_rows(int width, int height, double theta, int first, int last) {
  SCOPED_TRACE(std::to_string(width) + "x" + std::to_string(height) + " at " +
               std::to_string(theta));
  const auto valid = valid_tokens(padded(width, height), theta);
  const auto transposed = valid_tokens(padded(height, width), theta);
  ASSERT_EQ(valid.size(), 576u);
  for (std::size_t row = 0; row < 24; ++row) {
    for (std::size_t col = 0; col < 24; ++col) {
      const bool inside = static_cast<int>(row) >= first && static_cast<int>(row) <= last;
      EXPECT_EQ(valid[row * 24 + col], inside) << "row " << row;
      EXPECT_EQ(transposed[col * 24 + row], inside) << "column " << row;
    }
  }
}

std::vector<float> adjusted(const ScoreAdjustment& adjustment, const StageInput& stage,
                            std::vector<float> scores, int stage_index = 0) {
  const auto allowed = adjustment.adjust(stage_index, stage, scores);
  EXPECT_TRUE(allowed) << allowed.error().to_string();
  return scores;
}

TEST(IndexWeights, hand_case_of_four_tokens_at_sigma_1_2) {
  const auto weights = weights_of(IndexWeights::exponential(1.2), 4);
  const std::array expected{1.0, .670320, .449329, .301194};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(weights[i], expected[i], 5e-7);

  const FakeStage stage(simple_layout(1, 4, 1));
  const IndexDebias debias(*IndexWeights::exponential(1.2), AdjustedStages::first);
  const auto scores = adjusted(debias, stage, {.10f, .12f, .20f, .26f});
  const std::array debiased{.100000, .080438, .089866, .078310};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(scores[i], debiased[i], 1e-6);
}

TEST(IndexWeights, hand_case_changes_the_two_best_tokens) {
  FakeStage stage(simple_layout(1, 4, 1));
  stage.last_visual = {{{.10f, .12f, .20f, .26f}}};
  FastV plain({.layers = {1}, .keep = {{2, false}}}),
      debiased({.layers = {1}, .keep = {{2, false}}});
  debiased.add_adjustment(
      std::make_shared<IndexDebias>(*IndexWeights::exponential(1.2), AdjustedStages::first));
  Context context;
  Selection selection;
  ASSERT_TRUE(plain.plan(stage.layout(), kShape));
  ASSERT_TRUE(plain.select(context, 0, stage, selection));
  EXPECT_EQ(kept(selection), (std::vector<std::int32_t>{2, 3}));
  ASSERT_TRUE(debiased.plan(stage.layout(), kShape));
  ASSERT_TRUE(debiased.select(context, 0, stage, selection));
  EXPECT_EQ(kept(selection), (std::vector<std::int32_t>{0, 2}));
}

TEST(IndexWeights, sigma_0_and_no_padding_leave_every_bit_as_it_was) {
  FakeStage stage(padded(100, 100));
  std::vector<float> scores(576);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    scores[i] = std::sin(static_cast<float>(i)) * 1e-3f + 2e-3f;
  }
  const IndexDebias debias(*IndexWeights::exponential(0), AdjustedStages::all);
  const PaddingSuppression padding(0.3, true, AdjustedStages::all);
  EXPECT_EQ(adjusted(padding, stage, adjusted(debias, stage, scores)), scores);
}

TEST(IndexWeights, a_score_that_follows_the_exponential_becomes_constant) {
  std::vector<float> scores;
  for (int i = 0; i < 576; ++i) scores.push_back(static_cast<float>(std::exp(1.7 * i / 575.0)));
  const IndexDebias debias(*IndexWeights::exponential(1.7), AdjustedStages::first);
  for (const float score : adjusted(debias, FakeStage(simple_layout(1, 576, 1)), scores)) {
    EXPECT_NEAR(score, 1.0, 1e-6);
  }
}

TEST(IndexWeights, published_fastv_weights_follow_the_cubic) {
  const auto weights = weights_of(IndexWeights::preset("fastv"), 576);
  const std::array<std::pair<std::size_t, double>, 7> samples{{{0, 1},
                                                               {96, .84915},
                                                               {192, .81792},
                                                               {288, .78661},
                                                               {384, .68493},
                                                               {480, .51943},
                                                               {575, .35824}}};
  for (const auto& [index, weight] : samples) EXPECT_NEAR(weights[index], weight, 6e-6);
  EXPECT_NEAR(-std::log(weights[575]), 1.0266, 5e-5);
}

TEST(IndexWeights, published_sigmas_are_found_by_benchmark_and_method) {
  const std::array<std::pair<const char*, double>, 4> samples{{{"gqa/himap", 1.2490},
                                                               {"mm-vet/pyramiddrop", 2.3768},
                                                               {"pope/sparsevlm", 2.6663},
                                                               {"mmbench_cn/tokencarve", .6397}}};
  for (const auto& [name, sigma] : samples) {
    EXPECT_NEAR(-std::log(weights_of(IndexWeights::preset(name), 576).back()), sigma, 1e-12);
  }
  const auto unknown = IndexWeights::parse("gqa/fastv");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::usage);
  EXPECT_NE(unknown.error().remedy.find("vqav2"), std::string::npos);
}

TEST(IndexWeights, a_file_of_an_exponential_is_read_to_double_precision) {
  const TemporaryFolder folder;
  std::vector<double> table;
  for (int i = 0; i < 576; ++i) table.push_back(std::exp(-1.2490 * i / 575.0));
  write_array(folder / "himap.npy", "<f8", table);
  const auto weights = weights_of(IndexWeights::parse(folder / "himap.npy"), 576);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_LT(std::abs(std::log(weights[i]) + 1.2490 * static_cast<double>(i) / 575), 1e-12);
  }
  write_array(folder / "single.npy", "<f4", std::vector<float>{1.0f, 0.5f});
  EXPECT_EQ(weights_of(IndexWeights::parse(folder / "single.npy"), 2),
            (std::vector<double>{1.0, 0.5}));
}

TEST(IndexWeights, files_that_are_no_weights_are_refused_by_name) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& path) {
    const auto made = IndexWeights::parse(path);
    ASSERT_FALSE(made) << path;
    EXPECT_EQ(made.error().file, path);
  };
  write_array(folder / "negative.npy", "<f8", std::vector<double>{1, -0.1});
  write_array(folder / "nan.npy", "<f8", std::vector<double>{1, std::nan("")});
  write_array(folder / "zero.npy", "<f4", std::vector<float>{0, 0});
  write_array(folder / "empty.npy", "<f4", std::vector<float>{});
  write_array(folder / "integers.npy", "<i4", std::vector<std::int32_t>{1, 1});
  for (const char* name : {"negative", "nan", "zero", "empty", "integers", "absent"}) {
    refused(folder / (std::string(name) + ".npy"));
  }
  ASSERT_TRUE(write_file_atomically(folder / "text.npy", std::string("1 2 3")));
  refused(folder / "text.npy");
}

TEST(IndexWeights, a_table_of_another_length_than_the_prompts_is_refused) {
  const auto made = IndexWeights::table({1, 1, 1});
  ASSERT_TRUE(made);
  const auto weights = made->weights(4);
  ASSERT_FALSE(weights);
  EXPECT_EQ(weights.error().code, ErrorCode::usage);
}

TEST(IndexWeights, a_sigma_that_is_no_number_is_refused) {
  for (const char* text : {"nan", "inf", "51", "-51", "1.2x", ""}) {
    EXPECT_FALSE(IndexWeights::parse(text)) << text;
  }
  EXPECT_TRUE(IndexWeights::parse("-0.5"));
}

TEST(IndexDebias, the_index_runs_on_through_all_pictures) {
  // Two pictures of two cells, text between them: L is 4, not 2.
  SequenceLayout layout = simple_layout(1, 4, 1);
  layout.visual[2].image = layout.visual[3].image = 1;
  const IndexDebias debias(*IndexWeights::exponential(3), AdjustedStages::first);
  const auto scores = adjusted(debias, FakeStage(layout), {1, 1, 1, 1});
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(scores[static_cast<std::size_t>(i)], std::exp(-i), 1e-6);
}

TEST(IndexDebias, survivors_keep_the_index_they_had_in_the_whole_grid) {
  FakeStage stage(simple_layout(1, 4, 1));
  stage.set_visual_ids({1, 3});
  const IndexDebias debias(*IndexWeights::exponential(3), AdjustedStages::all);
  const auto scores = adjusted(debias, stage, {1, 1}, 1);
  EXPECT_NEAR(scores[0], std::exp(-1), 1e-6);
  EXPECT_NEAR(scores[1], std::exp(-3), 1e-6);
}

TEST(IndexDebias, a_token_without_a_cell_is_left_alone) {
  SequenceLayout layout = simple_layout(1, 3, 1);
  VisualToken class_token;
  layout.visual.push_back(class_token);
  layout.kinds.push_back(TokenKind::visual);
  layout.visual_ids.push_back(3);
  const IndexDebias debias(*IndexWeights::exponential(2), AdjustedStages::first);
  const auto scores = adjusted(debias, FakeStage(layout), {1, 1, 1, 1});
  EXPECT_NEAR(scores[2], std::exp(-2), 1e-6) << "the last of three cells";
  EXPECT_EQ(scores[3], 1.0f);
}

TEST(IndexDebias, only_the_first_stage_is_adjusted_unless_all_are_asked_for) {
  FakeStage stage(simple_layout(1, 4, 1));
  stage.text_visual = {{{.10f, .12f, .20f, .26f}}};
  stage.visual_visual = {{{.10f, .12f, .20f, .26f}}};
  for (const bool all : {false, true}) {
    HiMap method({.layers = {1, 2}, .keep = {{3, false}, {2, false}}});
    method.add_adjustment(std::make_shared<IndexDebias>(
        *IndexWeights::exponential(1.2), all ? AdjustedStages::all : AdjustedStages::first));
    ASSERT_TRUE(method.plan(stage.layout(), kShape));
    Context context;
    Selection selection;
    ASSERT_TRUE(method.select(context, 0, stage, selection));
    EXPECT_EQ(kept(selection), (std::vector<std::int32_t>{0, 1, 2}));
    ASSERT_TRUE(method.select(context, 1, stage, selection));
    EXPECT_EQ(kept(selection),
              all ? (std::vector<std::int32_t>{0, 2}) : (std::vector<std::int32_t>{2, 3}));
  }
}

TEST(Padding, masks_of_the_method_page) {
  for (const double theta : {0.01, 0.3, 0.5}) {
    expect_rows(640, 480, theta, 3, 20);
    expect_rows(1000, 500, theta, 6, 17);
    expect_rows(640, 427, theta, 4, 19);
  }
  expect_rows(640, 460, 0.5, 3, 20);
  expect_rows(640, 460, 0.3, 4, 19);
  expect_rows(640, 460, 0.01, 4, 19);
}

TEST(Padding, an_odd_margin_counts_as_two_equal_halves) {
  // 53 rows of padding: pasted 26 below the top, but 14 of 336 pixels on either side by the rule.
  expect_rows(636, 583, 0.01, 1, 22);
}

TEST(Padding, a_square_or_cropped_picture_has_none) {
  EXPECT_EQ(valid_tokens(padded(336, 336), 0), std::vector<bool>(576, true));
  SequenceLayout cropped = padded(336, 336);
  cropped.pictures = {{640, 336}};
  for (VisualToken& token : cropped.visual) token.x += 152;
  EXPECT_EQ(valid_tokens(cropped, 0), std::vector<bool>(576, true));
}

TEST(Padding, a_picture_thinner_than_a_cell_is_not_wiped_out) {
  EXPECT_EQ(valid_tokens(padded(1000, 5), 0.5), std::vector<bool>(576, true));
}

TEST(Padding, each_picture_has_its_own) {
  SequenceLayout layout = padded(640, 480);
  SequenceLayout square = padded(50, 50);
  for (VisualToken& token : square.visual) {
    token.image = 1;
    layout.visual.push_back(token);
  }
  layout.pictures.push_back({50, 50});
  const auto valid = valid_tokens(layout, 0.5);
  EXPECT_EQ(std::count(valid.begin(), valid.begin() + 576, true), 432);
  EXPECT_EQ(std::count(valid.begin() + 576, valid.end(), true), 576);
}

TEST(Padding, fastv_keeps_no_more_than_the_valid_patches_and_others_fill_up_by_index) {
  FakeStage stage(padded(1000, 500));
  stage.last_visual = {{std::vector<float>(576, 0.001f)}};
  stage.text_visual = stage.last_visual;
  for (const char* name : {"fastv", "himap"}) {
    MethodRequest request;
    request.name = name;
    request.schedule = {.layers = {1}, .keep = {{300, false}}};
    auto adjustments = debias_adjustments({.padding_theta = published_padding_theta(name)}, name);
    ASSERT_TRUE(adjustments);
    request.adjustments = *adjustments;
    auto method = make_policy(request);
    ASSERT_TRUE(method) << method.error().to_string();
    ASSERT_TRUE((*method)->plan(stage.layout(), kShape));
    Context context;
    Selection selection;
    ASSERT_TRUE((*method)->select(context, 0, stage, selection));
    const auto ids = kept(selection);
    const bool fastv = request.name == "fastv";
    EXPECT_EQ(ids.size(), fastv ? 288u : 300u);
    EXPECT_EQ(ids.front(), fastv ? 144 : 0) << "padding ties at 0, the lowest index first";
    EXPECT_EQ(ids.back(), 431);
  }
}

TEST(Padding, theta_as_published_for_each_method) {
  EXPECT_EQ(published_padding_theta("fastv"), 0.5);
  EXPECT_EQ(published_padding_theta("himap"), 0.5);
  EXPECT_EQ(published_padding_theta("pyramiddrop"), 0.01);
  EXPECT_EQ(published_padding_theta("adaptinfer"), 0.3);
  for (const double theta : {-0.1, 1.0, std::nan("")}) {
    EXPECT_FALSE(debias_adjustments({.padding_theta = theta}, "fastv")) << theta;
  }
}

TEST(Debias, methods_that_rank_by_no_score_refuse_it) {
  for (const char* name : {"random", "uniform"}) {
    MethodRequest request;
    request.name = name;
    request.adjustments = *debias_adjustments({.weights = *IndexWeights::exponential(1)}, name);
    const auto policy = make_policy(request);
    ASSERT_FALSE(policy) << name;
    EXPECT_EQ(policy.error().code, ErrorCode::usage);
    EXPECT_EQ(policy.error().field, "--debias");
  }
}

}  // namespace
}  // namespace fovea
