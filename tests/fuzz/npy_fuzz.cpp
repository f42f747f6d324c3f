// What parses has as many values as its shape says, and no more than the bytes can hold.

#include <cstdlib>

#include "kernels/base/checked.h"
#include "kernels/base/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed = fovea::parse_npy({reinterpret_cast<const std::byte*>(data), size});
  if (!parsed) return 0;
  const auto elements = fovea::checked_product(parsed->shape);
  if (!elements || static_cast<std::size_t>(*elements) != parsed->values.size()) std::abort();
  if (parsed->values.size() > size / 2) std::abort();
  return 0;
}
