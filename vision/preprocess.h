#pragma once
// From a picture to the numbers a ViT reads, equal to Pillow's antialiased resampling and to the
// order of steps of Hugging Face's CLIPImageProcessor, ViTImageProcessor and DeiTImageProcessor.

#include <array>
#include <optional>
#include <string>

#include "kernels/base/json.h"
#include "kernels/context.h"
#include "vision/image.h"

namespace fovea {

enum class Resample { nearest, bilinear, bicubic, lanczos };  // Pillow's 0, 2, 3, 1

/// What happens to a picture whose sides differ.
enum class AspectMode {
  crop,  // shortest edge to size, centre crop (llava-hf's default)
  pad,   // square in the mean colour first (`image_aspect_ratio: pad` of the original LLaVA)
};

struct PreprocessConfig {
  int channels = 3;  // 1: the picture is made grey first, with the weights of Pillow's mode "L"
  bool resize = true;
  std::optional<int> shortest_edge = 336;  // keeps the aspect; or both of:
  int resize_width = 336, resize_height = 336;
  Resample resample = Resample::bicubic;
  bool center_crop = true;
  int crop_width = 336, crop_height = 336;
  bool rescale = true;
  double rescale_factor = 1.0 / 255.0;
  bool normalize = true;
  std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std{0.26862954, 0.26130258, 0.27577711};
  AspectMode aspect = AspectMode::crop;

  bool operator==(const PreprocessConfig&) const = default;
};

/// What a preprocessor_config.json may leave unsaid because the model says it.
struct PreprocessDefaults {
  /// The image processor of a file that names none: CLIPImageProcessor, ViTImageProcessor, ...
  std::string processor = "CLIPImageProcessor";
  int channels = 3;  // of the model's pictures, 1 or 3
};

/// Reads preprocessor_config.json (or the `image_processor` part of processor_config.json). Absent
/// fields take the defaults of the image processor (CLIP's, LLaVA's, ViT's or DeiT's); unknown
/// resample codes, lists without one number per channel and sizes outside 1..4096 are errors that
/// name the field. `do_pad: true` selects AspectMode::pad.
Result<PreprocessConfig> parse_preprocess_config(const Json& json, const std::string& file,
                                                 const PreprocessDefaults& defaults = {});

struct PreparedImage {
  Tensor pixels;  // [channels, height, width] f32, normalised; where the context computes
  int width = 0, height = 0;
  int source_width = 0, source_height = 0;
  /// Where the whole [height, width] field lies on the original picture.
  PixelRect rect;
};

/// On a GPU the picture travels as it is and is prepared there, to the same bits; nobody waits for
/// it. Errors: too_large or bad_input when the aspect ratio makes an intermediate picture over
/// kMaxImagePixels or thinner than one pixel; out_of_memory, device.
Result<PreparedImage> preprocess(Context& context, const Image& image,
                                 const PreprocessConfig& config);

/// Pillow's Image.resize(size, resample) with its default antialiasing, on 8-bit RGB, bit by bit.
Result<Image> resize_like_pillow(Context& context, const Image& image, int width, int height,
                                 Resample resample);

}  // namespace fovea
