// What must hold for every method that acts in the decoder, whatever it ranks by.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "pruning/method.h"
#include "support/small_decoder.h"
#include "vlm/prefix_store.h"

namespace fovea {
namespace {

using testing::simple_layout;
using testing::SmallDecoder;
using testing::two_picture_layout;

struct Variant {
  std::string name;
  MethodRequest request;
};

/// Every method of the table that acts in the decoder by itself, and SparseVLM's second version.
/// (sgl needs a guide, others a file; visionzip and the like act in the vision tower.)
std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const Method& method : methods()) {
    if (std::string(method.name) == "sgl" || method.needs_config) continue;
    const MethodRequest request{.name = method.name};
    const auto policy = make_policy(request);
    EXPECT_TRUE(policy) << policy.error().to_string();
    if (!policy || (*policy)->in_vision_tower()) continue;
    all.push_back({method.name, request});
  }
  all.push_back({"sparsevlm_2", {.name = "sparsevlm", .options = {{"version", "2"}}}});
  return all;
}

/// Counts of the visual tokens in two cuts (of the methods that make more than one), at layers that
/// every method can name in a model of four.
MethodRequest with_counts(const Variant& variant, KeepCount first, KeepCount second) {
  MethodRequest request = variant.request;
  if (request.name == "divprune") {
    request.schedule.layers = {0};
    request.schedule.keep = {first};
  } else if (request.name == "zipvl") {
    const double tau = first.value <= 0 ? 0 : first.value >= 16 ? 1 : 0.7;
    request.options["tau"] = std::to_string(tau);
  } else {
    request.schedule.layers = {1, 2};
    request.schedule.keep = {first, second};
  }
  return request;
}

std::shared_ptr<Policy> policy_of(const MethodRequest& request) {
  const auto policy = make_policy(request);
  EXPECT_TRUE(policy) << policy.error().to_string();
  return policy ? *policy : nullptr;
}

class EveryMethod : public ::testing::TestWithParam<std::size_t> {
 protected:
  Variant variant() const { return variants()[GetParam()]; }
  bool bypasses() const { return variant().name == "zipvl"; }

  /// Lengths, order and content of what a run kept agree with each other.
  static void check_consistency(const SequenceLayout& layout, const SmallDecoder::Run& run) {
    std::set<std::int32_t> before;
    for (std::int32_t id = 0; id < layout.visual_count(); ++id) before.insert(id);
    for (const StageRecord& stage : run.record.stages) {
      EXPECT_TRUE(std::is_sorted(stage.kept.begin(), stage.kept.end()));
      std::set<std::int32_t> now(stage.kept.begin(), stage.kept.end());
      EXPECT_EQ(now.size(), stage.kept.size()) << "no token twice";
      for (const auto& group : stage.sources) {
        EXPECT_FALSE(group.empty());
        now.insert(group.begin(), group.end());
      }
      EXPECT_TRUE(std::includes(before.begin(), before.end(), now.begin(), now.end()))
          << "nothing comes back";
      if (!stage.bypass) before = now;
    }
    // What entered each layer: every token that is not visual, and what the record says.
    const std::int64_t others = layout.tokens() - layout.visual_count();
    BudgetShape shape;
    shape.layers = static_cast<int>(run.state.next_position.size());
    const BudgetReport report = account(run.record, shape, others);
    for (int layer = 0; layer < shape.layers; ++layer) {
      const auto index = static_cast<std::size_t>(layer);
      EXPECT_EQ(run.state.cache.length(layer), report.entering[index] + others);
      const auto& rows =
          run.state.survivors[static_cast<std::size_t>(run.state.survivor_list[index])];
      EXPECT_EQ(std::count_if(rows.begin(), rows.end(),
                              [&](std::int32_t position) {
                                return layout.kinds[static_cast<std::size_t>(position)] !=
                                       TokenKind::visual;
                              }),
                others)
          << "system and text are never dropped";
      const bool compact = run.plan.positions == PositionMode::compact && !run.plan.stages.empty();
      EXPECT_EQ(run.state.next_position[index],
                compact ? run.state.cache.length(layer) : layout.tokens());
    }
    for (const float logit : run.logits) EXPECT_TRUE(std::isfinite(logit));
  }

  /// Runs and checks; a refusal must be the user's to mend, and say how.
  static bool runs_or_explains(const SmallDecoder& model, const SequenceLayout& layout,
                               Policy& policy) {
    for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
      auto run = model.prefill(layout, model.random_embeddings(layout, 1),
                               {.policy = &policy, .positions = mode});
      if (!run) {
        EXPECT_EQ(run.error().code, ErrorCode::usage) << run.error().to_string();
        EXPECT_FALSE(run.error().field.empty()) << run.error().to_string();
        EXPECT_FALSE(run.error().remedy.empty()) << run.error().to_string();
        return false;
      }
      check_consistency(layout, *run);
      model.decode(*run, 3);
      for (const float logit : run->logits) EXPECT_TRUE(std::isfinite(logit));
    }
    return true;
  }
};

TEST_P(EveryMethod, keeping_all_is_bit_identical_to_no_pruning) {
  const SmallDecoder model(4);
  const SequenceLayout layout = simple_layout(3, 16, 5, 4);
  const auto embeddings = model.random_embeddings(layout, 1);
  auto plain = model.prefill(layout, embeddings, {});
  ASSERT_TRUE(plain);
  model.decode(*plain, 3);
  for (const double count : {16.0, 17.0, 1000.0}) {
    const auto policy = policy_of(with_counts(variant(), {count}, {count}));
    for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
      auto run = model.prefill(layout, embeddings, {.policy = policy.get(), .positions = mode});
      ASSERT_TRUE(run) << run.error().to_string();
      EXPECT_TRUE(run->plan.stages.empty());
      EXPECT_TRUE(run->record.stages.empty());
      model.decode(*run, 3);
      EXPECT_EQ(run->logits, plain->logits);
    }
  }
}

TEST_P(EveryMethod, what_is_kept_is_in_order_and_text_stays) {
  const SmallDecoder model(4);
  const auto policy = policy_of(with_counts(variant(), {9}, {4}));
  EXPECT_TRUE(runs_or_explains(model, simple_layout(3, 16, 5, 4), *policy));
}

TEST_P(EveryMethod, two_pictures_keep_the_text_between_them) {
  const SmallDecoder model(4);
  const auto policy = policy_of(with_counts(variant(), {9}, {4}));
  EXPECT_TRUE(runs_or_explains(model, two_picture_layout(3, 4, 5), *policy));
}

TEST_P(EveryMethod, a_count_of_zero_drops_every_visual_token_and_goes_on) {
  const SmallDecoder model(4);
  const auto policy = policy_of(with_counts(variant(), {0}, {0}));
  const SequenceLayout layout = simple_layout(3, 16, 5, 4);
  ASSERT_TRUE(runs_or_explains(model, layout, *policy));
  const auto run =
      model.prefill(layout, model.random_embeddings(layout, 1), {.policy = policy.get()});
  ASSERT_TRUE(run);
  ASSERT_FALSE(run->record.stages.empty());
  EXPECT_EQ(run->record.stages.back().tokens(), 0);
}

TEST_P(EveryMethod, a_prompt_without_a_picture_runs_as_without_pruning) {
  const SmallDecoder model(4);
  const SequenceLayout layout = simple_layout(6, 0, 0);
  const auto embeddings = model.random_embeddings(layout, 1);
  const auto policy = policy_of(with_counts(variant(), {9}, {4}));
  const auto plain = model.prefill(layout, embeddings, {});
  const auto run = model.prefill(layout, embeddings, {.policy = policy.get()});
  ASSERT_TRUE(plain);
  ASSERT_TRUE(run) << run.error().to_string();
  EXPECT_TRUE(run->plan.stages.empty());
  EXPECT_EQ(run->logits, plain->logits);
}

TEST_P(EveryMethod, a_picture_at_the_end_of_the_prompt_is_pruned_or_refused_with_a_remedy) {
  const SmallDecoder model(4);
  runs_or_explains(model, simple_layout(3, 16, 0, 4), *policy_of(with_counts(variant(), {9}, {4})));
  runs_or_explains(model, simple_layout(3, 16, 0, 4), *policy_of(with_counts(variant(), {0}, {0})));
}

TEST_P(EveryMethod, a_picture_alone_never_leaves_an_empty_prompt) {
  const SmallDecoder model(4);
  runs_or_explains(model, simple_layout(0, 16, 0, 4), *policy_of(with_counts(variant(), {9}, {4})));
  runs_or_explains(model, simple_layout(0, 16, 0, 4), *policy_of(with_counts(variant(), {0}, {0})));
}

TEST_P(EveryMethod, shallow_models_get_a_sensible_plan_or_a_remedy) {
  for (const int layers : {1, 2, 3}) {
    const SmallDecoder model(layers);
    runs_or_explains(model, simple_layout(3, 16, 5, 4), *policy_of(variant().request));
  }
}

TEST_P(EveryMethod, budgets_are_met_or_the_reachable_range_is_said) {
  const SequenceLayout layout = simple_layout(35, 576, 29);
  const ModelShape shape{
      .layers = 32, .heads = 4, .kv_heads = 4, .hidden_size = 64, .head_dim = 16};
  for (const double budget : {10.0, 64.0, 144.0, 192.0, 288.0, 400.0}) {
    MethodRequest request = variant().request;
    request.schedule.budget = budget;
    if (request.name == "fitprune") {  // has no schedule of its own
      request.schedule.layers = {1, 10, 20};
      request.schedule.keep = {{300}, {100}, {20}};
    }
    const auto policy = make_policy(request);
    const auto plan =
        policy ? (*policy)->plan(layout, shape) : Result<PruningPlan>(Error(policy.error()));
    if (!plan) {
      EXPECT_EQ(plan.error().code, ErrorCode::usage);
      EXPECT_EQ(plan.error().field, "--prune-budget") << plan.error().to_string();
      EXPECT_FALSE(plan.error().remedy.empty());
      continue;
    }
    PruningRecord record;
    record.initial = 576;
    std::int64_t present = 576;
    for (const Stage& stage : plan->stages) {
      StageRecord& cut = record.stages.emplace_back();
      cut.when = stage.when;
      cut.layer = stage.layer;
      std::int64_t left = stage.keep;
      if (variant().name == "sparsevlm" && left > 0) {  // and what is merged
        const std::int64_t recycled = (present - left) * 3 / 10 + 1;
        left += recycled / 10 + 1;
      }
      cut.kept.resize(static_cast<std::size_t>(left));
      present = left;
    }
    BudgetShape budget_shape;
    budget_shape.layers = 32;
    EXPECT_NEAR(account(record, budget_shape, 64).entering_mean, budget, 1.0) << variant().name;
  }
}

/// Keeps what another run kept, at the same places.
class Replay final : public Policy {
 public:
  explicit Replay(const SmallDecoder::Run& run) : record_(run.record) {
    plan_.positions = run.plan.positions;
    for (const StageRecord& stage : record_.stages) {
      plan_.stages.push_back({.when = stage.when, .layer = stage.layer});
    }
  }
  std::string name() const override { return "replay"; }
  Result<PruningPlan> plan(const SequenceLayout&, const ModelShape&) override { return plan_; }
  Status select(Context& context, int stage_index, StageInput& input,
                Selection& selection) override {
    const StageRecord& stage = record_.stages[static_cast<std::size_t>(stage_index)];
    const auto ids = input.visual_ids();
    const auto place = [&](std::int32_t id) {
      return static_cast<std::int32_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
    };
    std::vector<std::int32_t> sources, offsets{0};
    std::vector<float> weights;
    const auto add = [&](const std::vector<std::int32_t>& group) {
      for (const std::int32_t id : group) {
        sources.push_back(place(id));
        weights.push_back(1.0f / static_cast<float>(group.size()));
      }
      offsets.push_back(static_cast<std::int32_t>(sources.size()));
    };
    for (const std::int32_t id : stage.kept) add({id});
    for (const auto& group : stage.sources) add(group);
    selection = {};
    selection.count = stage.tokens();
    selection.appended = static_cast<std::int64_t>(stage.sources.size());
    const auto count = static_cast<std::int64_t>(sources.size());
    FOVEA_TRY(selection.sources, context.workspace.take(Shape{count}, DType::i32));
    FOVEA_TRY(selection.weights, context.workspace.take(Shape{count}, DType::f32));
    FOVEA_TRY(selection.offsets, context.workspace.take(Shape{selection.count + 1}, DType::i32));
    std::copy(sources.begin(), sources.end(), selection.sources.as<std::int32_t>());
    std::copy(weights.begin(), weights.end(), selection.weights.as<float>());
    std::copy(offsets.begin(), offsets.end(), selection.offsets.as<std::int32_t>());
    return {};
  }

 private:
  PruningRecord record_;
  PruningPlan plan_;
};

double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += std::pow(actual[i] - expected[i], 2);
    norm += std::pow(expected[i], 2);
  }
  return std::sqrt(difference / norm);
}

TEST_P(EveryMethod, a_prompt_equals_all_but_its_last_token_and_one_step_on_the_same_kept_set) {
  if (bypasses()) {
    GTEST_SKIP() << "an answer token sees keys that the last prompt row skips";
  }
  const SmallDecoder model(4);
  const SequenceLayout layout = two_picture_layout(3, 4, 5), shorter = two_picture_layout(3, 4, 4);
  auto embeddings = model.random_embeddings(layout, 1);
  const auto last = model.embedding(3);
  std::copy(last.begin(), last.end(), embeddings.end() - static_cast<std::ptrdiff_t>(last.size()));
  MethodRequest request = with_counts(variant(), {9}, {9});
  if (request.schedule.layers.size() == 2) {  // one cut, so that merged tokens are known wholly
    request.schedule.layers.pop_back();
    request.schedule.keep.pop_back();
  }
  const auto policy = policy_of(request);
  for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
    const auto whole =
        model.prefill(layout, embeddings, {.policy = policy.get(), .positions = mode});
    ASSERT_TRUE(whole) << whole.error().to_string();
    Replay replay(*whole);
    auto stepwise = model.prefill(
        shorter, {embeddings.begin(), embeddings.end() - static_cast<std::ptrdiff_t>(last.size())},
        {.policy = &replay});
    ASSERT_TRUE(stepwise) << stepwise.error().to_string();
    ASSERT_EQ(stepwise->record.stages.size(), whole->record.stages.size());
    EXPECT_EQ(stepwise->record.stages[0].kept, whole->record.stages[0].kept);
    EXPECT_EQ(stepwise->record.stages[0].sources, whole->record.stages[0].sources);
    model.decode(*stepwise, 3);
    // Products over one row and over many round differently.
    EXPECT_LT(relative_error(stepwise->logits, whole->logits), 2e-5);
    for (int layer = 0; layer < model.layers(); ++layer) {
      const auto index = static_cast<std::size_t>(layer);
      EXPECT_EQ(stepwise->state.cache.length(layer), whole->state.cache.length(layer));
      EXPECT_EQ(stepwise->state.next_position[index], whole->state.next_position[index]);
    }
  }
}

TEST_P(EveryMethod, a_prefix_snapshot_changes_no_choice_and_no_answer) {
  const SmallDecoder model(4);
  const SequenceLayout first = two_picture_layout(3, 4, 5), second = two_picture_layout(3, 4, 7);
  const auto shown = model.random_embeddings(first, 1);
  auto asked = model.random_embeddings(second, 2);
  // Both prompts begin alike, up to the question.
  const std::size_t width = 32, shared = (3 + 16 + 4 + 16) * width;
  std::copy_n(shown.begin(), shared, asked.begin());
  const auto policy = policy_of(with_counts(variant(), {9}, {4}));
  for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
    const auto plan = policy->plan(first, model.shape());
    ASSERT_TRUE(plan);
    const int boundary = model.decoder().boundary(&*plan);
    DecoderPrefix prefix;
    prefix.tokens = shareable_tokens(first, &*plan, boundary);
    if (prefix.tokens == 0) GTEST_SKIP() << "acts before anything could be shared";
    EXPECT_LE(prefix.tokens, static_cast<std::int64_t>(shared / width));
    const auto made = model.prefill(
        first, shown, {.policy = policy.get(), .positions = mode, .capture = &prefix});
    ASSERT_TRUE(made) << made.error().to_string();
    const auto fresh = model.prefill(second, asked, {.policy = policy.get(), .positions = mode});
    const auto resumed = model.prefill(
        second, asked, {.policy = policy.get(), .positions = mode, .prefix = &prefix});
    ASSERT_TRUE(fresh);
    ASSERT_TRUE(resumed) << resumed.error().to_string();
    ASSERT_EQ(resumed->record.stages.size(), fresh->record.stages.size());
    for (std::size_t i = 0; i < fresh->record.stages.size(); ++i) {
      EXPECT_EQ(resumed->record.stages[i].kept, fresh->record.stages[i].kept);
      EXPECT_EQ(resumed->record.stages[i].sources, fresh->record.stages[i].sources);
    }
    check_consistency(second, *resumed);
    EXPECT_LT(relative_error(resumed->logits, fresh->logits), 2e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryMethod, ::testing::Range<std::size_t>(0, variants().size()),
                         [](const auto& tested) { return variants()[tested.param].name; });

}  // namespace
}  // namespace fovea
