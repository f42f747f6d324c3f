#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "vision/vit.h"
#include "vision/vit_towers.h"

namespace fovea {
namespace {

using namespace testing;  // NOLINT: the towers' vocabulary

/// Keeps, before one block, the rows whose token a rule names.
class RuleReducer : public VitReducer {
 public:
  RuleReducer(int layer, std::function<bool(std::int64_t picture, std::int32_t token)> rule)
      : layer_(layer), rule_(std::move(rule)) {}
  Status before_block(Context&, int layer, const VitRows& rows,
                      std::vector<std::int32_t>& keep) override {
    if (layer != layer_) return {};
    for (std::int64_t picture = 0; picture < rows.pictures(); ++picture) {
      for (std::int64_t row = rows.first(picture); row < rows.first(picture + 1); ++row) {
        if (rule_(picture, rows.tokens[index_of(row)])) {
          keep.push_back(static_cast<std::int32_t>(row));
        }
      }
    }
    return {};
  }
  bool watches(int layer) const override { return layer == layer_; }
  Status after_block(Context&, const VitBlockView& block) override {
    seen.push_back(block.rows->count());
    EXPECT_EQ(block.query.shape[0], block.rows->count());
    EXPECT_EQ(block.gathered.shape, block.query.shape);
    return {};
  }
  std::vector<std::int64_t> seen;

 private:
  int layer_;
  std::function<bool(std::int64_t, std::int32_t)> rule_;
};

TEST(VitEncoder, a_batch_gives_each_picture_the_bits_it_gets_alone) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 20), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  std::vector<std::vector<float>> pictures;
  for (std::uint64_t stream = 21; stream < 26; ++stream) {
    pictures.push_back(random_pixels(config, stream));
  }
  const BatchRun batch = run_batch(*loaded->encoder, pictures);
  EXPECT_EQ(batch.rows.pictures(), 5);
  const std::size_t size = index_of(config.tokens() * config.hidden_size);
  for (std::size_t p = 0; p < pictures.size(); ++p) {
    EXPECT_TRUE(same_bits(std::span(batch.states).subspan(p * size, size),
                          values_of(run(*loaded->encoder, pictures[p]))));
  }
}

TEST(VitEncoder, a_reducer_that_keeps_everything_changes_no_bit) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 20), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  const std::vector<std::vector<float>> pictures{random_pixels(config, 21),
                                                 random_pixels(config, 22)};
  RuleReducer all(1, [](std::int64_t, std::int32_t) { return true; });
  VitHooks hooks;
  hooks.reducer = &all;
  const BatchRun with = run_batch(*loaded->encoder, pictures, hooks);
  EXPECT_TRUE(same_bits(with.states, run_batch(*loaded->encoder, pictures).states));
  EXPECT_EQ(all.seen, std::vector<std::int64_t>{2 * config.tokens()});
}

TEST(VitEncoder, tokens_that_leave_are_never_seen_again) {
  // The pictures lose different tokens before block 1: the rest must be what a reference in double
  // makes of the rows that are left, each picture by itself.
  VitConfig config = small_config();
  config.layers = 2;
  const Checkpoint checkpoint = random_checkpoint(config, 30);
  const auto loaded = load(checkpoint, config, LinearDType::f32, 2);
  ASSERT_TRUE(loaded->encoder);
  const std::vector<std::vector<float>> pictures{
      random_pixels(config, 31), random_pixels(config, 32), random_pixels(config, 33)};
  const auto rule = [](std::int64_t picture, std::int32_t token) {
    if (token == 0) return true;
    if (picture == 0) return token % 3 == 1;
    return picture == 1;  // the last keeps nothing but its class token
  };
  RuleReducer reducer(1, rule);
  VitHooks hooks;
  hooks.reducer = &reducer;
  const BatchRun batch = run_batch(*loaded->encoder, pictures, hooks);
  ASSERT_FALSE(batch.error) << batch.error->to_string();
  EXPECT_EQ(batch.rows.offsets, (std::vector<std::int32_t>{0, 10, 36, 37}));
  EXPECT_EQ(batch.rows.tokens[1], 1);
  EXPECT_EQ(batch.rows.tokens[2], 4);
  for (std::int64_t p = 0; p < 3; ++p) {
    Doubles x = reference_forward(config, checkpoint, pictures[index_of(p)], 1);
    Doubles left;
    for (std::int32_t token = 0; token < config.tokens(); ++token) {
      if (!rule(p, token)) continue;
      const auto begin = x.begin() + token * config.hidden_size;
      left.insert(left.end(), begin, begin + config.hidden_size);
    }
    reference_block(config, checkpoint, 1, left);
    const auto found =
        std::span(batch.states)
            .subspan(index_of(batch.rows.first(p) * config.hidden_size), left.size());
    EXPECT_TRUE(close_to(found, left, 1e-5));
  }
}

TEST(VitEncoder, a_reducer_must_keep_class_tokens_and_order) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 20), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  const std::vector<std::vector<float>> pictures{random_pixels(config, 21)};
  struct Given : RuleReducer {
    explicit Given(std::vector<std::int32_t> rows) : RuleReducer(0, {}), given(std::move(rows)) {}
    Status before_block(Context&, int, const VitRows&, std::vector<std::int32_t>& keep) override {
      keep = given;
      return {};
    }
    std::vector<std::int32_t> given;
  };
  for (const std::vector<std::int32_t>& rows :
       {std::vector<std::int32_t>{1, 2}, {0, 2, 2}, {0, 5, 3}, {0, 26}, {-1, 0}}) {
    Given reducer(rows);
    VitHooks hooks;
    hooks.reducer = &reducer;
    const BatchRun run = run_batch(*loaded->encoder, pictures, hooks);
    ASSERT_TRUE(run.error) << rows[1];
    EXPECT_EQ(run.error->code, ErrorCode::usage);
  }
}

}  // namespace
}  // namespace fovea
