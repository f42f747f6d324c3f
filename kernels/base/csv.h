#pragma once
// Comma-separated values as RFC 4180 writes them.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

/// One record with its line end (CR LF). Fields with commas, quotes or line breaks are quoted.
std::string csv_record(std::span<const std::string> fields);

struct CsvRecord {
  std::uint64_t line = 0;  // where it begins, counted from 1
  std::vector<std::string> fields;
};

/// Reads a whole table; lines may end in LF alone, empty lines are passed over, a byte order mark
/// is dropped. Errors: bad_input with the line in `offset` (an unclosed quote, text behind a
/// closing quote), too_large (over ten million fields).
Result<std::vector<CsvRecord>> parse_csv(std::string_view text);

}  // namespace fovea
