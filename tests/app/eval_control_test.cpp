#include "app/eval/control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "pruning/policy.h"
#include "support/fake_stage.h"

namespace fovea::app {
namespace {

EvalItem question(const std::string& category, const std::string& text, const std::string& answer,
                  const std::vector<std::string>& images = {"a.jpg"}) {
  EvalItem item;
  item.category = category;
  item.text = text;
  item.images = images;
  item.label.accepted = {answer};
  return item;
}

TEST(EvalControl, each_is_known_by_its_name_and_unknown_ones_list_them) {
  for (const char* name : {"majority", "shuffled", "no-visual", "evidence-only", "drop-evidence"}) {
    const auto control = read_control(name);
    ASSERT_TRUE(control) << name;
    EXPECT_EQ(control->name, name);
    EXPECT_EQ(control->layer, 0);
  }
  const auto cut = read_control("evidence-only:layers=3:positions=compact");
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->layer, 3);
  EXPECT_EQ(cut->positions, PositionMode::compact);
  for (const char* wrong :
       {"magic", "", "majority:layers=1", "no-visual:keep=3", "no-visual:layers=1+2",
        "no-visual:layers=x", "no-visual:layers", "shuffled:", "drop-evidence:positions=x"}) {
    const auto control = read_control(wrong);
    ASSERT_FALSE(control) << wrong;
    EXPECT_EQ(control.error().code, ErrorCode::usage);
    EXPECT_EQ(control.error().field, "--control");
  }
  EXPECT_NE(read_control("magic").error().remedy.find("evidence-only"), std::string::npos);
}

TEST(EvalControl, evidence_controls_ask_only_where_there_is_evidence) {
  EvalItem item = question("at", "What?", "x");
  const Control only = *read_control("evidence-only"), none = *read_control("no-visual");
  const ControlPrompt prompt{100, 12};
  EXPECT_FALSE(*control_setup(only, item, prompt));
  EXPECT_TRUE((*control_setup(none, item, prompt))->policy);
  item.evidence.emplace();
  EXPECT_FALSE(*control_setup(only, item, prompt)) << "no token holds the answer";
  item.evidence->push_back(3);
  EXPECT_TRUE((*control_setup(only, item, prompt))->policy);
  EXPECT_FALSE((*control_setup(*read_control("shuffled"), item, prompt))->policy);
}

std::vector<std::int32_t> kept_by(const char* written, const EvalItem& item) {
  const Control control = *read_control(written);
  const auto setup = control_setup(control, item, {100, 12});
  EXPECT_TRUE(setup && *setup) << written;
  if (!setup || !*setup) return {};
  const SequenceLayout layout = testing::simple_layout(1, 100, 2, 10);
  const auto plan = (*setup)->policy->plan(layout, {.layers = 12, .heads = 1});
  EXPECT_TRUE(plan && plan->stages.size() == 1U) << written;
  EXPECT_EQ(plan->stages[0].layer, control.layer);
  testing::FakeStage stage(layout);
  Context context;
  Selection selection;
  EXPECT_TRUE((*setup)->policy->select(context, 0, stage, selection));
  return testing::kept(selection);
}

TEST(EvalControl, a_budget_fills_the_evidence_up_with_others_drawn_by_lot) {
  EvalItem item = question("at", "What?", "x");
  item.evidence = std::vector<std::int32_t>{3, 50, 99};
  const auto holds = [&](const std::vector<std::int32_t>& kept) {
    return std::count_if(kept.begin(), kept.end(), [&](std::int32_t id) {
      return std::binary_search(item.evidence->begin(), item.evidence->end(), id);
    });
  };
  const auto only = kept_by("evidence-only:budget=20", item);
  EXPECT_EQ(only.size(), 20U);
  EXPECT_EQ(holds(only), 3);
  EXPECT_EQ(only, kept_by("evidence-only:budget=20", item)) << "the lot is the same each time";
  const auto without = kept_by("drop-evidence:budget=20", item);
  EXPECT_EQ(without.size(), 20U);
  EXPECT_EQ(holds(without), 0);
  EXPECT_EQ(kept_by("evidence-only:budget=2", item).size(), 2U) << "part of the evidence";
  // Before layer 3 of 12, 25 of the mean are spent; 75 x 20 / 100 more come from 20 tokens.
  EXPECT_EQ(kept_by("evidence-only:layers=3:budget=40", item).size(), 20U);
  EXPECT_EQ(kept_by("evidence-only:budget=0.5", item).size(), 50U) << "a share of the prompt's";
  EXPECT_FALSE(control_setup(*read_control("evidence-only:layers=6:budget=40"), item, {100, 12}));
}

TEST(EvalControl, without_visual_tokens_a_budget_is_reached_by_a_later_cut) {
  const EvalItem item = question("at", "What?", "x");
  const auto setup = control_setup(*read_control("no-visual:budget=50"), item, {100, 12});
  ASSERT_TRUE(setup && *setup);
  const auto plan =
      (*setup)->policy->plan(testing::simple_layout(1, 100, 2, 10), {.layers = 12, .heads = 1});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->stages.at(0).layer, 6);
  EXPECT_EQ(plan->stages.at(0).keep, 0);
  EXPECT_FALSE(read_control("no-visual:layers=2:budget=50"));
}

TEST(EvalControl, shuffled_pictures_are_others_of_the_same_number) {
  std::vector<EvalItem> items;
  for (int i = 0; i < 20; ++i) {
    items.push_back(question("", "", "", {std::to_string(i % 7) + ".jpg"}));
  }
  items.push_back(question("", "", "", {"x", "y"}));
  items.push_back(question("", "", "", {"y", "z"}));
  items.push_back(question("", "", "", {"1", "2", "3"}));
  items.push_back(question("", "", "", {}));
  const auto shuffled = shuffled_pictures(items);
  std::set<std::vector<std::string>> given;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(shuffled[i].size(), 1U);
    EXPECT_NE(shuffled[i], items[i].images);
    EXPECT_EQ(shuffled[i], shuffled[i % 7]) << "questions about one picture stay together";
    given.insert(shuffled[i]);
  }
  EXPECT_EQ(given.size(), 7U) << "every picture is given once";
  EXPECT_EQ(shuffled[20], items[21].images);
  EXPECT_EQ(shuffled[21], items[20].images);
  EXPECT_TRUE(shuffled[22].empty()) << "no other question shows three";
  EXPECT_TRUE(shuffled[23].empty());
  EXPECT_EQ(shuffled_pictures(items), shuffled);
}

TEST(EvalControl, majority_answers_go_by_the_form_of_the_question) {
  std::vector<EvalItem> items;
  const auto add = [&](int count, const std::string& category, const std::string& begin,
                       const std::string& answer) {
    for (int i = 0; i < count; ++i) {
      items.push_back(
          question(category, begin + " thing" + std::to_string(items.size()) + "?", answer));
    }
  };
  add(12, "colour", "What colour is the", "Red");
  add(9, "colour", "What colour is the", "blue");
  add(11, "colour", "Name the colour of the", "Blue.");
  add(3, "count", "How many", "2");  // too few for a form of their own
  add(2, "count", "Count the", "3");
  const auto answers = majority_answers(items);
  EXPECT_EQ(answers[0], "red");
  EXPECT_EQ(answers[20], "red") << "a form is a form, whatever the thing";
  EXPECT_EQ(answers[25], "blue");
  EXPECT_EQ(answers.back(), "2") << "small forms count as one with their category";
}

}  // namespace
}  // namespace fovea::app
