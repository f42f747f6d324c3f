#include "app/prune_options.h"

#include <gtest/gtest.h>

#include <cmath>

#include "app/options.h"
#include "support/fake_stage.h"

namespace fovea::app {
namespace {

Result<PruneOptions> read(const std::vector<std::string>& more) {
  std::vector<std::string> words{"ask", "--image", "a.png", "--question", "What?"};
  words.insert(words.end(), more.begin(), more.end());
  FOVEA_TRY(const ParsedLine line, parse_command_line(words));
  return std::get<AskOptions>(*line.command).prune;
}

PruneSetting setting(const std::vector<std::string>& more) {
  const auto options = read(more);
  if (!options) {
    ADD_FAILURE() << options.error().to_string();
    return {};
  }
  EXPECT_EQ(options->settings.size(), 1U);
  return options->settings.front();
}

Error refusal(const std::vector<std::string>& more) {
  const auto options = read(more);
  if (options) {
    ADD_FAILURE() << more.back() << " was accepted";
    return {};
  }
  EXPECT_EQ(options.error().code, ErrorCode::usage);
  return options.error();
}

void expect_same(const PruneSetting& a, const PruneSetting& b) {
  EXPECT_EQ(a.request.name, b.request.name);
  EXPECT_EQ(a.request.schedule.preset, b.request.schedule.preset);
  EXPECT_EQ(a.request.schedule.layers, b.request.schedule.layers);
  EXPECT_EQ(a.request.schedule.budget, b.request.schedule.budget);
  EXPECT_EQ(a.request.seed, b.request.seed);
  EXPECT_EQ(a.request.options, b.request.options);
  EXPECT_EQ(a.positions, b.positions);
  ASSERT_EQ(a.request.schedule.keep.size(), b.request.schedule.keep.size());
  for (std::size_t i = 0; i < a.request.schedule.keep.size(); ++i) {
    EXPECT_EQ(a.request.schedule.keep[i].value, b.request.schedule.keep[i].value);
    EXPECT_EQ(a.request.schedule.keep[i].is_ratio, b.request.schedule.keep[i].is_ratio);
  }
}

TEST(PruneOptions, nothing_is_pruned_unless_asked_for) {
  EXPECT_FALSE(setting({}).prunes());
  EXPECT_EQ(setting({}).name, "none");
  EXPECT_FALSE(setting({"--prune", "none"}).prunes());
}

TEST(PruneOptions, every_method_of_the_table_is_known_by_its_name) {
  for (const Method& method : methods()) {
    std::vector<std::string> words{"--prune", method.name};
    if (words[1] == "sgl") words.insert(words.end(), {"--guide", "a-folder"});
    const PruneSetting one = setting(words);
    EXPECT_TRUE(one.prunes());
    EXPECT_EQ(one.name, method.name);
    EXPECT_EQ(one.request.name, method.name);
    EXPECT_FALSE(one.positions.has_value());
  }
}

TEST(PruneOptions, companions_say_what_a_setting_says_in_one_word) {
  const PruneSetting spread =
      setting({"--prune", "adaptinfer", "--prune-layers", "1,3", "--prune-keep", "200,0.25",
               "--prune-budget", "96.5", "--prune-positions", "original", "--prune-seed", "7",
               "--prune-option", "weighting=uniform"});
  EXPECT_EQ(spread.request.schedule.layers, (std::vector<int>{1, 3}));
  ASSERT_EQ(spread.request.schedule.keep.size(), 2U);
  EXPECT_EQ(spread.request.schedule.keep[0].value, 200);
  EXPECT_FALSE(spread.request.schedule.keep[0].is_ratio);
  EXPECT_EQ(spread.request.schedule.keep[1].value, 0.25);
  EXPECT_TRUE(spread.request.schedule.keep[1].is_ratio);
  EXPECT_EQ(spread.request.schedule.budget, 96.5);
  EXPECT_EQ(spread.positions, PositionMode::original);
  EXPECT_EQ(spread.request.seed, 7U);
  EXPECT_EQ(spread.request.options.at("weighting"), "uniform");

  const std::string word =
      "adaptinfer:layers=1+3:keep=200+0.25:budget=96.5:positions=original:seed=7:weighting=uniform";
  const PruneSetting packed = setting({"--prune", word});
  EXPECT_EQ(packed.name, word);
  expect_same(spread, packed);
}

TEST(PruneOptions, what_a_setting_says_itself_wins) {
  const PruneSetting one =
      setting({"--prune", "adaptinfer:budget=64:positions=compact:weighting=uniform",
               "--prune-budget", "192", "--prune-positions", "original", "--prune-option",
               "weighting=last_row", "--prune-seed", "3"});
  EXPECT_EQ(one.request.schedule.budget, 64);
  EXPECT_EQ(one.positions, PositionMode::compact);
  EXPECT_EQ(one.request.options.at("weighting"), "uniform");
  EXPECT_EQ(one.request.seed, 3U);
}

TEST(PruneOptions, presets_go_by_their_names) {
  EXPECT_EQ(setting({"--prune", "adaptinfer", "--prune-preset", "128"}).request.schedule.preset,
            "128");
  EXPECT_EQ(setting({"--prune", "adaptinfer:preset=64-13b"}).request.schedule.preset, "64-13b");
}

TEST(PruneOptions, an_unknown_method_is_answered_with_those_there_are) {
  const Error error = refusal({"--prune", "magic"});
  EXPECT_NE(error.message.find("magic"), std::string::npos);
  EXPECT_EQ(error.field, "--prune");
  EXPECT_NE(error.remedy.find("none, adaptinfer, fastv"), std::string::npos) << error.remedy;
  for (const char* name : {"", "Adaptinfer", " fastv", "adaptinfer,fastv"}) {
    EXPECT_NE(refusal({"--prune", name}).remedy.find("adaptinfer"), std::string::npos) << name;
  }
}

TEST(PruneOptions, an_unknown_option_is_answered_with_those_the_method_has) {
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"--prune", "adaptinfer:magic=1"},
           {"--prune", "adaptinfer", "--prune-option", "magic=1"}}) {
    const Error error = refusal(words);
    EXPECT_NE(error.message.find("adaptinfer has no option \"magic\""), std::string::npos);
    EXPECT_NE(error.remedy.find("weighting"), std::string::npos);
    EXPECT_NE(error.remedy.find("budget"), std::string::npos);
  }
  EXPECT_NE(refusal({"--prune", "adaptinfer:weighting=magic"}).remedy.find("last_row"),
            std::string::npos);
}

TEST(PruneOptions, values_that_are_none_are_refused_by_name) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"layers", "x"},     {"layers", "1,,3"}, {"layers", "-1"},
      {"layers", ""},      {"layers", "1.5"},  {"layers", "1, 3"},
      {"layers", "99999"}, {"keep", "-5"},     {"keep", "1.5"},
      {"keep", "x"},       {"keep", "50%"},    {"keep", ""},
      {"keep", "1e3"},     {"keep", "nan"},    {"keep", "."},
      {"keep", "1000001"}, {"budget", "-1"},   {"budget", "nan"},
      {"budget", "inf"},   {"budget", ""},     {"positions", "x"},
      {"positions", ""},   {"seed", "-1"},     {"seed", "1.5"},
      {"seed", ""},        {"preset", ""},     {"seed", "18446744073709551616"}};
  for (const auto& [key, value] : cases) {
    const Error spread = refusal({"--prune", "fastv", "--prune-" + key, value});
    EXPECT_NE(spread.message.find("--prune-" + key), std::string::npos)
        << key << " " << value << ": " << spread.to_string();
    const Error packed = refusal({"--prune", "fastv:" + key + "=" + value});
    EXPECT_NE(packed.message.find(key + " must be"), std::string::npos) << packed.to_string();
  }
}

TEST(PruneOptions, a_setting_that_is_malformed_is_refused) {
  for (const char* word : {"fastv:", "fastv::", "fastv:keep", "fastv:keep=1:keep=2", "fastv:=1",
                           "none:keep=3", ":fastv"}) {
    EXPECT_EQ(refusal({"--prune", word}).field, "--prune") << word;
  }
}

TEST(PruneOptions, companions_without_a_method_are_refused) {
  EXPECT_EQ(refusal({"--prune-budget", "64"}).field, "--prune-budget");
  EXPECT_EQ(refusal({"--prune", "none", "--prune-keep", "64"}).field, "--prune-keep");
  EXPECT_EQ(refusal({"--prune-option", "weighting=uniform"}).field, "--prune-option");
  EXPECT_NE(refusal({"--prune", "fastv", "--prune-option", "=1"}).message.find("KEY=VALUE"),
            std::string::npos);
  EXPECT_NE(refusal({"--prune", "fastv", "--prune-option", "x"}).message.find("KEY=VALUE"),
            std::string::npos);
}

TEST(PruneOptions, one_question_has_one_setting) {
  EXPECT_NE(refusal({"--prune", "fastv", "--prune", "random"}).message.find("--prune"),
            std::string::npos);
}

/// What a setting's debiasing makes of scores of 1 over four cells.
std::vector<float> debiased(const PruneSetting& setting) {
  testing::FakeStage stage(testing::simple_layout(1, 4, 1));
  std::vector<float> scores(4, 1.0F);
  for (const auto& adjustment : setting.request.adjustments) {
    // Padding needs a picture, which this layout has not.
    if (dynamic_cast<const IndexDebias*>(adjustment.get()) == nullptr) continue;
    EXPECT_TRUE(adjustment->adjust(0, stage, scores));
  }
  return scores;
}

TEST(PruneOptions, debias_takes_a_sigma_a_file_or_a_preset_and_suppresses_padding_as_published) {
  const PruneSetting sigma = setting({"--prune", "fastv", "--debias", "1.2"});
  EXPECT_NEAR(debiased(sigma)[3], 0.301194, 1e-6);
  EXPECT_EQ(sigma.debias.request.padding_theta, 0.5);
  EXPECT_EQ(sigma.request.adjustments.size(), 2U);
  const PruneSetting preset = setting({"--prune", "himap:debias=gqa/himap:debias-padding=off"});
  EXPECT_NEAR(debiased(preset)[3], std::exp(-1.2490), 1e-6);
  EXPECT_EQ(preset.request.adjustments.size(), 1U);
  EXPECT_EQ(setting({"--prune", "adaptinfer", "--debias", "-0.5"}).debias.request.padding_theta,
            0.3);
}

TEST(PruneOptions, padding_can_be_suppressed_alone_and_at_all_stages) {
  const PruneSetting alone =
      setting({"--prune", "himap", "--debias-padding", "0.25", "--debias-stages", "all"});
  EXPECT_EQ(alone.debias.request.padding_theta, 0.25);
  EXPECT_EQ(alone.debias.request.stages, AdjustedStages::all);
  EXPECT_FALSE(alone.debias.request.weights);
  EXPECT_TRUE(setting({"--prune", "fastv"}).request.adjustments.empty());
}

TEST(PruneOptions, debiasing_that_means_nothing_is_refused_with_what_would) {
  EXPECT_NE(refusal({"--prune", "fastv", "--debias", "gqa/fastv"}).to_string().find("vizwiz"),
            std::string::npos);
  EXPECT_NE(refusal({"--prune", "fastv", "--debias", "/none/w.npy"}).to_string().find("w.npy"),
            std::string::npos);
  refusal({"--prune", "fastv", "--debias", "nan"});
  refusal({"--prune", "fastv", "--debias-padding", "1"});
  refusal({"--prune", "fastv", "--debias-padding", "-0.1"});
  refusal({"--prune", "fastv", "--debias", "1", "--debias-stages", "second"});
  EXPECT_EQ(refusal({"--prune", "fastv", "--debias-stages", "all"}).field, "--debias-stages");
  EXPECT_EQ(refusal({"--prune", "random", "--debias", "1"}).field, "--debias");
  EXPECT_EQ(refusal({"--prune", "divprune", "--debias-padding", "0.3"}).field, "--debias");
  EXPECT_EQ(refusal({"--debias", "1"}).field, "--debias");
}

TEST(PruneOptions, the_vision_tower_is_pruned_alone_or_beside_a_method) {
  const PruneSetting alone = setting({"--vit-prune", "visionzip:keep=64"});
  EXPECT_FALSE(alone.prunes());
  ASSERT_TRUE(alone.tower);
  EXPECT_EQ(std::get<MethodRequest>(alone.tower->choice).schedule.keep.front().value, 64);
  const PruneSetting beside = setting({"--prune", "fastv", "--vit-prune", "topk:keep=0.8+0.6+0.4"});
  EXPECT_EQ(beside.request.name, "fastv");
  EXPECT_EQ(std::get<VitPruneSetting>(beside.tower->choice).keep,
            (std::vector<double>{0.8, 0.6, 0.4}));
  const PruneSetting in_one_word = setting({"--prune", "fastv:vit-prune=visionzip@preset=64"});
  EXPECT_EQ(std::get<MethodRequest>(in_one_word.tower->choice).schedule.preset, "64");
  const PruneSetting lots = setting({"--vit-prune", "random:keep=0.9+0.8+0.7:seed=3"});
  EXPECT_EQ(std::get<VitPruneSetting>(lots.tower->choice).seed, 3U);
  EXPECT_FALSE(setting({"--prune", "fastv", "--vit-prune", "none"}).tower);
}

TEST(PruneOptions, towers_pruned_in_no_known_way_are_refused) {
  EXPECT_NE(refusal({"--vit-prune", "visionzap"}).to_string().find("visionzip"), std::string::npos);
  refusal({"--vit-prune", "fastv"});
  refusal({"--vit-prune", "visionzip:contextual=x"});
  refusal({"--vit-prune", "visionzip:vit-prune=visionzip"});
  refusal({"--vit-prune", "topk"});
  refusal({"--prune", "none:keep=64"});
  refusal({"--prune", "none:vit-prune=none", "--vit-prune", "visionzip"});
  refusal({"--prune-keep", "64", "--vit-prune", "visionzip"});
}

TEST(PruneOptions, help_lists_methods_presets_and_their_own_options) {
  for (const char* command : {"ask", "chat", "heatmap", "eval"}) {
    const auto help = parse_command_line({command, "--help"});
    ASSERT_TRUE(help);
    for (const char* word : {"--prune-budget", "adaptinfer", "2508.06084", "64*", "last_row"}) {
      EXPECT_NE(help->text.find(word), std::string::npos) << command << " " << word;
    }
  }
}

}  // namespace
}  // namespace fovea::app
