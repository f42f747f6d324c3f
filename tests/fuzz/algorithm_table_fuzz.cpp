// Tables of algorithms: whatever is accepted is written and read back as it is.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kernels/ops/linear/algorithm_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto table = fovea::parse_algorithm_table(input);
  if (!table) {
    if (table.error().message.empty() || table.error().offset.value_or(0) > size) std::abort();
    return 0;
  }
  const auto again = fovea::parse_algorithm_table(fovea::algorithm_table_text(*table));
  if (!again || *again != *table) std::abort();
  return 0;
}
