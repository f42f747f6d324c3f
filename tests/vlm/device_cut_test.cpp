// Cuts that a GPU makes without telling the host at once: the same rows, and the same answers.

#include "vlm/device_cut.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "pruning/debias.h"
#include "pruning/method.h"
#include "support/small_decoder.h"
#include "support/twins.h"

namespace fovea {
namespace {

using testing::DeviceCase;
using testing::DeviceTest;
using testing::simple_layout;
using testing::SmallDecoder;
using testing::test_context;

constexpr int kSystem = 3, kVisual = 10, kText = 4, kWidth = 8;

class DeviceCutTest : public DeviceTest<DeviceCase> {};

Tensor placed(Context& context, ConstTensorView values) {
  auto made = Tensor::allocate(values.shape, values.dtype, context.device);
  EXPECT_TRUE(made);
  if (!made) return {};
  EXPECT_TRUE(copy(context, values, made->view()));
  return std::move(*made);
}

std::vector<float> fetched(Context& context, ConstTensorView values) {
  std::vector<float> here(static_cast<std::size_t>(values.shape.elements()));
  EXPECT_TRUE(
      copy(context, values,
           TensorView(reinterpret_cast<std::byte*>(here.data()), DType::f32, values.shape)));
  return here;
}

ConstTensorView hidden_view(const std::vector<float>& values) {
  return {reinterpret_cast<const std::byte*>(values.data()), DType::f32,
          Shape{static_cast<std::int64_t>(values.size()) / kWidth, kWidth}};
}

LiveSequence some_sequence(TensorView hidden) {
  LiveSequence sequence;
  sequence.hidden = hidden;
  for (std::int32_t row = 0; row < kSystem + kVisual + kText; ++row) {
    sequence.origin.push_back(row);
    sequence.positions.push_back(2 * row + 1);
  }
  return sequence;
}

/// Visual tokens side by side, or with text and system tokens between them.
SequenceLayout some_layout(bool side_by_side) {
  SequenceLayout layout = simple_layout(kSystem, kVisual, kText);
  if (side_by_side) return layout;
  std::swap(layout.kinds[1], layout.kinds[kSystem + 6]);
  std::swap(layout.visual_ids[1], layout.visual_ids[kSystem + 6]);
  std::swap(layout.kinds[kSystem + 2], layout.kinds[kSystem + kVisual]);
  std::swap(layout.visual_ids[kSystem + 2], layout.visual_ids[kSystem + kVisual]);
  std::int32_t next = 0;
  for (std::int32_t& id : layout.visual_ids) {
    if (id >= 0) id = next++;
  }
  return layout;
}

struct SomeSelection {
  std::vector<std::int32_t> sources, offsets;
  std::vector<float> weights;
  std::int64_t appended = 0;
};

Selection place(Context& context, const SomeSelection& chosen, std::vector<Tensor>& held) {
  const auto floats = [&](const std::vector<float>& values) {
    return ConstTensorView(reinterpret_cast<const std::byte*>(values.data()), DType::f32,
                           Shape{static_cast<std::int64_t>(values.size())});
  };
  Selection selection;
  selection.count = static_cast<std::int64_t>(chosen.offsets.empty() ? chosen.sources.size()
                                                                     : chosen.offsets.size() - 1);
  selection.appended = chosen.appended;
  held.push_back(placed(context, i32_view(chosen.sources)));
  selection.sources = held.back().view();
  if (chosen.offsets.empty()) return selection;
  held.push_back(placed(context, i32_view(chosen.offsets)));
  selection.offsets = held.back().view();
  held.push_back(placed(context, floats(chosen.weights)));
  selection.weights = held.back().view();
  return selection;
}

std::vector<std::int32_t> fetched_numbers(Context& context, ConstTensorView values) {
  std::vector<std::int32_t> here(static_cast<std::size_t>(values.shape[0]));
  EXPECT_TRUE(
      copy(context, values,
           TensorView(reinterpret_cast<std::byte*>(here.data()), DType::i32, values.shape)));
  return here;
}

TEST_P(DeviceCutTest, moves_the_rows_that_the_host_would_move) {
  Context context = test_context(GetParam().device), host;
  const std::vector<float> values =
      testing::Random(4).normals(std::int64_t{kSystem + kVisual + kText} * kWidth);
  const SomeSelection selections[] = {
      {{1, 4, 9}, {}, {}, 0},
      {{0}, {}, {}, 0},
      {{}, {}, {}, 0},
      // Tokens 2 and 5, with which 3 and 7 were merged; then 9 and 0, and 8, behind the last one.
      {{2, 5, 3, 7, 9, 0, 8}, {0, 1, 4, 6, 7}, {1, .5f, .25f, .25f, .5f, .5f, 1}, 2},
  };
  for (const SomeSelection& chosen : selections) {
    for (const bool side_by_side : {true, false}) {
      for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
        const SequenceLayout layout = some_layout(side_by_side);
        std::vector<Tensor> held;
        // As the host does it.
        Tensor before = placed(host, hidden_view(values)),
               after = placed(host, hidden_view(values));
        LiveSequence expected = some_sequence(before.view());
        const std::int32_t early = layout.visual_ids[4] >= 0 ? 4 : 5;
        expected.merged[early] = {1, 2};
        LiveSequence sequence = expected;
        const LayerStage seen(host, layout, expected, nullptr, {});
        PruningRecord record;
        const Selection on_host = place(host, chosen, held);
        ASSERT_TRUE(
            apply_selection(host, {}, seen, on_host, mode, after.view(), expected, &record));

        // As a device does it.
        Tensor hidden = placed(context, hidden_view(values)),
               target = placed(context, hidden_view(values));
        sequence.hidden = hidden.view();
        Tensor positions = placed(context, i32_view(sequence.positions)),
               moved = placed(context, i32_view(sequence.positions));
        const LayerStage view(context, layout, sequence, nullptr, {});
        const auto cut = DeviceCut::make(context, view, place(context, chosen, held), mode,
                                         positions.view(), moved.view(), target.view(), sequence);
        ASSERT_TRUE(cut) << cut.error().to_string();
        // What the next layer needs is there before anybody asked who survived.
        EXPECT_EQ(cut->places_known(), side_by_side);
        EXPECT_EQ(sequence.origin.size(), expected.origin.size());
        for (const RowSet set : {RowSet::last, RowSet::text, RowSet::visual}) {
          if (!side_by_side && set != RowSet::last) continue;
          EXPECT_EQ(rows_of(layout, sequence, set, {}), rows_of(layout, expected, set, {}));
        }
        EXPECT_EQ(fetched(context, sequence.hidden), fetched(host, expected.hidden));
        if (mode == PositionMode::original) {
          const auto count = static_cast<std::int64_t>(expected.positions.size());
          EXPECT_EQ(fetched_numbers(context, ConstTensorView(moved.view()).slice(0, count)),
                    expected.positions);
        }
        ASSERT_TRUE(cut->settle(layout, sequence));
        EXPECT_EQ(sequence.origin, expected.origin);
        EXPECT_EQ(sequence.positions, expected.positions);
        EXPECT_EQ(sequence.merged, expected.merged);
        StageRecord entry;
        list_tokens(layout, sequence, entry);
        EXPECT_EQ(entry.kept, record.stages.back().kept);
        EXPECT_EQ(entry.sources, record.stages.back().sources);
      }
    }
  }
}

TEST_P(DeviceCutTest, survivors_that_break_the_contract_come_out_when_they_are_settled) {
  Context context = test_context(GetParam().device);
  const std::vector<float> values =
      testing::Random(5).normals(std::int64_t{kSystem + kVisual + kText} * kWidth);
  const SequenceLayout layout = some_layout(true);
  const SomeSelection broken[] = {
      {{4, 2}, {}, {}, 0},                       // out of order
      {{4, 4}, {}, {}, 0},                       // twice
      {{1, 4, 6}, {0, 2, 3}, {.5f, .5f, 1}, 3},  // more appended than there are
      {{1, 1}, {0, 1, 2}, {1, 1}, 1},            // twice, once of them behind
  };
  for (const SomeSelection& chosen : broken) {
    std::vector<Tensor> held;
    Tensor hidden = placed(context, hidden_view(values)),
           target = placed(context, hidden_view(values));
    LiveSequence sequence = some_sequence(hidden.view());
    Tensor positions = placed(context, i32_view(sequence.positions));
    const LayerStage view(context, layout, sequence, nullptr, {});
    const auto cut =
        DeviceCut::make(context, view, place(context, chosen, held), PositionMode::compact,
                        positions.view(), {}, target.view(), sequence);
    if (!cut) continue;  // the count itself gave it away
    EXPECT_FALSE(cut->settle(layout, sequence));
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceCutTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         testing::case_name);

// ---- Through a whole prompt --------------------------------------------------------------------

/// Passes everything on, and remembers where it was asked to choose.
class Watched final : public Policy {
 public:
  /// host_only: the policy is never asked to choose on a device.
  Watched(Policy& policy, bool host_only) : policy_(policy), host_only_(host_only) {}
  std::string name() const override { return policy_.name(); }
  bool selects_on_device(const SequenceLayout& layout) const override {
    return !host_only_ && policy_.selects_on_device(layout);
  }
  Result<PruningPlan> plan(const SequenceLayout& layout, const ModelShape& shape) override {
    return policy_.plan(layout, shape);
  }
  Status read_embeddings(Context& context, StageInput& input) override {
    EXPECT_EQ(context.on_cuda(), !host_only_);
    return policy_.read_embeddings(context, input);
  }
  Status select(Context& context, int stage, StageInput& input, Selection& selection) override {
    ++(context.on_cuda() ? on_device : on_host);
    return policy_.select(context, stage, input, selection);
  }
  int on_device = 0, on_host = 0;

 private:
  Policy& policy_;
  bool host_only_;
};

struct MethodCase {
  const char* label;
  const char* name;
  std::vector<int> layers;
  std::vector<KeepCount> keep{{7, false}, {3, false}};
  std::map<std::string, std::string> options;
  bool debiased = false;
};
void PrintTo(const MethodCase& tested, std::ostream* stream) {
  *stream << tested.label;
}

class CutsOnTheGpu : public ::testing::TestWithParam<MethodCase> {};

/// A picture 40 x 20 in a grid of 4 x 4 cells of 10 x 10: padding above and below.
void add_picture_sizes(SequenceLayout& layout) {
  layout.pictures = {{40, 20}, {40, 20}};
  for (VisualToken& token : layout.visual) token.width = token.height = 10;
}

TEST_P(CutsOnTheGpu, keep_the_tokens_and_give_the_answers_of_cuts_by_the_host) {
  if (const std::string reason = testing::why_missing(DeviceKind::cuda); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  const SmallDecoder model(4, {DeviceKind::cuda, 0});
  MethodRequest request{.name = GetParam().name,
                        .schedule = {.layers = GetParam().layers, .keep = GetParam().keep}};
  request.options = GetParam().options;
  if (GetParam().debiased) {
    DebiasRequest debias;
    debias.weights = *IndexWeights::exponential(1.5);
    debias.padding_theta = 0.3;
    debias.stages = AdjustedStages::all;
    request.adjustments = *debias_adjustments(debias, request.name);
  }
  const auto policy = make_policy(request);
  ASSERT_TRUE(policy) << policy.error().to_string();
  for (const int pictures : {1, 2}) {
    SequenceLayout layout =
        pictures == 1 ? simple_layout(3, 16, 5, 4) : testing::two_picture_layout(3, 2, 5);
    add_picture_sizes(layout);
    for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
      const auto embeddings = model.random_embeddings(layout, 11);
      Watched watched(**policy, false), reference(**policy, true);
      auto run = model.prefill(layout, embeddings, {.policy = &watched, .positions = mode});
      auto expected = model.prefill(layout, embeddings, {.policy = &reference, .positions = mode});
      ASSERT_TRUE(expected) << expected.error().to_string();
      ASSERT_TRUE(run) << run.error().to_string();
      EXPECT_GE(reference.on_host, 1);
      EXPECT_EQ(watched.on_device, reference.on_host) << "with text between pictures too";
      EXPECT_EQ(watched.on_host, 0);
      ASSERT_EQ(run->record.stages.size(), expected->record.stages.size());
      for (std::size_t i = 0; i < run->record.stages.size(); ++i) {
        const StageRecord &there = run->record.stages[i], &here = expected->record.stages[i];
        EXPECT_EQ(there.kept, here.kept) << "stage " << i;
        EXPECT_EQ(there.sources, here.sources) << "stage " << i;
        EXPECT_EQ(there.bypass, here.bypass);
        EXPECT_EQ(there.layer, here.layer);
        EXPECT_EQ(there.when, here.when);
        EXPECT_GE(there.select_ms, 0.0);
      }
      EXPECT_EQ(run->state.survivors, expected->state.survivors);
      EXPECT_EQ(run->state.survivor_list, expected->state.survivor_list);
      EXPECT_EQ(run->state.next_position, expected->state.next_position);
      for (int step = 0; step < 3; ++step) {
        for (int layer = 0; layer < model.layers(); ++layer) {
          EXPECT_EQ(run->state.cache.length(layer), expected->state.cache.length(layer));
        }
        for (std::size_t i = 0; i < run->logits.size(); ++i) {
          // The same rows in other places of memory: sums may go another way round.
          EXPECT_NEAR(run->logits[i], expected->logits[i], 1e-5) << "step " << step;
        }
        model.decode(*expected, 5 + step);
        model.decode(*run, 5 + step);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Methods, CutsOnTheGpu,
    ::testing::Values(
        MethodCase{"adaptinfer", "adaptinfer", {0, 2}},
        MethodCase{.label = "adaptinfer_debiased",
                   .name = "adaptinfer",
                   .layers = {1, 2},
                   .debiased = true},
        MethodCase{"fastv", "fastv", {1, 2}},
        MethodCase{.label = "fastv_debiased", .name = "fastv", .layers = {1, 3}, .debiased = true},
        MethodCase{"himap", "himap", {1, 3}}, MethodCase{"pyramiddrop", "pyramiddrop", {1, 2}},
        MethodCase{.label = "pyramiddrop_debiased",
                   .name = "pyramiddrop",
                   .layers = {0, 3},
                   .debiased = true},
        MethodCase{
            "sparsevlm_v1", "sparsevlm", {0, 2}, {{7, false}, {3, false}}, {{"version", "1"}}},
        MethodCase{
            "sparsevlm_v2", "sparsevlm", {1, 2}, {{7, false}, {3, false}}, {{"version", "2"}}},
        MethodCase{.label = "sparsevlm_debiased",
                   .name = "sparsevlm",
                   .layers = {0, 1},
                   .options = {{"version", "1"}},
                   .debiased = true},
        MethodCase{"fitprune", "fitprune", {1, 3}}, MethodCase{"random", "random", {0, 2}},
        MethodCase{"uniform", "uniform", {1, 2}},
        MethodCase{"divprune", "divprune", {0}, {{6, false}}},
        MethodCase{"zipvl", "zipvl", {}, {}, {{"tau", "0.8"}}},
        MethodCase{.label = "zipvl_debiased",
                   .name = "zipvl",
                   .keep = {},
                   .options = {{"tau", "0.7"}},
                   .debiased = true}),
    [](const auto& tested) { return std::string(tested.param.label); });

}  // namespace
}  // namespace fovea
