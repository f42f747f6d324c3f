// Whatever stands in the JSON files of a model folder: an error, or a configuration within bounds.
// The input holds the texts of the four files, separated by zero bytes.

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "vlm/chat_template.h"
#include "vlm/llava_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("fovea-fuzz-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"config.json", "generation_config.json", "preprocessor_config.json",
                           "tokenizer_config.json"}) {
    const std::string_view text = rest.substr(0, rest.find('\0'));
    std::ofstream(folder / name, std::ios::binary) << text;
    rest.remove_prefix(std::min(rest.size(), text.size() + 1));
  }
  const auto config = fovea::read_llava_config(folder.string());
  if (!config) return 0;
  if (config->decoder.heads % config->decoder.kv_heads != 0) std::abort();
  if (config->vision_run_layers < 1 || config->vision_run_layers > config->vision.layers) {
    std::abort();
  }
  if (config->visual_tokens_per_image() < 1) std::abort();
  if (const auto chat = fovea::ChatTemplate::recognise(config->chat_template)) {
    chat->render({{"question", 1, "answer"}, {"question", 0, ""}});
  }
  return 0;
}
