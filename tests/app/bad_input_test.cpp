// Whatever is wrong, the command says so in one line, exits with 2 (the user's input) or 3 (the
// model or the device), prints nothing on stdout and leaves no file behind.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "command.h"
#include "kernels/device.h"
#include "vision/image.h"

namespace fovea::testing {
namespace {

namespace fs = std::filesystem;

class BadInput : public ::testing::Test {
 protected:
  /// Asks with every kind of output; nothing of it may appear.
  void expect_ask_refused(const std::string& model, const std::string& image,
                          const std::string& question, int exit_code, const std::string& says) {
    fs::create_directory(outputs());
    const CommandResult result =
        run_fovea({"ask", "--model", model, "--image", image, "--question", question, "--json",
                   outputs() + "/a.json", "--dump-logits", outputs() + "/l.npy", "--threads", "2"});
    expect_refused(result, exit_code, says);
    const CommandResult heatmap =
        run_fovea({"heatmap", "--model", model, "--image", image, "--question", question, "--out",
                   outputs() + "/maps", "--threads", "2"});
    expect_refused(heatmap, exit_code, says);
    EXPECT_TRUE(fs::is_empty(outputs()));
  }
  std::string outputs() const { return folder_ / "outputs"; }

  /// A copy of the small model.
  std::string model_copy() {
    copy_model(guide_model(), folder_ / "model");
    return folder_ / "model";
  }
  static std::string text_of(const std::string& path) {
    const auto text = read_file(path, std::size_t{1} << 28);
    if (!text) ADD_FAILURE() << text.error().to_string();
    return text ? *text : std::string();
  }
  void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  /// config.json with one piece of text replaced.
  void change_config(const std::string& model, const std::string& from, const std::string& to) {
    std::string text = text_of(model + "/config.json");
    const std::size_t found = text.find(from);
    ASSERT_NE(found, std::string::npos) << from;
    write(model + "/config.json", text.replace(found, from.size(), to));
  }

  TemporaryFolder folder_;
};

// ---- Pictures and questions: 2 -----------------------------------------------------------------

TEST_F(BadInput, a_picture_that_is_not_there) {
  expect_ask_refused(guide_model(), folder_ / "none.png", "What?", 2, "none.png");
}

TEST_F(BadInput, a_text_file_named_jpg) {
  expect_ask_refused(guide_model(), folder_.write("notes.jpg", "Dear diary,\n"), "What?", 2,
                     "notes.jpg");
}

TEST_F(BadInput, a_truncated_jpeg) {
  const std::string whole = text_of(eval_picture());
  expect_ask_refused(guide_model(), folder_.write("half.jpg", whole.substr(0, 300)), "What?", 2,
                     "half.jpg");
}

TEST_F(BadInput, an_empty_file_a_folder_and_a_device) {
  expect_ask_refused(guide_model(), folder_.write("empty.png", ""), "What?", 2, "empty.png");
  expect_ask_refused(guide_model(), folder_.path().string(), "What?", 2, "fovea-test");
  expect_ask_refused(guide_model(), "/dev/zero", "What?", 2, "/dev/zero");
}

/// A whole BMP file; our own writers refuse sizes that our readers refuse.
std::string grey_bmp(int width, int height) {
  const std::size_t row_bytes = (static_cast<std::size_t>(width) * 3 + 3) / 4 * 4;
  const std::size_t pixel_bytes = row_bytes * static_cast<std::size_t>(height);
  std::string bytes = "BM";
  const auto put = [&bytes](std::size_t value, int count) {
    for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  };
  put(54 + pixel_bytes, 4);
  put(0, 4);
  put(54, 4);
  put(40, 4);
  put(static_cast<std::size_t>(width), 4);
  put(static_cast<std::size_t>(height), 4);
  put(1, 2);
  put(24, 2);
  put(0, 4);
  put(pixel_bytes, 4);
  for (int i = 0; i < 4; ++i) put(0, 4);
  return bytes + std::string(pixel_bytes, 'x');
}

TEST_F(BadInput, pictures_of_extreme_shape) {
  for (const auto& [width, height] : {std::pair{1, 20000}, {20000, 1}, {1, 16000}}) {
    const std::string file = folder_.write("long.bmp", grey_bmp(width, height));
    expect_ask_refused(guide_model(), file, "What?", 2, "long.bmp");
  }
}

TEST_F(BadInput, an_empty_question) {
  expect_ask_refused(guide_model(), eval_picture(), "", 2, "question");
  expect_ask_refused(guide_model(), eval_picture(), " \n", 2, "empty");
}

TEST_F(BadInput, a_question_longer_than_the_context) {
  std::string question;
  for (int i = 0; i < 9000; ++i) question += "what ";
  expect_ask_refused(guide_model(), eval_picture(), question, 2, "6144");
}

// ---- The model: 3 ------------------------------------------------------------------------------

TEST_F(BadInput, a_model_folder_that_is_not_there_or_empty) {
  expect_ask_refused(folder_ / "none", eval_picture(), "What?", 3, "none");
  fs::create_directory(folder_ / "empty");
  expect_ask_refused(folder_ / "empty", eval_picture(), "What?", 3, "config.json");
}

TEST_F(BadInput, a_missing_tokenizer) {
  const std::string model = model_copy();
  fs::remove(model + "/tokenizer.model");
  expect_ask_refused(model, eval_picture(), "What?", 3, "tokenizer.model");
}

TEST_F(BadInput, a_damaged_tokenizer) {
  const std::string model = model_copy();
  write(model + "/tokenizer.model", "not a protocol buffer");
  expect_ask_refused(model, eval_picture(), "What?", 3, "tokenizer.model");
}

TEST_F(BadInput, truncated_weights) {
  const std::string model = model_copy();
  const std::string file = model + "/model.safetensors";
  for (const std::uintmax_t size :
       {fs::file_size(file) - 1, std::uintmax_t{100}, std::uintmax_t{7}, std::uintmax_t{0}}) {
    fs::resize_file(file, size);
    expect_ask_refused(model, eval_picture(), "What?", 3, "model.safetensors");
  }
}

TEST_F(BadInput, weights_whose_header_lies) {
  const std::string model = model_copy();
  const std::string file = model + "/model.safetensors";
  const std::string whole = text_of(file);
  std::string huge = whole;
  const std::uint64_t length = std::uint64_t{1} << 62;
  std::memcpy(huge.data(), &length, sizeof length);
  write(file, huge);
  expect_ask_refused(model, eval_picture(), "What?", 3, "model.safetensors");

  // The first tensor claims bytes that belong to the second.
  std::string overlap = whole;
  const std::size_t offsets = overlap.find("\"data_offsets\":[0,");
  ASSERT_NE(offsets, std::string::npos);
  const std::size_t digit = offsets + std::strlen("\"data_offsets\":[0,");
  overlap[digit] = overlap[digit] == '9' ? '8' : '9';
  write(file, overlap);
  expect_ask_refused(model, eval_picture(), "What?", 3, "model.safetensors");
}

TEST_F(BadInput, a_tensor_of_another_shape_is_named_with_both_shapes) {
  const std::string model = model_copy();
  change_config(model, "\"intermediate_size\": ", "\"intermediate_size\": 1");
  expect_ask_refused(model, eval_picture(), "What?", 3, "mlp");
}

TEST_F(BadInput, absurd_configuration_values) {
  const std::string good = text_of(guide_model() + "/config.json");
  const auto config = parse_json(good);
  ASSERT_TRUE(config);
  const std::string layers =
      "\"num_hidden_layers\": " + at(*config, {"text_config", "num_hidden_layers"}).dump();
  const std::vector<std::pair<std::string, std::string>> changes{
      {layers, "\"num_hidden_layers\": 1000000000"},
      {layers, "\"num_hidden_layers\": -1"},
      {layers, "\"num_hidden_layers\": 0"},
      {layers, "\"num_hidden_layers\": \"six\""},
      {layers, "\"num_hidden_layers\": 9223372036854775807"},
      {"\"patch_size\": 14", "\"patch_size\": 0"},
      {"\"patch_size\": 14", "\"patch_size\": 337"},
      {"\"image_size\": 336", "\"image_size\": 1000000000"},
      {"\"rms_norm_eps\": ", "\"rms_norm_eps\": -"},
      {"\"vision_feature_layer\": -2", "\"vision_feature_layer\": -200"},
      {"\"model_type\": \"llava\"", "\"model_type\": \"gpt2\""},
      {"{", "{{"}};
  copy_model(guide_model(), folder_ / "model");
  for (const auto& [from, to] : changes) {
    write(folder_ / "model/config.json", good);
    change_config(folder_ / "model", from, to);
    SCOPED_TRACE(to);
    expect_ask_refused(folder_ / "model", eval_picture(), "What?", 3, "config.json");
  }
}

TEST_F(BadInput, a_device_or_type_this_build_lacks) {
  const auto ask = [](const std::string& option, const std::string& value) {
    return run_fovea({"ask", "--model", guide_model(), "--image", eval_picture(), "--question",
                      "What?", option, value});
  };
  const int gpus = cuda_device_count();
  const char* reason = !built_with_cuda() ? "no CUDA"
                       : gpus == 0        ? "no usable GPU"
                                          : "there is no GPU";
  if (gpus == 0) expect_refused(ask("--device", "cuda"), 3, reason);
  expect_refused(ask("--device", "cuda:99"), 3, reason);
  expect_refused(ask("--dtype", "int8"), 3, gpus == 0 ? "f32 and bf16" : "f32, bf16");
}

TEST_F(BadInput, an_unknown_template_is_refused_by_name) {
  const CommandResult result =
      run_fovea({"ask", "--model", guide_model(), "--image", eval_picture(), "--question", "What?",
                 "--template", "x"});
  expect_refused(result, 2, "llava-1.5");
}

// ---- Output files ------------------------------------------------------------------------------

TEST_F(BadInput, outputs_that_cannot_be_written) {
  const CommandResult json =
      run_fovea({"ask", "--model", guide_model(), "--image", eval_picture(), "--question", "What?",
                 "--quiet", "--json", folder_ / "no/such/folder.json"});
  EXPECT_EQ(json.exit_code, 2);
  EXPECT_NE(json.err.find("folder.json"), std::string::npos);
  const CommandResult heatmap =
      run_fovea({"heatmap", "--model", guide_model(), "--image", eval_picture(), "--question",
                 "What?", "--quiet", "--out", folder_.write("file", "") + "/below"});
  EXPECT_EQ(heatmap.exit_code, 2);
  EXPECT_EQ(folder_.entries(), 1U);
}

}  // namespace
}  // namespace fovea::testing
