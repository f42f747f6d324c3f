// Every method against an eager run in double that computes whole attention maps and the method's
// score on its own: the same kept tokens at every stage, the same logits, through prefill and
// decode, in both position modes, for one and two pictures, on two random checkpoints.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "pruning/draw.h"
#include "pruning/method.h"
#include "pruning/methods/zipvl.h"
#include "support/eager_choices.h"
#include "support/random_prompt.h"

namespace fovea {
namespace {

using testing::EagerPruning;
using testing::EagerStage;
using testing::RandomPrompt;
using testing::ReferenceDecoder;

struct Case {
  const char* name;
  MethodRequest request;
  /// The same in eager form; counts are those of the stages, `visual` is what the prompt has.
  std::function<std::vector<EagerStage>(const SequenceLayout&, const ReferenceDecoder&)> eager;
};

std::vector<Case> cases() {
  using namespace testing::eager;
  const ScheduleRequest two_cuts{.layers = {1, 2}, .keep = {{9, false}, {4, false}}};
  return {
      {"adaptinfer",
       {.name = "adaptinfer", .schedule = {.layers = {0, 1}, .keep = {{9, false}, {4, false}}}},
       [](const auto&, const auto&) {
         return std::vector<EagerStage>{after(0, keep_best(9, adaptinfer_score)),
                                        after(1, keep_best(4, adaptinfer_score))};
       }},
      {"fastv",
       {.name = "fastv", .schedule = two_cuts},
       [](const auto&, const auto&) {
         return std::vector<EagerStage>{before_by_previous(1, keep_best(9, last_row_score)),
                                        before_by_previous(2, keep_best(4, last_row_score))};
       }},
      {"himap",
       {.name = "himap", .schedule = two_cuts},
       [](const auto&, const auto&) {
         return std::vector<EagerStage>{before_by_previous(1, keep_best(9, text_sum_score)),
                                        before_by_previous(2, keep_best(4, visual_sum_score))};
       }},
      {"pyramiddrop",
       {.name = "pyramiddrop", .schedule = two_cuts},
       [](const SequenceLayout& layout, const auto&) {
         return std::vector<EagerStage>{
             before_by_preview(1, keep_best_per_picture(9, layout, last_row_score)),
             before_by_preview(2, keep_best_per_picture(4, layout, last_row_score))};
       }},
      {"sparsevlm",
       {.name = "sparsevlm", .schedule = {.layers = {0, 1}, .keep = {{9, false}, {4, false}}}},
       [](const auto&, const auto&) {
         const Raters raters = std::make_shared<std::vector<double>>();
         return std::vector<EagerStage>{looking(choose_raters(raters)),
                                        after(0, keep_best_and_recycle(9, rated_score(raters))),
                                        after(1, keep_best_and_recycle(4, rated_score(raters)))};
       }},
      {"sparsevlm_2",
       {.name = "sparsevlm",
        .schedule = {.layers = {0, 1}, .keep = {{9, false}, {4, false}}},
        .options = {{"version", "2"}}},
       [](const auto&, const ReferenceDecoder& decoder) {
         const Raters raters = std::make_shared<std::vector<double>>();
         const Score score = corrected_score(raters, decoder.config(), 2);  // round(14 * 4 / 32)
         return std::vector<EagerStage>{looking(choose_raters(raters)),
                                        after(0, keep_best(9, score)),
                                        after(1, keep_best(4, score))};
       }},
      {"fitprune",
       {.name = "fitprune",
        .schedule = {.layers = {0, 1, 2}, .keep = {{11, false}, {6, false}, {3, false}}}},
       [](const auto&, const auto&) {
         return std::vector<EagerStage>{after_attention(0, keep_best(11, fitprune_score)),
                                        after_attention(1, keep_best(6, fitprune_score)),
                                        after_attention(2, keep_best(3, fitprune_score))};
       }},
      {"zipvl",
       {.name = "zipvl", .options = {{"tau", "0.8"}}},
       [](const SequenceLayout& layout, const ReferenceDecoder& decoder) {
         const auto positions = probe_positions(layout.tokens(), draw_key(0, layout.fingerprint));
         const Choose choose = keep_carrying(0.8, {positions.begin(), positions.end()});
         std::vector<EagerStage> stages;
         for (int layer = 0; layer < static_cast<int>(decoder.config().layers); ++layer)
           stages.push_back(bypass(layer, choose));
         return stages;
       }},
  };
}

struct Setting {
  std::size_t which = 0;  // of cases()
  const char* model = "";
  int pictures = 1;
  PositionMode positions = PositionMode::original;
};

class PruningMethods : public ::testing::TestWithParam<Setting> {};

double relative_error(const std::vector<float>& actual, const std::vector<double>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

TEST_P(PruningMethods, keep_what_an_eager_run_keeps_and_answer_as_it_does) {
  const Setting& setting = GetParam();
  const Case tested = cases()[setting.which];
  const auto loaded = testing::LoadedModel::load(setting.model);
  ASSERT_NE(loaded, nullptr);
  const RandomPrompt prompt = testing::random_prompt(*loaded->model, 4, setting.pictures, 6);
  const SequenceLayout& layout = prompt.encoded.layout;

  const auto policy = make_policy(tested.request);
  ASSERT_TRUE(policy) << policy.error().to_string();
  testing::Prefilled run =
      testing::prefill(*loaded->model, prompt, policy->get(), setting.positions);
  EagerPruning eager(*loaded->reference, layout, tested.eager(layout, *loaded->reference),
                     setting.positions);
  ReferenceDecoder::Rows hidden = testing::rows_of(prompt.embeddings);
  for (int step = 0; step <= 2; ++step) {
    const testing::EagerOutcome expected = eager.run(hidden);
    if (step == 0) {
      ASSERT_EQ(run.record.stages.size(), expected.kept.size());
      for (std::size_t i = 0; i < expected.kept.size(); ++i) {
        const StageRecord& stage = run.record.stages[i];
        EXPECT_EQ(std::vector<int>(stage.kept.begin(), stage.kept.end()), expected.kept[i])
            << "stage " << i;
        EXPECT_EQ(std::vector<std::vector<int>>(stage.sources.begin(), stage.sources.end()),
                  expected.sources[i])
            << "stage " << i;
      }
    }
    // Rounding of float32 against double through three small layers.
    EXPECT_LT(relative_error(run.logits, expected.logits), 2e-5) << "step " << step;
    hidden.push_back(testing::decode_greedy(*loaded->model, run));
  }
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (std::size_t which = 0; which < cases().size(); ++which) {
    for (const char* model : {"gqa-saved-f32", "mha-published-f16"}) {
      for (const int pictures : {1, 2}) {
        for (const PositionMode mode : {PositionMode::original, PositionMode::compact}) {
          all.push_back({which, model, pictures, mode});
        }
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Eager, PruningMethods, ::testing::ValuesIn(settings()),
                         [](const auto& tested) {
                           const Setting& s = tested.param;
                           return std::string(cases()[s.which].name) +
                                  (s.model[0] == 'g' ? "_gqa_" : "_mha_") +
                                  std::to_string(s.pictures) +
                                  (s.positions == PositionMode::original ? "_original"
                                                                         : "_compact");
                         });

}  // namespace
}  // namespace fovea
