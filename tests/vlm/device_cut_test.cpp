// Cuts that a GPU makes without telling the host at once: the same rows, and the same answers.

#include "vlm/device_cut.h"

#include <gtest/gtest.h>

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

TEST_P(DeviceCutTest, moves_the_rows_that_the_host_would_move) {
  Context context = test_context(GetParam().device), host;
  const SequenceLayout layout = simple_layout(kSystem, kVisual, kText);
  const std::vector<float> values =
      testing::Random(4).normals(std::int64_t{kSystem + kVisual + kText} * kWidth);
  for (const auto& kept : {std::vector<std::int32_t>{1, 4, 9}, {0}, {}}) {
    for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
      const Workspace::Scope scope(host.workspace);
      const auto count = static_cast<std::int64_t>(kept.size());
      auto on_host = host.workspace.take(Shape{count}, DType::i32);
      ASSERT_TRUE(on_host);
      std::copy(kept.begin(), kept.end(), on_host->as<std::int32_t>());

      // As the host does it.
      Tensor before = placed(host, hidden_view(values)), after = placed(host, hidden_view(values));
      LiveSequence expected = some_sequence(before.view());
      Selection selection;
      selection.count = count;
      selection.sources = *on_host;
      const LayerStage seen(host, layout, expected, nullptr, {});
      PruningRecord record;
      ASSERT_TRUE(
          apply_selection(host, {}, seen, selection, mode, after.view(), expected, &record));

      // As a device does it.
      Tensor hidden = placed(context, hidden_view(values)),
             target = placed(context, hidden_view(values)), sources = placed(context, *on_host);
      LiveSequence sequence = some_sequence(hidden.view());
      Tensor positions = placed(context, i32_view(sequence.positions)),
             moved = placed(context, i32_view(sequence.positions));
      selection.sources = sources.view();
      ASSERT_TRUE(DeviceCut::possible(layout, sequence));
      const LayerStage view(context, layout, sequence, nullptr, {});
      const auto cut = DeviceCut::make(context, view, selection, mode, positions.view(),
                                       moved.view(), target.view(), sequence);
      ASSERT_TRUE(cut) << cut.error().to_string();
      // What the next layer needs is there before anybody asked who survived.
      EXPECT_EQ(sequence.origin.size(), expected.origin.size());
      for (const RowSet set : {RowSet::last, RowSet::text, RowSet::visual}) {
        EXPECT_EQ(rows_of(layout, sequence, set, {}), rows_of(layout, expected, set, {}));
      }
      EXPECT_EQ(fetched(context, sequence.hidden), fetched(host, expected.hidden));
      if (mode == PositionMode::original) {
        std::vector<std::int32_t> there(expected.positions.size());
        const Shape shape{static_cast<std::int64_t>(there.size())};
        ASSERT_TRUE(
            copy(context, ConstTensorView(moved.view()).slice(0, shape[0]),
                 TensorView(reinterpret_cast<std::byte*>(there.data()), DType::i32, shape)));
        EXPECT_EQ(there, expected.positions);
      }
      ASSERT_TRUE(cut->settle(sequence));
      EXPECT_EQ(sequence.origin, expected.origin);
      EXPECT_EQ(sequence.positions, expected.positions);
      StageRecord entry;
      list_tokens(layout, sequence, entry);
      EXPECT_EQ(entry.kept, record.stages.back().kept);
    }
  }
}

TEST_P(DeviceCutTest, refuses_what_only_the_host_can_do) {
  Context context = test_context(GetParam().device);
  const std::vector<float> values =
      testing::Random(5).normals(std::int64_t{kSystem + kVisual + kText} * kWidth);
  const SequenceLayout layout = simple_layout(kSystem, kVisual, kText);
  Tensor hidden = placed(context, hidden_view(values)),
         target = placed(context, hidden_view(values));
  LiveSequence sequence = some_sequence(hidden.view());
  sequence.merged[4] = {1, 2};
  EXPECT_FALSE(DeviceCut::possible(layout, sequence));
  sequence.merged.clear();
  LiveSequence textual = sequence;
  textual.origin.erase(textual.origin.begin() + kSystem,
                       textual.origin.begin() + kSystem + kVisual);
  EXPECT_FALSE(DeviceCut::possible(layout, textual)) << "nothing to cut";
  SequenceLayout split = layout;
  split.kinds[kSystem + 4] = TokenKind::text;
  EXPECT_FALSE(DeviceCut::possible(split, sequence)) << "nobody knows how many stay on either side";

  // Survivors that break the contract come out when they are settled.
  const std::vector<std::int32_t> wrong{4, 2};
  Tensor sources = placed(context, i32_view(wrong)),
         positions = placed(context, i32_view(sequence.positions));
  Selection selection;
  selection.count = 2;
  selection.sources = sources.view();
  const LayerStage view(context, layout, sequence, nullptr, {});
  const auto cut = DeviceCut::make(context, view, selection, PositionMode::compact,
                                   positions.view(), {}, target.view(), sequence);
  ASSERT_TRUE(cut);
  EXPECT_FALSE(cut->settle(sequence));
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
  const char* name;
  std::vector<int> layers;
  bool debiased = false;
};
void PrintTo(const MethodCase& tested, std::ostream* stream) {
  *stream << tested.name;
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
  MethodRequest request{
      .name = GetParam().name,
      .schedule = {.layers = GetParam().layers, .keep = {{7, false}, {3, false}}}};
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
      EXPECT_EQ(reference.on_host, 2);
      if (pictures == 1) {
        EXPECT_EQ(watched.on_device, 2);
      } else {
        EXPECT_GE(watched.on_host, 1) << "nobody knows how many stay before the text between";
      }
      ASSERT_EQ(run->record.stages.size(), expected->record.stages.size());
      for (std::size_t i = 0; i < run->record.stages.size(); ++i) {
        const StageRecord &there = run->record.stages[i], &here = expected->record.stages[i];
        EXPECT_EQ(there.kept, here.kept) << "stage " << i;
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
    ::testing::Values(MethodCase{"adaptinfer", {0, 2}}, MethodCase{"adaptinfer", {1, 2}, true},
                      MethodCase{"fastv", {1, 2}}, MethodCase{"fastv", {1, 3}, true},
                      MethodCase{"himap", {1, 3}}, MethodCase{"pyramiddrop", {1, 2}},
                      MethodCase{"pyramiddrop", {0, 3}, true}),
    [](const auto& tested) {
      return std::string(tested.param.name) + "_" + std::to_string(tested.param.layers[0]) +
             std::to_string(tested.param.layers[1]) + (tested.param.debiased ? "_debiased" : "");
    });

}  // namespace
}  // namespace fovea
