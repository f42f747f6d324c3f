#include <gtest/gtest.h>

#include <cmath>

#include "app/command.h"
#include "kernels/base/csv.h"
#include "kernels/base/npy.h"
#include "vision/image.h"

namespace fovea {
namespace {

using testing::at;
using testing::expect_refused;
using testing::json_of;
using testing::run_fovea;
using testing::source_path;
using testing::TemporaryFolder;

std::string model_folder() {
  return source_path("tests/golden/classifier/vit");
}

/// Four pictures, one of them no picture, in two folders.
class Classify : public ::testing::Test {
 protected:
  Classify() {
    std::filesystem::create_directory(folder_.path() / "more");
    const auto draw = [&](const char* name, std::uint8_t r, std::uint8_t g, std::uint8_t b) {
      Image image = Image::filled(30, 26, r, g, b);
      for (int x = 5; x < 20; ++x) image.pixel(x, 7)[0] = static_cast<std::uint8_t>(x * 10);
      EXPECT_TRUE(write_png(folder_ / name, image));
    };
    draw("a.png", 200, 10, 10);
    draw("b, with \"comma\".png", 10, 200, 10);
    draw("more/c.png", 10, 10, 200);
    folder_.write("more/bad.png", "this is no picture");
  }
  std::vector<std::string> words(std::vector<std::string> more) const {
    std::vector<std::string> all{"classify", folder_.path().string(), "--model", model_folder()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::vector<CsvRecord> csv(const std::string& name) const {
    const auto text = read_file(folder_ / name, 1 << 20);
    EXPECT_TRUE(text);
    const auto records = parse_csv(*text);
    EXPECT_TRUE(records);
    return *records;
  }
  TemporaryFolder folder_;
};

TEST_F(Classify, writes_one_csv_row_a_picture_and_a_status_for_bad_ones) {
  const auto result = run_fovea(words({"--csv", folder_ / "out.csv", "--top-k", "2"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("1 of 4 pictures failed"), std::string::npos) << result.err;
  const auto rows = csv("out.csv");
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_EQ(rows[0].fields,
            (std::vector<std::string>{"path", "status", "label_1", "prob_1", "label_2", "prob_2"}));
  const std::vector<std::string> names{"a.png", "b, with \"comma\".png", "more/bad.png",
                                       "more/c.png"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto& fields = rows[i + 1].fields;
    ASSERT_EQ(fields.size(), 6U);
    EXPECT_EQ(fields[0], folder_ / names[i]);
    if (i == 2) {
      EXPECT_EQ(fields[1], "bad_input");
      EXPECT_EQ(fields[2] + fields[3] + fields[4] + fields[5], "");
      continue;
    }
    EXPECT_EQ(fields[1], "ok");
    EXPECT_GE(std::stod(fields[3]), std::stod(fields[5]));
    EXPECT_LE(std::stod(fields[3]) + std::stod(fields[5]), 1.000001);
  }
}

TEST_F(Classify, prints_a_table_for_people) {
  const auto result = run_fovea({"classify", folder_ / "a.png", folder_ / "nothing.png", "--model",
                                 model_folder(), "--top-k", "1"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 3);
  EXPECT_NE(result.out.find("(not_found)"), std::string::npos) << result.out;
}

TEST_F(Classify, json_holds_every_picture_and_nothing_else_is_printed) {
  const auto result = run_fovea(words({"--json"}));
  EXPECT_EQ(result.exit_code, 1);
  const Json json = json_of(result);
  const Json pictures = at(json, {"pictures"});
  ASSERT_EQ(pictures.as_array().size(), 4U);
  double total = 0;
  const Json labels = at(pictures.as_array()[0], {"labels"});
  for (const Json& label : labels.as_array()) {
    total += label.find("prob")->as_double();
  }
  EXPECT_NEAR(total, 1.0, 1e-9);  // five classes, top five
  EXPECT_EQ(at(pictures.as_array()[2], {"status"}).as_string(), "bad_input");
  EXPECT_EQ(at(pictures.as_array()[2], {"labels"}).as_array().size(), 0U);
  EXPECT_EQ(at(json, {"runs"}).as_array()[0].find("failed")->as_int(), 1);
  EXPECT_EQ(at(json, {"model", "classes"}).as_int(), 5);
}

TEST_F(Classify, batches_change_no_number) {
  std::vector<std::string> texts;
  for (const char* batch : {"1", "3", "16"}) {
    const auto result =
        run_fovea(words({"--batch", batch, "--csv", folder_ / "out.csv", "--quiet"}));
    EXPECT_EQ(result.exit_code, 1);
    texts.push_back(*read_file(folder_ / "out.csv", 1 << 20));
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_EQ(texts[0], texts[2]);
}

TEST_F(Classify, logits_are_dumped_with_nan_for_bad_pictures) {
  run_fovea(words({"--dump-logits", folder_ / "logits.npy", "--quiet"}));
  const auto logits = read_npy(folder_ / "logits.npy");
  ASSERT_TRUE(logits);
  EXPECT_EQ(logits->shape, (std::vector<std::int64_t>{4, 5}));
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(std::isnan(logits->values[i]), i / 5 == 2) << i;
  }
}

TEST_F(Classify, labels_say_how_many_are_right) {
  run_fovea(words({"--csv", folder_ / "out.csv", "--top-k", "1", "--quiet"}));
  const auto rows = csv("out.csv");
  std::filesystem::create_directory(folder_.path() / "truth");
  // One right by its label, one right by its number would need to know it: one wrong instead.
  const std::string other = rows[2].fields[2] == "last" ? "plain" : "last";
  folder_.write("truth/labels.csv",
                csv_record(std::vector<std::string>{"path", "label"}) +
                    csv_record(std::vector<std::string>{"../a.png", rows[1].fields[2]}) +
                    csv_record(std::vector<std::string>{"../b, with \"comma\".png", other}) +
                    csv_record(std::vector<std::string>{"../more/bad.png", "0"}) +
                    csv_record(std::vector<std::string>{"../elsewhere.png", "1"}));
  const Json json = json_of(run_fovea(words({"--json", "--labels", folder_ / "truth/labels.csv"})));
  const Json run = at(json, {"runs"}).as_array()[0];
  EXPECT_EQ(at(run, {"judged"}).as_int(), 3);
  EXPECT_EQ(at(run, {"right"}).as_int(), 1);
  EXPECT_NEAR(at(run, {"accuracy"}).as_double(), 1.0 / 3.0, 1e-12);
}

TEST_F(Classify, bad_label_files_are_refused_with_their_line) {
  for (const auto& [text, says] :
       {std::pair<const char*, const char*>{"path,class\na.png,0\n", "field label"},
        {"path,label\na.png,cat\n", "offset 2"},
        {"path,label\na.png\n", "offset 2"},
        {"path,label\nother.png,0\n", "none of the pictures"},
        {"", "columns path and label"}}) {
    folder_.write("labels.csv", text);
    expect_refused(run_fovea(words({"--labels", folder_ / "labels.csv"})), 2, says);
  }
}

TEST_F(Classify, settings_are_compared_in_one_run) {
  const Json json = json_of(run_fovea(
      words({"--json", "--vit-prune", "none", "--vit-prune", "adaptive:thresholds=-1+-1",
             "--vit-prune", "adaptive:thresholds=2+2", "--vit-prune", "topk:keep=.5+.25"})));
  const Json runs = at(json, {"runs"});
  ASSERT_EQ(runs.as_array().size(), 4U);
  EXPECT_EQ(json.find("pictures"), nullptr);
  const auto survivors = [&](std::size_t run) {
    std::vector<double> counts;
    const Json list = at(runs.as_array()[run], {"survivors"});
    for (const Json& count : list.as_array()) counts.push_back(count.as_double());
    return counts;
  };
  EXPECT_EQ(survivors(0), (std::vector<double>{}));
  EXPECT_EQ(survivors(1), (std::vector<double>{16, 16}));
  EXPECT_EQ(survivors(2), (std::vector<double>{0, 0}));
  EXPECT_EQ(survivors(3), (std::vector<double>{8, 4}));
  const auto gflops = [&](std::size_t run) {
    return at(runs.as_array()[run], {"gflops"}).as_double();
  };
  EXPECT_EQ(gflops(0), gflops(1));
  EXPECT_GT(gflops(1), gflops(3));
  EXPECT_GT(gflops(3), gflops(2));
}

TEST_F(Classify, keep_all_thresholds_change_no_bit) {
  run_fovea(words({"--dump-logits", folder_ / "plain.npy", "--quiet"}));
  run_fovea(words({"--dump-logits", folder_ / "all.npy", "--quiet", "--vit-prune",
                   "adaptive:thresholds=-1,-1"}));
  EXPECT_EQ(*read_file(folder_ / "plain.npy", 1 << 20), *read_file(folder_ / "all.npy", 1 << 20));
}

TEST_F(Classify, survivors_are_raster_indices_in_the_json) {
  const Json json = json_of(run_fovea({"classify", folder_ / "a.png", "--model", model_folder(),
                                       "--vit-prune", "adaptive:thresholds=.05+.05", "--json"}));
  const Json stages = at(at(json, {"pictures"}).as_array()[0], {"stages"});
  ASSERT_EQ(stages.as_array().size(), 2U);
  EXPECT_EQ(at(stages.as_array()[0], {"layer"}).as_int(), 3);
  EXPECT_EQ(at(stages.as_array()[0], {"when"}).as_string(), "vit");
  std::int64_t before = -1;
  const Json kept = at(stages.as_array()[0], {"kept"});
  for (const Json& cell : kept.as_array()) {
    EXPECT_GT(cell.as_int(), before);
    before = cell.as_int();
  }
  EXPECT_LT(before, 16);
}

TEST_F(Classify, lines_that_cannot_be_are_refused) {
  const std::string picture = folder_ / "a.png";
  expect_refused(run_fovea({"classify"}), 2, "path");
  expect_refused(run_fovea({"classify", picture, "--model", folder_.path().string()}), 3,
                 "safetensors");
  expect_refused(run_fovea({"classify", picture, "--model", testing::base_model()}), 3, "llava");
  expect_refused(run_fovea({"classify", picture, "--model", model_folder(), "--top-k", "0"}), 2,
                 "--top-k");
  expect_refused(run_fovea({"classify", picture, "--model", model_folder(), "--image-size", "25"}),
                 2, "patch size");
  expect_refused(run_fovea({"classify", "--model", model_folder(), "--json", picture}), 2, "path");
  expect_refused(run_fovea({"classify", picture, "--model", model_folder(), "--json", picture}), 2,
                 "named like a picture");
  expect_refused(run_fovea({"classify", picture, "--model", model_folder(), "--vit-prune", "none",
                            "--vit-prune", "none", "--csv", folder_ / "o.csv"}),
                 2, "--csv");
}

TEST_F(Classify, another_picture_size_runs_with_resampled_positions) {
  const Json json = json_of(run_fovea(
      {"classify", folder_ / "a.png", "--model", model_folder(), "--image-size", "48", "--json"}));
  EXPECT_EQ(at(json, {"model", "patches"}).as_int(), 64);
}

TEST_F(Classify, merging_patches_costs_less_and_says_what_became_one) {
  const Json json = json_of(run_fovea(
      words({"--json", "--vit-prune", "none", "--vit-prune", "tome:merge=2", "--vit-prune",
             "tome:flops=.8", "--vit-prune", "topk:flops=.8", "--vit-prune", "random:flops=.8"})));
  const auto runs = at(json, {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 5U);
  const double whole = at(runs[0], {"gflops"}).as_double();
  EXPECT_LT(at(runs[1], {"gflops"}).as_double(), whole);
  const auto left = at(runs[1], {"survivors"}).as_array();
  ASSERT_EQ(left.size(), 5U) << "a stage for each block";
  EXPECT_EQ(left[0].as_double(), 14);
  EXPECT_EQ(left[4].as_double(), 6);
  for (std::size_t i = 2; i < 5; ++i) {
    EXPECT_NEAR(at(runs[i], {"gflops"}).as_double() / whole, .8, .05) << i;
  }
  EXPECT_EQ(at(runs[3], {"gflops"}).as_double(), at(runs[4], {"gflops"}).as_double());

  const Json one = json_of(run_fovea(words({"--json", "--vit-prune", "tome:merge=4"})));
  const auto pictures = at(one, {"pictures"}).as_array();
  const auto stages = at(pictures[0], {"stages"}).as_array();
  ASSERT_FALSE(stages.empty());
  std::size_t patches = at(stages[0], {"kept"}).as_array().size();
  const auto sources = at(stages[0], {"sources"}).as_array();
  for (const Json& group : sources) patches += group.as_array().size();
  EXPECT_EQ(patches, 16U) << "every patch is somewhere";
  EXPECT_EQ(at(stages[0], {"kept"}).as_array().size() + sources.size(), 12U);
}

TEST_F(Classify, settings_and_a_column_of_the_labels_go_into_tables_and_plots) {
  folder_.write(
      "labels.csv",
      "path,label,clutter\na.png,0,10\n\"b, with \"\"comma\"\".png\",0,2\nmore/c.png,1,2\n");
  std::filesystem::remove(folder_.path() / "more/bad.png");
  const auto result = run_fovea(words(
      {"--labels", folder_ / "labels.csv", "--vit-prune", "none", "--vit-prune", "topk:keep=.5+.25",
       "--by", "clutter", "--by-csv", folder_ / "by.csv", "--by-plot", folder_ / "by.png",
       "--settings-csv", folder_ / "settings.csv", "--settings-plot", folder_ / "settings.png"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("by clutter"), std::string::npos) << result.out;
  const auto settings = csv("settings.csv");
  ASSERT_EQ(settings.size(), 3U);
  EXPECT_EQ(settings[0].fields.front(), "vit_prune");
  EXPECT_EQ(settings[0].fields.back(), "left_2");
  EXPECT_EQ(settings[1].fields.back(), "") << "unpruned has no cuts";
  EXPECT_EQ(settings[2].fields.back(), "4");
  const auto by = csv("by.csv");
  ASSERT_EQ(by.size(), 5U);
  EXPECT_EQ(by[1].fields[1], "2") << "numbers in rising order";
  EXPECT_EQ(by[1].fields[2], "2");
  EXPECT_EQ(by[2].fields[1], "10");
  EXPECT_EQ(by[4].fields.back(), "4");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "by.png"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "settings.png"));
  expect_refused(run_fovea(words({"--labels", folder_ / "labels.csv", "--by", "mess"})), 2, "mess");
}

}  // namespace
}  // namespace fovea
