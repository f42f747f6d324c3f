#pragma once
// Which of a library's algorithms makes a product, kept in a file per card and library version. No
// GPU is needed to read or write one.

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/tensor.h"

namespace fovea {

/// What the choice of an algorithm depends on, for y = x W^T (+ y) (+ bias).
struct ProductKey {
  std::int64_t rows = 0;      // of x; in a table an upper end as bucket_end() gives it
  std::int64_t inputs = 0;    // columns of x and of the weight
  std::int64_t outputs = 0;   // columns of y, rows of the weight
  std::int64_t x_stride = 0;  // elements from row to row, at least inputs
  std::int64_t y_stride = 0;  // at least outputs
  DType x = DType::f32;       // of x and the weight: f32, f16 or bf16
  DType y = DType::f32;       // f32 or x's
  bool accumulate = false;
  bool bias = false;
  /// Powers of two from 1 to 256: what the addresses are multiples of.
  std::uint32_t weight_alignment = 256, x_alignment = 256, y_alignment = 256;

  auto operator<=>(const ProductKey&) const = default;
  /// "64 rows for a weight [4096, 1024] in bf16".
  std::string to_string() const;
};

/// The greatest row count of the bucket that `rows` >= 1 falls into: 1 alone, 2 to 64, then 64
/// each. A table has one algorithm for a bucket.
std::int64_t bucket_end(std::int64_t rows);
/// The least row count of the bucket that ends with `end`.
std::int64_t bucket_begin(std::int64_t end);

/// What the library needs to know an algorithm again, as it is: it means nothing elsewhere.
using AlgorithmWords = std::array<std::uint64_t, 8>;

/// What is kept of a bucket.
struct KeptAlgorithm {
  /// Nothing: the library's own choice was as fast as any.
  std::optional<AlgorithmWords> words;
  std::int64_t least = 0, most = 0;  // row counts of the bucket that it holds for

  bool operator==(const KeptAlgorithm&) const = default;
};

struct AlgorithmTable {
  static constexpr std::size_t kMaxBytes = std::size_t{16} << 20;
  static constexpr std::size_t kMaxProducts = 20'000;

  std::string card;           // as the driver names it
  std::uint64_t library = 0;  // version, as the library counts
  std::map<ProductKey, KeptAlgorithm> products;

  bool operator==(const AlgorithmTable&) const = default;
};

/// JSON, one product a line, in the order of the keys.
std::string algorithm_table_text(const AlgorithmTable& table);

/// Errors: bad_input with field and byte: anything that algorithm_table_text() does not write,
/// sizes out of range, a product twice, more than kMaxProducts or kMaxBytes.
Result<AlgorithmTable> parse_algorithm_table(std::string_view text);

/// Where tables lie: $FOVEA_CACHE, $XDG_CACHE_HOME/fovea or $HOME/.cache/fovea, the first whose
/// variable is set (XDG_CACHE_HOME: and absolute). Empty when none is.
std::string algorithm_cache_folder();

/// FOLDER/cublaslt-CARD-VERSION.json, with the card's letters and digits.
std::string algorithm_table_path(const std::string& folder, const std::string& card,
                                 std::uint64_t library);

/// Nothing when there is no such file or it is of another card or version. Errors: those of
/// parse_algorithm_table and read_file, with file and remedy.
Result<std::optional<AlgorithmTable>> read_algorithm_table(const std::string& path,
                                                           const std::string& card,
                                                           std::uint64_t library);

/// Makes the folder where it is missing; the file is replaced whole. Errors: io.
Status write_algorithm_table(const std::string& path, const AlgorithmTable& table);

}  // namespace fovea
