#include <gtest/gtest.h>

#include "command.h"

namespace fovea::testing {
namespace {

TEST(Inspect, tells_what_the_bundled_model_holds) {
  const CommandResult result = run_fovea({"inspect", base_model(), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  EXPECT_EQ(at(json, {"id"}).as_string(), "fovea-base");
  EXPECT_EQ(at(json, {"config", "visual_tokens"}).as_int(), 576);
  EXPECT_GE(at(json, {"config", "decoder", "layers"}).as_int(), 12);
  EXPECT_EQ(at(json, {"chat_template"}).as_string(), "llava-1.5");
  std::int64_t tensors = 0, parts = 0;
  for (const auto& [dtype, count] : members(at(json, {"dtypes"}))) tensors += count.as_int();
  for (const auto& [part, count] : members(at(json, {"parts"}))) {
    parts += at(count, {"tensors"}).as_int();
  }
  EXPECT_EQ(tensors, parts) << "each tensor belongs to one part";
  const std::int64_t unneeded = at(json, {"parts", "unneeded", "parameters"}).as_int();
  const std::int64_t parameters = at(json, {"parameters"}).as_int();
  EXPECT_EQ(2 * (parameters + unneeded), at(json, {"bytes"}).as_int()) << "float16 throughout";
  EXPECT_LE(parameters, 12'000'000);
  EXPECT_EQ(at(json, {"memory_bytes", "weights_f32"}).as_double(), 4.0 * parameters);
}

TEST(Inspect, prints_a_table_for_people) {
  const CommandResult result = run_fovea({"inspect", guide_model()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* row : {"parameters", "vision", "decoder", "memory", "tokenizer"}) {
    EXPECT_NE(result.out.find(row), std::string::npos) << row;
  }
}

TEST(Inspect, a_template_it_does_not_know_is_a_note) {
  const TemporaryFolder folder;
  copy_model(guide_model(), folder / "model");
  folder.write("model/chat_template.jinja", "{{ 'Once upon a time ' + messages[0]['content'] }}");
  const CommandResult result = run_fovea({"inspect", folder / "model", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  EXPECT_TRUE(at(json, {"chat_template"}).is_null());
  EXPECT_NE(at(json, {"notes"}).dump().find("--template"), std::string::npos);
}

TEST(Inspect, a_folder_without_a_model_is_an_error) {
  const TemporaryFolder folder;
  expect_refused(run_fovea({"inspect", folder.path().string()}), 3, "config.json");
  expect_refused(run_fovea({"inspect", folder / "none"}), 3, "none");
}

}  // namespace
}  // namespace fovea::testing
