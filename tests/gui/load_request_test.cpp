// Which model is loaded and where it computes; what that takes is said beforehand.

#include "gui/load_request.h"

#include "gui/model_estimate.h"
#include "gui_support.h"
#include "kernels/device.h"

namespace fovea::gui {
namespace {

TEST(LoadRequest, types_have_names_that_read_back) {
  for (const DTypeChoice choice :
       {DTypeChoice::automatic, DTypeChoice::f32, DTypeChoice::bf16, DTypeChoice::f16}) {
    const auto found = find_dtype_choice(dtype_choice_name(choice));
    ASSERT_TRUE(found);
    EXPECT_EQ(*found, choice);
  }
  EXPECT_FALSE(find_dtype_choice("f64"));
}

TEST(LoadRequest, the_cpu_is_taken_where_it_was_asked_for) {
  const auto options = load_options({.device = "cpu", .threads = 3});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->device.kind, DeviceKind::cpu);
  EXPECT_EQ(options->threads, 3);
  const auto automatic = load_options({});
  ASSERT_TRUE(automatic);
  EXPECT_EQ(automatic->device, best_device());
  EXPECT_GE(automatic->threads, 1);
}

TEST(LoadRequest, a_device_that_is_not_there_is_an_error_and_never_the_cpu) {
  const QString beyond = QStringLiteral("cuda:%1").arg(cuda_device_count() + 7);
  const auto options = load_options({.device = beyond});
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().code, ErrorCode::device);
  EXPECT_FALSE(options.error().remedy.empty());
  for (const char* name : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"}) {
    const auto wrong = load_options({.device = QString::fromLatin1(name)});
    ASSERT_FALSE(wrong) << name;
    EXPECT_EQ(wrong.error().code, ErrorCode::usage) << name;
  }
}

TEST(LoadRequest, the_cpu_does_not_take_half_precision) {
  const auto options = load_options({.device = "cpu", .dtype = DTypeChoice::f16});
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().code, ErrorCode::device);
}

TEST(LoadRequest, the_bundled_model_brings_its_guide_and_others_name_theirs) {
  const auto bundled = guide_folder({}, "fovea-base");
  ASSERT_TRUE(bundled);
  EXPECT_TRUE(QString::fromStdString(*bundled).endsWith("fovea-guide"));
  const auto other = guide_folder({}, "llava-1.5-7b-hf");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::usage);
  const auto named = guide_folder({.guide = "/models/small"}, "llava-1.5-7b-hf");
  ASSERT_TRUE(named);
  EXPECT_EQ(*named, "/models/small");
}

TEST(ModelEstimate, counts_the_guide_and_names_the_device) {
  const QString base = asset("models/fovea-base"), guide = asset("models/fovea-guide");
  const auto pair = estimate_model({.folder = base, .device = "cpu"});
  ASSERT_TRUE(pair) << pair.error().to_string();
  EXPECT_EQ(pair->device, "cpu");
  EXPECT_EQ(pair->guide, "fovea-guide");
  EXPECT_GT(pair->guide_weights, 0);
  const auto alone = estimate_model({.folder = guide, .device = "cpu"});
  ASSERT_TRUE(alone);
  EXPECT_TRUE(alone->guide.isEmpty());
  EXPECT_EQ(pair->guide_weights, alone->weights);
  EXPECT_TRUE(estimate_text(*pair).contains("Guide fovea-guide"));
  ModelEstimate large = *pair;
  large.available = large.needed() - 1;
  EXPECT_FALSE(large.fits());
  const auto no_guide = estimate_model({.folder = base, .guide = "/nowhere/guide"});
  ASSERT_FALSE(no_guide);
  EXPECT_NE(no_guide.error().to_string().find("/nowhere/guide"), std::string::npos);
}

}  // namespace
}  // namespace fovea::gui
