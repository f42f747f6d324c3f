// Whatever stands in a tokenizer.model: an error, or a tokenizer that works.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "vlm/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = fovea::Tokenizer::from_bytes(bytes, "fuzz");
  if (!tokenizer) return 0;
  const auto ids = tokenizer->encode(bytes.substr(0, 200));
  fovea::StreamDecoder stream(*tokenizer);
  for (const std::int32_t id : ids) stream.push(id);
  stream.finish();
  if (stream.text() != tokenizer->decode(ids)) std::abort();
  return 0;
}
