// Importance of visual tokens: hand-made probabilities, and column sums of whole attention maps in
// double.

#include "vlm/importance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "pruning/methods/sgl.h"
#include "support/eager_choices.h"
#include "support/fake_stage.h"
#include "support/random_prompt.h"
#include "support/tensors.h"
#include "vlm/kv_cache.h"

namespace fovea {
namespace {

using testing::close_to;
using testing::LoadedModel;
using testing::random_prompt;
using testing::RandomPrompt;
using testing::simple_layout;

constexpr std::int64_t kHeadDim = 8;

/// One layer and head in which row r sees key c with probability p[r][c]: keys are unit vectors,
/// queries logarithms, and every lse is 0.
class HandMade {
 public:
  explicit HandMade(int keys) : cache_(1, 1, kHeadDim, DType::f32), keys_(keys) {
    Tensor rows = std::move(*Tensor::allocate(Shape{keys, 1, kHeadDim}, DType::f32));
    std::fill_n(rows.as<float>(), rows.shape().elements(), 0.0F);
    for (int key = 0; key < keys; ++key) rows.as<float>()[key * kHeadDim + key] = 1.0F;
    Context context;
    EXPECT_TRUE(cache_.append(context, 0, rows.view(), rows.view()));
  }

  void show(Importance& importance, const std::vector<std::vector<float>>& p,
            const std::vector<std::int32_t>& slots, std::int32_t prompt) {
    const auto count = static_cast<std::int64_t>(p.size());
    Tensor query = std::move(*Tensor::allocate(Shape{count, 1, kHeadDim}, DType::f32));
    std::fill_n(query.as<float>(), query.shape().elements(), 0.0F);
    for (std::size_t row = 0; row < p.size(); ++row) {
      for (std::size_t key = 0; key < p[row].size(); ++key) {
        query.as<float>()[row * kHeadDim + key] = std::log(p[row][key]);
      }
    }
    Tensor lse = std::move(*Tensor::allocate(Shape{1, count}, DType::f32));
    std::fill_n(lse.as<float>(), count, 0.0F);
    std::vector<std::int32_t> prompt_keys(static_cast<std::size_t>(std::min(prompt, keys_)));
    std::iota(prompt_keys.begin(), prompt_keys.end(), 0);
    LayerAttention attention;
    attention.query = query.view();
    attention.lse = lse.view();
    attention.kv = cache_.view(0);
    attention.slots = slots;
    attention.prompt_keys = prompt_keys;
    Context context;
    const Status status = importance.observe(context, attention);
    EXPECT_TRUE(status) << status.error().to_string();
  }

 private:
  KvCache cache_;
  std::int32_t keys_;
};

/// The method page's case: three visual tokens and two prompt rows after them, then one answer row.
std::vector<float> hand_case(RowSet rows) {
  const SequenceLayout layout = simple_layout(0, 3, 2);
  Importance importance(layout, rows);
  HandMade model(6);
  model.show(importance, {{.2F, .3F, .5F}, {.1F, .2F, .3F}, {.3F, .1F, .1F}}, {2, 3, 4}, 5);
  model.show(importance, {{.05F, .05F, .2F}}, {5}, 5);
  return *importance.sums();
}

TEST(Importance, text_rows_and_answer_rows_add_up_to_the_papers_case) {
  EXPECT_TRUE(close_to(hand_case(RowSet::text), std::vector<double>{.45, .35, .60}, 1e-6));
}

TEST(Importance, the_released_codes_rows_begin_at_the_last_visual_token) {
  EXPECT_TRUE(
      close_to(hand_case(RowSet::from_last_visual), std::vector<double>{.65, .65, 1.10}, 1e-6));
}

TEST(Importance, rows_of_text_between_pictures_count_and_get_no_column) {
  // v v t v t: the text row at 2 sees the first picture only.
  SequenceLayout layout = simple_layout(0, 3, 2);
  std::swap(layout.kinds[2], layout.kinds[3]);
  std::swap(layout.visual_ids[2], layout.visual_ids[3]);
  Importance importance(layout, RowSet::text);
  EXPECT_EQ(
      std::vector<std::int32_t>(importance.prompt_rows().begin(), importance.prompt_rows().end()),
      (std::vector<std::int32_t>{2, 4}));
  HandMade model(5);
  model.show(importance, {{.5F, .2F, .3F}, {.1F, .2F, .25F, .3F, .15F}}, {2, 4}, 5);
  EXPECT_TRUE(close_to(*importance.sums(), std::vector<double>{.6, .4, .3}, 1e-6));
}

TEST(Importance, a_prompt_without_pictures_has_nothing_to_sum) {
  const SequenceLayout layout = simple_layout(0, 0, 3);
  for (const RowSet rows : {RowSet::text, RowSet::from_last_visual}) {
    Importance importance(layout, rows);
    HandMade(4).show(importance, {{.5F, .5F}}, {3}, 3);
    EXPECT_TRUE(importance.sums()->empty());
  }
}

/// Sums of whole maps over layers, heads and rows: the prompt's rows named, and all rows after it.
std::vector<double> dense_sums(const testing::ReferenceDecoder& reference,
                               const SequenceLayout& layout, testing::ReferenceDecoder::Rows hidden,
                               std::span<const std::int32_t> prompt_rows) {
  std::vector<int> positions(hidden.size());
  std::iota(positions.begin(), positions.end(), 0);
  const auto all = [](std::size_t, std::size_t) { return true; };
  std::vector<double> sums(layout.visual.size(), 0.0);
  for (int layer = 0; layer < static_cast<int>(reference.config().layers); ++layer) {
    for (const auto& map : reference.attention_maps(layer, hidden, positions, all)) {
      for (std::size_t row = 0; row < map.size(); ++row) {
        const bool counts = static_cast<std::int64_t>(row) >= layout.tokens() ||
                            std::binary_search(prompt_rows.begin(), prompt_rows.end(),
                                               static_cast<std::int32_t>(row));
        for (std::size_t key = 0; counts && key < layout.visual_ids.size(); ++key) {
          const std::int32_t id = layout.visual_ids[key];
          if (id >= 0) sums[static_cast<std::size_t>(id)] += map[row][key];
        }
      }
    }
    reference.attend(layer, hidden, positions, all);
    reference.add_mlp(layer, hidden);
  }
  return sums;
}

struct Watched {
  std::vector<float> sums, logits;
  testing::ReferenceDecoder::Rows rows;  // embeddings of prompt and answer tokens fed
};

/// Reads a prompt and answers greedily for some steps under watch.
Watched watch(const LlavaModel& model, const RandomPrompt& prompt, RowSet rows, int steps) {
  Context context = testing::model_context(2);
  Importance importance(prompt.encoded.layout, rows);
  testing::Prefilled run;
  run.state = model.decoder().new_state();
  run.logits.resize(static_cast<std::size_t>(model.config().decoder.vocab_size));
  PrefillInput input;
  input.embeddings = prompt.embeddings.view();
  input.layout = &prompt.encoded.layout;
  input.observer = &importance;
  EXPECT_TRUE(testing::row_there(context, run.logits, [&](TensorView logits) {
    return model.decoder().prefill(context, input, run.state, logits, nullptr, nullptr);
  }));
  Watched watched;
  watched.logits = run.logits;
  watched.rows = testing::rows_of(prompt.embeddings);
  for (int step = 0; step < steps; ++step) {
    const auto token = static_cast<std::int32_t>(
        std::max_element(run.logits.begin(), run.logits.end()) - run.logits.begin());
    std::vector<float> row(static_cast<std::size_t>(model.config().decoder.hidden_size));
    EXPECT_TRUE(testing::row_there(context, row, [&](TensorView there) {
      return model.decoder().embed(context, std::array{token}, there);
    }));
    watched.rows.emplace_back(row.begin(), row.end());
    EXPECT_TRUE(testing::row_there(context, run.logits, [&](TensorView logits) {
      return model.decoder().decode(context, token, run.state, logits, nullptr, &importance);
    }));
  }
  watched.sums = *importance.sums();
  return watched;
}

class DenseSums : public ::testing::TestWithParam<RowSet> {};

TEST_P(DenseSums, equal_the_sums_of_whole_maps_over_all_layers_and_heads) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  for (const int pictures : {1, 2}) {
    for (const int steps : {0, 1, 3}) {
      const RandomPrompt prompt = random_prompt(*loaded->model, 4, pictures, 6);
      const Watched watched = watch(*loaded->model, prompt, GetParam(), steps);
      const Importance rows(prompt.encoded.layout, GetParam());
      EXPECT_TRUE(close_to(
          watched.sums,
          dense_sums(*loaded->reference, prompt.encoded.layout, watched.rows, rows.prompt_rows()),
          2e-5))
          << pictures << " pictures, " << steps << " steps";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, DenseSums, ::testing::Values(RowSet::text, RowSet::from_last_visual),
                         [](const auto& tested) {
                           return tested.param == RowSet::text ? "text" : "from_last_visual";
                         });

TEST(Importance, watching_changes_the_logits_by_rounding_alone) {
  // More rows of the last layer run, which other kernels may take.
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  const RandomPrompt prompt = random_prompt(*loaded->model, 4, 1, 6);
  const auto plain = testing::prefill(*loaded->model, prompt, nullptr, PositionMode::original);
  const std::vector<double> expected(plain.logits.begin(), plain.logits.end());
  EXPECT_TRUE(close_to(watch(*loaded->model, prompt, RowSet::text, 0).logits, expected, 2e-6));
}

TEST(Importance, rows_of_a_reused_prefix_are_refused_rather_than_left_out) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  const LlavaModel& model = *loaded->model;
  const RandomPrompt prompt = random_prompt(model, 4, 1, 6);
  const auto whole = testing::prefill(model, prompt, nullptr, PositionMode::original);
  DecoderPrefix prefix;
  prefix.boundary = static_cast<int>(model.config().decoder.layers);
  prefix.cache = whole.state.cache;
  prefix.tokens = prompt.encoded.layout.tokens() - 2;
  for (int layer = 0; layer < prefix.boundary; ++layer) {
    prefix.cache.truncate(layer, static_cast<std::int32_t>(prefix.tokens));
  }
  Context context;
  Importance importance(prompt.encoded.layout, RowSet::text);
  DecoderState state = model.decoder().new_state();
  std::vector<float> logits(static_cast<std::size_t>(model.config().decoder.vocab_size));
  PrefillInput input;
  input.embeddings = prompt.embeddings.view().slice(prefix.tokens, 2);
  input.layout = &prompt.encoded.layout;
  input.prefix = &prefix;
  input.observer = &importance;
  const Status status =
      model.decoder().prefill(context, input, state, testing::row_view(logits), nullptr, nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::internal);
}

TEST(Importance, a_plan_that_bypasses_an_attention_cannot_be_watched) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  const LlavaModel& model = *loaded->model;
  const RandomPrompt prompt = random_prompt(model, 4, 1, 6);
  const SequenceLayout& layout = prompt.encoded.layout;
  // Keeps the lowest ids in layer 1's attention and lets the others skip it.
  class Bypass final : public Policy {
   public:
    std::string name() const override { return "bypass"; }
    Result<PruningPlan> plan(const SequenceLayout&, const ModelShape&) override {
      PruningPlan plan;
      plan.stages.push_back({.when = Hook::before_layer,
                             .layer = 1,
                             .keep = 4,
                             .attention = AttentionSource::preview,
                             .rows = {RowSet::last},
                             .bypass = true});
      return plan;
    }
    Status select(Context& context, int, StageInput&, Selection& selection) override {
      selection.count = 4;
      FOVEA_TRY(selection.sources, context.workspace.take(Shape{4}, DType::i32));
      std::iota(selection.sources.as<std::int32_t>(), selection.sources.as<std::int32_t>() + 4, 0);
      return {};
    }
  } policy;
  const PruningPlan plan = *policy.plan(layout, testing::shape_of(model.config().decoder));
  Context context = testing::model_context();
  Importance importance(layout, RowSet::text);
  DecoderState state = model.decoder().new_state();
  std::vector<float> logits(static_cast<std::size_t>(model.config().decoder.vocab_size));
  PrefillInput input;
  input.embeddings = prompt.embeddings.view();
  input.layout = &layout;
  input.policy = &policy;
  input.plan = &plan;
  const auto run = [&] {
    state = model.decoder().new_state();
    return testing::row_there(context, logits, [&](TensorView there) {
      return model.decoder().prefill(context, input, state, there, nullptr, nullptr);
    });
  };
  EXPECT_TRUE(run()) << "the plan itself is a good one";
  input.observer = &importance;
  const Status watched = run();
  ASSERT_FALSE(watched);
  EXPECT_EQ(watched.error().code, ErrorCode::internal);
}

/// A model that guides itself, beside whole maps in double and a run on the tokens they choose.
class SelfGuidedDecoder : public ::testing::TestWithParam<PositionMode> {};

TEST_P(SelfGuidedDecoder, keeps_what_dense_sums_choose_and_answers_as_a_run_on_those) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  for (const int pictures : {1, 2}) {
    const RandomPrompt prompt = random_prompt(*loaded->model, 4, pictures, 6);
    const SequenceLayout& layout = prompt.encoded.layout;
    const Watched guide = watch(*loaded->model, prompt, RowSet::text, 2);
    Sgl policy({}, {.layer = 0.4, .ratio = 0.3});  // before layer 1 keep int(0.3 x 16 or 32)
    policy.rank_by(std::make_shared<const GuideRanking>(GuideRanking{guide.sums, layout.visual}));
    testing::Prefilled run = testing::prefill(*loaded->model, prompt, &policy, GetParam());
    const std::int64_t length = layout.tokens();

    const Importance rows(layout, RowSet::text);
    const auto dense = dense_sums(*loaded->reference, layout, guide.rows, rows.prompt_rows());
    const auto by_dense_sums = [&](const testing::EagerView& view) {
      testing::eager::Scores scores;
      for (const int id : view.ids) scores.push_back(dense[static_cast<std::size_t>(id)]);
      return scores;
    };
    testing::EagerStage cut;
    cut.layer = 1;
    cut.choose = testing::eager::keep_best(pictures == 1 ? 4 : 9, by_dense_sums);
    testing::EagerPruning eager(*loaded->reference, layout, {cut}, GetParam());
    auto hidden = testing::rows_of(prompt.embeddings);
    for (int step = 0; step <= 2; ++step) {
      const testing::EagerOutcome expected = eager.run(hidden);
      ASSERT_EQ(run.record.stages.size(), 1U);
      const auto& kept = run.record.stages[0].kept;
      EXPECT_EQ(std::vector<int>(kept.begin(), kept.end()), expected.kept.at(0));
      EXPECT_TRUE(close_to(run.logits, expected.logits, 2e-5)) << "step " << step;
      const auto present =
          GetParam() == PositionMode::original
              ? length
              : length - layout.visual_count() + static_cast<std::int64_t>(kept.size());
      EXPECT_EQ(run.state.next_position[0], length + step);
      EXPECT_EQ(run.state.next_position[2], present + step);
      hidden.push_back(testing::decode_greedy(*loaded->model, run));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Positions, SelfGuidedDecoder,
                         ::testing::Values(PositionMode::original, PositionMode::compact),
                         [](const auto& tested) {
                           return tested.param == PositionMode::original ? "original" : "compact";
                         });

}  // namespace
}  // namespace fovea
