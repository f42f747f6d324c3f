#include "app/question_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temporary_folder.h"

namespace fovea::app {
namespace {

using testing::TemporaryFolder;

const std::string kGood =
    R"({"question_id": 7, "image": "a.jpg", "text": "What?", "category": "at"})";

TEST(QuestionFile, ids_keep_their_type) {
  const TemporaryFolder folder;
  const auto items = read_questions(
      folder.write(
          "q.jsonl",
          kGood + "\n\n" + R"({"question_id": "7", "image": "d/b.jpg", "text": "Who?"})" + "\r\n"),
      0);
  ASSERT_TRUE(items) << items.error().to_string();
  ASSERT_EQ(items->size(), 2U);
  EXPECT_TRUE((*items)[0].id.is_int());
  EXPECT_TRUE((*items)[1].id.is_string());
  EXPECT_NE(question_key((*items)[0].id), question_key((*items)[1].id));
  EXPECT_EQ((*items)[1].line, 3U);
  EXPECT_EQ((*items)[1].images, std::vector<std::string>{"d/b.jpg"});
  EXPECT_EQ((*items)[0].category, "at");
  EXPECT_EQ((*items)[1].category, "");
}

TEST(QuestionFile, a_damaged_line_is_named_and_the_others_survive) {
  const TemporaryFolder folder;
  const std::vector<std::string> damaged{
      "{",
      "[]",
      R"({"image": "a.jpg", "text": "What?"})",
      R"({"question_id": 1.5, "image": "a.jpg", "text": "What?"})",
      R"({"question_id": 1, "image": "a.jpg"})",
      R"({"question_id": 1, "image": 3, "text": "x"})",
      R"({"question_id": 1, "image": ["a.jpg", 3], "text": "x"})",
      R"({"question_id": 1, "image": "a.jpg", "text": "x", "evidence": 3})",
      R"({"question_id": 1, "image": "a.jpg", "text": "x", "evidence": [3, 3]})",
      R"({"question_id": 1, "image": "a.jpg", "text": "x", "evidence": [4, 3]})",
      R"({"question_id": 1, "image": "a.jpg", "text": "x", "evidence": [-1]})",
      R"({"question_id": 1, "image": "a.jpg", "text": "x", "evidence": [1.5]})",
      R"({"question_id": 1, "image": "a.jpg", "text": "x", "evidence": [99999999999]})",
      R"({"question_id": 1, "image": "a.jpg", "text": 3})",
      R"({"question_id": 1, "image": "a.jpg", "text": "x", "category": []})",
      R"({"question_id": 7, "image": "a.jpg", "text": "the same id again"})",
      "\xff\xfe"};
  for (const std::string& line : damaged) {
    const std::string path = folder.write("q.jsonl", kGood + "\n" + line + "\n");
    const auto items = read_questions(path, 0);
    ASSERT_TRUE(items) << line;
    ASSERT_EQ(items->size(), 2U);
    EXPECT_FALSE((*items)[0].error);
    ASSERT_TRUE((*items)[1].error) << line;
    EXPECT_EQ((*items)[1].error->file, path);
    EXPECT_NE((*items)[1].error->message.find("line 2"), std::string::npos);
  }
}

TEST(QuestionFile, pictures_stay_inside_the_folder) {
  const TemporaryFolder folder;
  for (const char* image : {"/etc/passwd", "../a.jpg", "x/../../a.jpg", "", "..", "a\\u0000b"}) {
    const auto items = read_questions(
        folder.write("q.jsonl", kGood + "\n" + R"({"question_id": 1, "text": "x", "image": ")" +
                                    image + "\"}\n"),
        0);
    ASSERT_TRUE(items);
    ASSERT_TRUE((*items)[1].error) << image;
    EXPECT_EQ((*items)[1].error->field, "image");
  }
}

TEST(QuestionFile, a_question_may_show_several_pictures_or_none_and_name_its_evidence) {
  const TemporaryFolder folder;
  const auto items = read_questions(
      folder.write("q.jsonl", R"({"question_id": 1, "image": ["a.jpg", "b.jpg"], "text": "x"})"
                              "\n"
                              R"({"question_id": 2, "text": "x", "evidence": []})"
                              "\n"
                              R"({"question_id": 3, "image": null, "text": "x", )"
                              R"("category": null, "evidence": [0, 7, 575]})"
                              "\n"),
      0);
  ASSERT_TRUE(items) << items.error().to_string();
  for (const EvalItem& item : *items) EXPECT_FALSE(item.error);
  EXPECT_EQ((*items)[0].images, (std::vector<std::string>{"a.jpg", "b.jpg"}));
  EXPECT_FALSE((*items)[0].evidence);
  EXPECT_TRUE((*items)[1].images.empty());
  EXPECT_TRUE((*items)[1].evidence);
  EXPECT_FALSE((*items)[1].has_evidence());
  EXPECT_EQ((*items)[2].evidence, (std::vector<std::int32_t>{0, 7, 575}));
}

TEST(QuestionFile, the_limit_counts_questions) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 9; ++i) {
    text += R"({"question_id": )" + std::to_string(i) + R"(, "image": "a", "text": "b"})" + "\n\n";
  }
  const auto items = read_questions(folder.write("q.jsonl", text), 4);
  ASSERT_TRUE(items);
  EXPECT_EQ(items->size(), 4U);
}

TEST(QuestionFile, a_file_without_a_usable_line_is_an_error) {
  const TemporaryFolder folder;
  EXPECT_FALSE(read_questions(folder / "missing.jsonl", 0));
  EXPECT_FALSE(read_questions(folder.write("empty.jsonl", "\n \n"), 0));
  const auto noise = read_questions(folder.write("noise.jsonl", "\x89PNG\r\n\x1a\n\n\n"), 0);
  ASSERT_FALSE(noise);
  EXPECT_EQ(noise.error().code, ErrorCode::bad_input);
}

TEST(QuestionFile, labels_are_strings_or_lists_of_them) {
  const TemporaryFolder folder;
  const auto labels =
      read_labels(folder.write("l.jsonl", R"({"question_id": 1, "answer": "Yes"})"
                                          "\n"
                                          R"({"question_id": "1", "answer": ["a", "b"]})"
                                          "\n"
                                          R"({"question_id": 2, "label": "no"})"
                                          "\n"));
  ASSERT_TRUE(labels) << labels.error().to_string();
  EXPECT_EQ(labels->at(question_key(Json(1))).accepted, std::vector<std::string>{"Yes"});
  EXPECT_EQ(labels->at(question_key(Json("1"))).accepted.size(), 2U);
  EXPECT_EQ(labels->at(question_key(Json(2))).accepted, std::vector<std::string>{"no"});
}

TEST(QuestionFile, a_damaged_label_is_an_error_with_its_line) {
  const TemporaryFolder folder;
  for (const char* line :
       {"x", R"({"question_id": 2})", R"({"question_id": 2, "answer": []})",
        R"({"question_id": 1, "answer": "twice"})", R"({"question_id": 2, "answer": ["a", 3]})",
        R"({"question_id": 2, "answer": "a", "things": "b"})",
        R"({"question_id": 2, "answer": "a", "things": [3]})"}) {
    const auto labels = read_labels(
        folder.write("l.jsonl", std::string(R"({"question_id": 1, "answer": "a"})") + "\n" + line));
    ASSERT_FALSE(labels) << line;
    EXPECT_NE(labels.error().message.find("line 2"), std::string::npos);
  }
}

TEST(QuestionFile, defaults_lie_beside_the_questions) {
  const TemporaryFolder folder;
  const std::string questions = folder.write("world.jsonl", kGood);
  EXPECT_EQ(default_image_folder(questions), folder.path().string());
  EXPECT_FALSE(default_labels(questions));
  const std::string plain = folder.write("labels.jsonl", "");
  EXPECT_EQ(*default_labels(questions), plain);
  const std::string named = folder.write("world-labels.jsonl", "");
  EXPECT_EQ(*default_labels(questions), named);
  std::filesystem::create_directory(folder / "images");
  EXPECT_EQ(default_image_folder(questions), folder / "images");
  EXPECT_EQ(default_image_folder("world.jsonl"), ".");
}

TEST(QuestionFile, answers_match_without_case_punctuation_at_the_ends_and_spacing) {
  EXPECT_EQ(normalised_answer("  A blue\n circle. "), "a blue circle");
  EXPECT_EQ(normalised_answer("\"Yes!\""), "yes");
  EXPECT_EQ(normalised_answer("St. Louis"), "st. louis");
  EXPECT_EQ(normalised_answer("..."), "");
  EXPECT_EQ(normalised_answer("Größe"), "größe");
  EXPECT_TRUE(answer_is_right("Left.", {"right", "left"}));
  EXPECT_FALSE(answer_is_right("left side", {"left"}));
  EXPECT_FALSE(answer_is_right("anything", {}));
}

TEST(QuestionFile, a_description_scores_by_the_things_it_names) {
  const TemporaryFolder folder;
  const auto labels = read_labels(
      folder.write("l.jsonl", R"({"question_id": 1, "answer": "A dog, two boxes, mice and STOP.", )"
                              R"("things": ["dog", "box", ["mouse", "mice"], "STOP"]})"));
  ASSERT_TRUE(labels) << labels.error().to_string();
  const Label& label = labels->at(question_key(Json(1)));
  EXPECT_EQ(answer_score("There are two mice, a box and a dog. The sign says stop.", label), 1.0);
  EXPECT_EQ(answer_score("two dogs, three boxes", label), 0.5);
  EXPECT_EQ(answer_score("a dogma, a boxer and a stopper", label), 0.0) << "whole words only";
  EXPECT_EQ(answer_score("", label), 0.0);
  EXPECT_EQ(answer_score("Yes.", Label{{"yes"}, {}}), 1.0);
  EXPECT_EQ(answer_score("no", Label{{"yes"}, {}}), 0.0);
}

}  // namespace
}  // namespace fovea::app
