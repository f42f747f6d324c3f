// What parses covers its data exactly: no byte in two tensors, none in no tensor.

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "kernels/weights/safetensors.h"

namespace {

void check(std::span<const std::byte> file) {
  const auto parsed = fovea::parse_safetensors(file);
  if (!parsed) {
    if (!parsed.error().offset || *parsed.error().offset > file.size()) std::abort();
    return;
  }
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  const std::byte* expected = file.data() + 8 + header;
  for (const auto& tensor : parsed->tensors) {
    if (tensor.bytes.data() != expected) std::abort();
    expected += tensor.bytes.size();
  }
  if (expected != file.data() + file.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check({reinterpret_cast<const std::byte*>(data), size});

  // A change inside the header nearly always breaks the length before it. So the input is also
  // read as header text up to the last '}' and then data, with the right length in front.
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (size >= 8) text.remove_prefix(8);
  const std::uint64_t header = text.rfind('}') + 1;
  std::string file(8, '\0');
  std::memcpy(file.data(), &header, 8);
  file += text;
  check(std::as_bytes(std::span(file)));
  return 0;
}
