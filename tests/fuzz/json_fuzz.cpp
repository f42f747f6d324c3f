// What parses must be written and read back unchanged.

#include <cstdlib>
#include <string_view>

#include "kernels/base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto parsed = fovea::parse_json(input);
  if (!parsed) {
    const auto& offset = parsed.error().offset;
    if (!offset || *offset > size) std::abort();
    return 0;
  }
  const std::string text = parsed->dump();
  const auto again = fovea::parse_json(text);
  if (!again || again->dump() != text) std::abort();
  const std::size_t path[] = {0, 1};
  if (fovea::json_offset(input, path) > size) std::abort();
  return 0;
}
