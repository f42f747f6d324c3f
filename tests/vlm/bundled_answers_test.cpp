// The bundled models answer held-out questions as transformers does, token for token
// (tests/golden/make_bundled_golden.py wrote the expected answers).

#include <gtest/gtest.h>

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "support/model_device.h"
#include "vlm/session.h"

namespace fovea {
namespace {

const std::string kSource = FOVEA_SOURCE_DIR;

std::vector<std::int32_t> ids(const Json& json) {
  std::vector<std::int32_t> values;
  for (const Json& id : json.as_array()) values.push_back(static_cast<std::int32_t>(id.as_int()));
  return values;
}

std::vector<Json> golden_lines(const std::string& model) {
  const auto text = read_file(kSource + "/tests/golden/" + model + "/answers.jsonl", 1 << 20);
  EXPECT_TRUE(text) << text.error().to_string();
  std::vector<Json> lines;
  for (std::size_t begin = 0; text && begin < text->size();) {
    const std::size_t end = text->find('\n', begin);
    auto line = parse_json(std::string_view(*text).substr(begin, end - begin));
    EXPECT_TRUE(line) << line.error().to_string();
    lines.push_back(std::move(*line));
    begin = end + 1;
  }
  return lines;
}

/// The prompt with one placeholder for each picture, as the golden file has it.
std::vector<std::int32_t> one_placeholder(const std::vector<std::int32_t>& prompt,
                                          std::int64_t placeholder) {
  std::vector<std::int32_t> shorter;
  for (const std::int32_t id : prompt) {
    if (id != placeholder || shorter.empty() || shorter.back() != placeholder)
      shorter.push_back(id);
  }
  return shorter;
}

/// Files of a question's pictures: none, one, or the frames of a clip.
std::vector<std::string> picture_files(const Json& line) {
  std::vector<std::string> files;
  if (const Json* image = line.find("image")) {
    if (image->is_string()) return {image->as_string()};
    for (const Json& frame : image->as_array()) files.push_back(frame.as_string());
  }
  return files;
}

class BundledModel : public ::testing::TestWithParam<const char*> {};

TEST_P(BundledModel, answers_held_out_questions_as_transformers_does) {
  const std::vector<Json> lines = golden_lines(GetParam());
  ASSERT_EQ(lines.size(), 100U);
  const auto model = LlavaModel::load(
      kSource + "/assets/models/" + GetParam(),
      {.threads = 2, .device = testing::model_device(), .dtype = DTypeChoice::f32});
  ASSERT_TRUE(model) << model.error().to_string();
  auto session = Session::create(*model, {.threads = 2});
  ASSERT_TRUE(session) << session.error().to_string();
  for (const Json& line : lines) {
    Question question;
    question.text = line.find("text")->as_string();
    SCOPED_TRACE(question.text);
    for (const std::string& file : picture_files(line)) {
      auto image = load_image(kSource + "/assets/eval/images/" + file);
      ASSERT_TRUE(image) << image.error().to_string();
      question.images.push_back(std::make_shared<const Image>(std::move(*image)));
    }
    question.sampling.max_new_tokens = 48;
    const auto answer = (*session)->ask(question);
    ASSERT_TRUE(answer) << answer.error().to_string();
    EXPECT_EQ(one_placeholder(answer->prompt_token_ids, (*model)->config().image_token_id),
              ids(*line.find("prompt_token_ids")));
    EXPECT_EQ(answer->token_ids, ids(*line.find("token_ids")));
    EXPECT_EQ(answer->text, line.find("answer")->as_string());
  }
}

INSTANTIATE_TEST_SUITE_P(Pair, BundledModel, ::testing::Values("fovea-base", "fovea-guide"),
                         [](const auto& tested) { return std::string(tested.param).substr(6); });

}  // namespace
}  // namespace fovea
