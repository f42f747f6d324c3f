// Fovea against transformers in float32, on small random checkpoints in the layouts found in the
// wild. tests/golden/make_llava_golden.py made the checkpoints and the expected values and says
// what each tensor holds.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/json.h"
#include "kernels/base/mapped_file.h"
#include "kernels/weights/safetensors.h"
#include "support/model_device.h"
#include "vision/preprocess.h"
#include "vlm/session.h"

namespace fovea {
namespace {

// Rounding of float32 through these layers comes to 5e-6 at most where it was measured; another
// order of summation (more lanes, more threads) may double that. A wrong mask, rotation, norm or
// head mapping is thousands of times above it.
constexpr double kFloat32Tolerance = 2e-5;
// bfloat16 keeps 8 bits: 2^-9 of relative error per rounded number, which the sharp attention of
// these models amplifies, to 2.4e-2 at most where it was measured.
constexpr double kBfloat16Tolerance = 5e-2;
// A lead smaller than this may be lost to rounding, so that another token is as good an answer.
constexpr float kRoundingMargin = 1e-3f;

const std::string kFolder = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/llava/";

#define ASSERT_OK(result) ASSERT_TRUE(result) << (result).error().to_string()

double relative_error(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

/// Writes a measured error into the test's XML report.
void record(const std::string& name, double error) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2e", error);
  ::testing::Test::RecordProperty("relative_error_" + name, text.data());
}

/// One prompt and what transformers made of it.
struct Case {
  std::string name;
  std::string prompt;
  std::vector<std::string> pictures;
  std::vector<std::int32_t> prompt_ids;
  std::vector<float> image_features;  // [pictures, visual tokens, hidden]
  std::vector<std::int32_t> greedy_ids;
  std::vector<float> logits;   // [rows, vocabulary]; row t predicted greedy_ids[t]
  std::vector<float> margins;  // [rows]

  int rows() const { return static_cast<int>(greedy_ids.size()); }
  std::size_t vocabulary() const { return logits.size() / greedy_ids.size(); }
  std::span<const float> row(int index) const {
    return std::span(logits).subspan(static_cast<std::size_t>(index) * vocabulary(), vocabulary());
  }
};

/// The tensors of one file by name, copied out.
class ExpectedTensors {
 public:
  explicit ExpectedTensors(const std::string& path) {
    auto file = MappedFile::open(path);
    if (!file) return;
    auto parsed = parse_safetensors(file->bytes());
    if (!parsed) return;
    metadata_ = parsed->metadata;
    for (const SafetensorsEntry& entry : parsed->tensors) {
      bytes_[entry.name].assign(entry.bytes.begin(), entry.bytes.end());
    }
  }

  template <class T>
  std::vector<T> get(const std::string& name) const {
    const auto found = bytes_.find(name);
    if (found == bytes_.end()) return {};
    std::vector<T> values(found->second.size() / sizeof(T));
    std::memcpy(values.data(), found->second.data(), found->second.size());
    return values;
  }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::map<std::string, std::vector<std::byte>> bytes_;
  std::map<std::string, std::string> metadata_;
};

std::vector<Case> read_cases(const std::string& checkpoint) {
  const ExpectedTensors expected(kFolder + checkpoint + "/expected.safetensors");
  std::vector<Case> cases;
  if (!expected.metadata().contains("cases")) return cases;
  const Result<Json> list = parse_json(expected.metadata().at("cases"));
  if (!list) return cases;
  for (const auto& [name, description] : list->as_object()) {
    Case one;
    one.name = name;
    one.prompt = description.find("prompt")->as_string();
    for (const Json& picture : description.find("pictures")->as_array()) {
      one.pictures.push_back(picture.as_string());
    }
    one.prompt_ids = expected.get<std::int32_t>(name + ".prompt_ids");
    one.image_features = expected.get<float>(name + ".image_features");
    one.greedy_ids = expected.get<std::int32_t>(name + ".greedy_ids");
    one.logits = expected.get<float>(name + ".logits");
    one.margins = expected.get<float>(name + ".margins");
    cases.push_back(std::move(one));
  }
  return cases;
}

std::shared_ptr<const Image> load_picture(const std::string& name) {
  auto image = load_image(kFolder + "pictures/" + name);
  if (!image) {
    ADD_FAILURE() << image.error().to_string();
    return nullptr;
  }
  return std::make_shared<const Image>(std::move(*image));
}

class GoldenLlava : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    cases_ = read_cases(GetParam());
    ASSERT_EQ(cases_.size(), 3u) << "tests/golden/llava/" << GetParam() << " cannot be read";
  }

  static std::shared_ptr<const LlavaModel> load(DTypeChoice dtype, int threads) {
    auto model =
        LlavaModel::load(kFolder + GetParam(),
                         {.threads = threads, .device = testing::model_device(), .dtype = dtype});
    if (!model) {
      ADD_FAILURE() << model.error().to_string();
      return nullptr;
    }
    return *model;
  }

  static Question question_of(const Case& one) {
    Question question;
    question.raw_prompt = one.prompt;
    question.keep_logits = true;
    question.sampling.max_new_tokens = one.rows();
    for (const std::string& picture : one.pictures)
      question.images.push_back(load_picture(picture));
    return question;
  }

  /// Answers greedily through the whole of Fovea: file, preprocessing, tokenizer, networks.
  static std::optional<Answer> ask(const std::shared_ptr<const LlavaModel>& model, const Case& one,
                                   int threads) {
    SessionOptions options;
    options.threads = threads;
    auto session = Session::create(model, options);
    if (!session) {
      ADD_FAILURE() << session.error().to_string();
      return std::nullopt;
    }
    auto answer = (*session)->ask(question_of(one));
    if (!answer) {
      ADD_FAILURE() << answer.error().to_string();
      return std::nullopt;
    }
    return std::move(*answer);
  }

  /// Projected features [pictures * visual tokens, hidden] of the stored pixels.
  static std::vector<float> image_features(Context& context, const LlavaModel& model,
                                           const std::vector<std::string>& pictures) {
    const LlavaConfig& config = model.config();
    const std::int64_t size = config.vision.image_size;
    const std::int64_t tokens = config.visual_tokens_per_image();
    const ExpectedTensors stored(kFolder + "pictures/pixels.safetensors");
    std::vector<float> all;
    for (const std::string& picture : pictures) {
      const std::vector<float> pixels = stored.get<float>(picture);
      EXPECT_EQ(std::ssize(pixels), 3 * size * size);
      const ConstTensorView pixel_view(reinterpret_cast<const std::byte*>(pixels.data()),
                                       DType::f32, Shape{3, size, size});
      Tensor hidden = Tensor::allocate({config.vision.tokens(), config.vision.hidden_size},
                                       DType::f32, context.device)
                          .value();
      Status status = model.vision().forward(context, pixel_view, hidden.view());
      EXPECT_TRUE(status) << status.error().to_string();
      const ConstTensorView selected = hidden.view().slice(config.drop_class_token ? 1 : 0, tokens);
      std::vector<float> values;
      status = testing::filled_there(
          context, {tokens, config.decoder.hidden_size}, values,
          [&](TensorView there) { return model.projector().forward(context, selected, there); });
      EXPECT_TRUE(status) << status.error().to_string();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  /// Embedded prompt [ids, hidden]: rows of the placeholder are features, in order.
  static Tensor embed(Context& context, const LlavaModel& model,
                      const std::vector<std::int32_t>& ids, const std::vector<float>& features) {
    const LlavaConfig& config = model.config();
    const std::int64_t hidden = config.decoder.hidden_size;
    Tensor rows = Tensor::allocate({std::ssize(ids), hidden}, DType::f32).value();
    std::vector<float> embedded;
    const Status status = testing::filled_there(
        context, rows.shape(), embedded,
        [&](TensorView there) { return model.decoder().embed(context, ids, there); });
    EXPECT_TRUE(status) << status.error().to_string();
    std::copy(embedded.begin(), embedded.end(), rows.as<float>());
    std::size_t next = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] != config.image_token_id) continue;
      std::copy_n(features.begin() + static_cast<std::ptrdiff_t>(next), hidden,
                  rows.view().row<float>(static_cast<std::int64_t>(i)));
      next += static_cast<std::size_t>(hidden);
    }
    EXPECT_EQ(next, features.size());
    return rows;
  }

  /// Logits of the last row of a whole text, and the state it leaves behind.
  struct Prefilled {
    std::vector<float> logits;
    DecoderState state;
  };
  static Prefilled prefill(Context& context, const LlavaModel& model,
                           const std::vector<std::int32_t>& ids,
                           const std::vector<float>& features) {
    const Tensor embeddings = embed(context, model, ids, features);
    SequenceLayout layout;
    for (const std::int32_t id : ids) {
      const bool visual = id == model.config().image_token_id;
      layout.kinds.push_back(visual ? TokenKind::visual : TokenKind::text);
      layout.visual_ids.push_back(visual ? static_cast<std::int32_t>(layout.visual.size()) : -1);
      if (visual) layout.visual.emplace_back();
    }
    Prefilled result{std::vector<float>(model.config().decoder.vocab_size),
                     model.decoder().new_state()};
    PrefillInput input;
    input.embeddings = embeddings.view();
    input.layout = &layout;
    const Status status = testing::row_there(context, result.logits, [&](TensorView logits) {
      return model.decoder().prefill(context, input, result.state, logits, nullptr, nullptr);
    });
    EXPECT_TRUE(status) << status.error().to_string();
    return result;
  }

  static Status decode(Context& context, const LlavaModel& model, std::int32_t token,
                       Prefilled& run) {
    return testing::row_there(context, run.logits, [&](TensorView logits) {
      return model.decoder().decode(context, token, run.state, logits, nullptr);
    });
  }

  std::vector<Case> cases_;
};

TEST_P(GoldenLlava, image_features_equal_transformers) {
  const auto model = load(DTypeChoice::f32, 1);
  ASSERT_NE(model, nullptr);
  Context context = testing::model_context();
  for (const Case& one : cases_) {
    if (one.pictures.empty()) continue;
    const double error =
        relative_error(image_features(context, *model, one.pictures), one.image_features);
    EXPECT_LT(error, kFloat32Tolerance) << one.name;
    record(one.name, error);
  }
}

TEST_P(GoldenLlava, answers_equal_transformers_in_ids_logits_and_greedy_tokens) {
  const auto model = load(DTypeChoice::f32, 1);
  ASSERT_NE(model, nullptr);
  for (const Case& one : cases_) {
    SCOPED_TRACE(one.name);
    const auto answer = ask(model, one, 1);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->prompt_token_ids, one.prompt_ids);
    ASSERT_EQ(std::ssize(answer->token_ids), one.rows());
    ASSERT_EQ(answer->logits.size(), one.logits.size());
    double worst = 0;
    for (int t = 0; t < one.rows(); ++t) {
      const auto row = std::span(answer->logits).subspan(t * one.vocabulary(), one.vocabulary());
      worst = std::max(worst, relative_error(row, one.row(t)));
      ASSERT_LT(worst, kFloat32Tolerance) << "row " << t;
      if (one.margins[static_cast<std::size_t>(t)] <= kRoundingMargin) break;
      ASSERT_EQ(answer->token_ids[static_cast<std::size_t>(t)],
                one.greedy_ids[static_cast<std::size_t>(t)])
          << "row " << t;
    }
    record(one.name, worst);
  }
}

TEST_P(GoldenLlava, decode_with_cache_equals_prefill_of_the_longer_text) {
  const auto model = load(DTypeChoice::f32, 1);
  ASSERT_NE(model, nullptr);
  Context context = testing::model_context();
  for (const Case& one : cases_) {
    SCOPED_TRACE(one.name);
    const std::vector<float> features = image_features(context, *model, one.pictures);
    Prefilled cached = prefill(context, *model, one.prompt_ids, features);
    std::vector<std::int32_t> text = one.prompt_ids;
    for (int t = 0; t + 1 < one.rows(); ++t) {
      const std::int32_t token = one.greedy_ids[static_cast<std::size_t>(t)];
      const Status status = decode(context, *model, token, cached);
      ASSERT_OK(status);
      text.push_back(token);
      const Prefilled whole = prefill(context, *model, text, features);
      ASSERT_LT(relative_error(cached.logits, whole.logits), kFloat32Tolerance) << "step " << t;
      ASSERT_LT(relative_error(cached.logits, one.row(t + 1)), kFloat32Tolerance) << "step " << t;
    }
  }
}

TEST_P(GoldenLlava, threads_change_nothing_but_rounding) {
  const auto one_thread = load(DTypeChoice::f32, 1);
  const auto two_threads = load(DTypeChoice::f32, 2);
  ASSERT_NE(one_thread, nullptr);
  ASSERT_NE(two_threads, nullptr);
  for (const Case& one : cases_) {
    SCOPED_TRACE(one.name);
    const auto first = ask(one_thread, one, 1);
    const auto second = ask(two_threads, one, 2);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->token_ids, second->token_ids);
    EXPECT_LT(relative_error(first->logits, second->logits), kFloat32Tolerance);
  }
}

TEST_P(GoldenLlava, asking_again_resumes_from_the_snapshot_and_changes_nothing) {
  const auto model = load(DTypeChoice::f32, 1);
  ASSERT_NE(model, nullptr);
  auto session = Session::create(model, {.threads = 1});
  ASSERT_OK(session);
  for (const Case& one : cases_) {
    SCOPED_TRACE(one.name);
    const Question question = question_of(one);
    for (int round = 0; round < 2; ++round) {
      const auto answer = (*session)->ask(question);
      ASSERT_OK(answer);
      if (round == 1 && !one.pictures.empty()) {
        EXPECT_GT(answer->prefix_reused, 0);
      }
      EXPECT_LT(relative_error(answer->logits, one.logits), kFloat32Tolerance) << "round " << round;
      EXPECT_EQ(answer->token_ids, one.greedy_ids) << "round " << round;
    }
  }
}

// Fed with the reference's own tokens, so that one token won by rounding does not end the test.
TEST_P(GoldenLlava, bfloat16_stays_close_to_float32) {
  const auto model = load(DTypeChoice::bf16, 2);
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->dtype(), LinearDType::bf16);
  Context context = testing::model_context(2);
  for (const Case& one : cases_) {
    SCOPED_TRACE(one.name);
    const std::vector<float> features = image_features(context, *model, one.pictures);
    if (!features.empty()) {
      EXPECT_LT(relative_error(features, one.image_features), kBfloat16Tolerance);
    }
    Prefilled run = prefill(context, *model, one.prompt_ids, features);
    double worst = relative_error(run.logits, one.row(0));
    for (int t = 0; t + 1 < one.rows(); ++t) {
      const Status status =
          decode(context, *model, one.greedy_ids[static_cast<std::size_t>(t)], run);
      ASSERT_OK(status);
      worst = std::max(worst, relative_error(run.logits, one.row(t + 1)));
    }
    EXPECT_LT(worst, kBfloat16Tolerance);
    record(one.name, worst);
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenLlava,
                         ::testing::Values("mha-published-f16", "gqa-saved-f32",
                                           "gqa-memory-bf16-sharded", "tied-published-f16",
                                           "full-published-f16-sharded"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(GoldenPictures, preprocessing_equals_transformers_with_pillow) {
  auto config = read_llava_config(kFolder + "mha-published-f16");
  ASSERT_OK(config);
  const ExpectedTensors stored(kFolder + "pictures/pixels.safetensors");
  Context context;
  for (const std::string name : {"wide.png", "small.png"}) {
    const auto image = load_picture(name);
    ASSERT_NE(image, nullptr);
    auto prepared = preprocess(context, *image, config->preprocess);
    ASSERT_OK(prepared);
    const std::vector<float> expected = stored.get<float>(name);
    ASSERT_EQ(prepared->pixels.shape().elements(), std::ssize(expected));
    // One grey level of 255 is 0.0146 after normalisation; these differ by float rounding only.
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(prepared->pixels.as<float>()[i], expected[i], 1e-5) << name << " value " << i;
    }
  }
}

}  // namespace
}  // namespace fovea
