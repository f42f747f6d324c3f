#include "kernels/ops/linear/algorithm_table.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/base/file.h"
#include "kernels/base/json.h"

namespace fovea {
namespace {

constexpr const char* kFormat = "fovea-cublaslt-algorithms-1";
constexpr const char* kLibrary = "library";
constexpr const char* kRemedy = "Remove the file, or run with --autotune, which replaces it";
constexpr std::int64_t kBucket = 64;
constexpr std::int64_t kMaxSize = std::int64_t{1} << 40;
constexpr std::size_t kWordDigits = 16;

std::string hex(const AlgorithmWords& words) {
  std::string text;
  for (const std::uint64_t word : words) {
    std::array<char, kWordDigits + 1> digits;
    std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(word));
    text += digits.data();
  }
  return text;
}

std::optional<AlgorithmWords> parse_hex(std::string_view text) {
  AlgorithmWords words;
  if (text.size() != words.size() * kWordDigits) return std::nullopt;
  for (std::uint64_t& word : words) {
    const char* end = text.data() + kWordDigits;
    const auto read = std::from_chars(text.data(), end, word, 16);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
    text.remove_prefix(kWordDigits);
  }
  return words;
}

/// An object of the text whose members are read one by one, each exactly once.
class Members {
 public:
  Members(std::string_view text, const Json& object, std::string name,
          std::vector<std::size_t> place)
      : text_(text), object_(object), name_(std::move(name)), place_(std::move(place)) {}

  Error wrong(const std::string& key, const std::string& expected) const {
    std::vector<std::size_t> place = place_;
    if (object_.is_object()) {
      const Json::Object& members = object_.as_object();
      for (std::size_t i = 0; i < members.size(); ++i) {
        if (members[i].first == key) place.push_back(i);
      }
    }
    Error error = make_error(ErrorCode::bad_input, "expected " + expected)
                      .in_field(name_.empty() ? key
                                : key.empty() ? name_
                                              : name_ + "." + key);
    return error.at(json_offset(text_, place));
  }

  /// The member's value; null where there is none, which no field accepts.
  const Json& at(const std::string& key) const {
    static const Json nothing;
    const Json* found = object_.find(key);
    return found != nullptr ? *found : nothing;
  }

  Result<std::int64_t> whole(const std::string& key, std::int64_t least, std::int64_t most) const {
    const Json& value = at(key);
    if (value.is_int() && value.as_int() >= least && value.as_int() <= most) return value.as_int();
    return wrong(key,
                 "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  Result<bool> truth(const std::string& key) const {
    if (at(key).is_bool()) return at(key).as_bool();
    return wrong(key, "true or false");
  }
  Result<std::string> text(const std::string& key) const {
    if (at(key).is_string()) return at(key).as_string();
    return wrong(key, "a text");
  }
  Result<DType> dtype(const std::string& key) const {
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      if (at(key).is_string() && at(key).as_string() == dtype_name(type)) return type;
    }
    return wrong(key, "f32, f16 or bf16");
  }
  Result<std::uint32_t> alignment(const std::string& key) const {
    FOVEA_TRY(const std::int64_t bytes, whole(key, 1, 256));
    const auto value = static_cast<std::uint32_t>(bytes);
    if (!std::has_single_bit(value)) return wrong(key, "a power of two");
    return value;
  }
  Status only(std::size_t count) const {
    if (object_.is_object() && object_.as_object().size() == count) return {};
    return wrong("", "an object with " + std::to_string(count) + " members");
  }

 private:
  std::string_view text_;
  const Json& object_;
  std::string name_;
  std::vector<std::size_t> place_;
};

Json product_json(const ProductKey& key, const KeptAlgorithm& kept) {
  Json json = Json::object();
  json.set("rows", key.rows).set("inputs", key.inputs).set("outputs", key.outputs);
  json.set("x_stride", key.x_stride).set("y_stride", key.y_stride);
  json.set("x", dtype_name(key.x)).set("y", dtype_name(key.y));
  json.set("accumulate", key.accumulate).set("bias", key.bias);
  json.set("weight_alignment", key.weight_alignment);
  json.set("x_alignment", key.x_alignment).set("y_alignment", key.y_alignment);
  json.set("least", kept.least).set("most", kept.most);
  return std::move(json.set("algorithm", kept.words ? hex(*kept.words) : std::string(kLibrary)));
}

Result<std::pair<ProductKey, KeptAlgorithm>> parse_product(const Members& members) {
  FOVEA_CHECK(members.only(15));
  ProductKey key;
  FOVEA_TRY(key.rows, members.whole("rows", 1, kMaxSize));
  if (bucket_end(key.rows) != key.rows) return members.wrong("rows", "1 or a multiple of 64");
  FOVEA_TRY(key.inputs, members.whole("inputs", 1, kMaxSize));
  FOVEA_TRY(key.outputs, members.whole("outputs", 1, kMaxSize));
  FOVEA_TRY(key.x_stride, members.whole("x_stride", key.inputs, kMaxSize));
  FOVEA_TRY(key.y_stride, members.whole("y_stride", key.outputs, kMaxSize));
  FOVEA_TRY(key.x, members.dtype("x"));
  FOVEA_TRY(key.y, members.dtype("y"));
  if (key.y != DType::f32 && key.y != key.x) return members.wrong("y", "f32 or the type of x");
  FOVEA_TRY(key.accumulate, members.truth("accumulate"));
  FOVEA_TRY(key.bias, members.truth("bias"));
  FOVEA_TRY(key.weight_alignment, members.alignment("weight_alignment"));
  FOVEA_TRY(key.x_alignment, members.alignment("x_alignment"));
  FOVEA_TRY(key.y_alignment, members.alignment("y_alignment"));
  FOVEA_TRY(const std::string digits, members.text("algorithm"));
  KeptAlgorithm kept;
  FOVEA_TRY(kept.least, members.whole("least", bucket_begin(key.rows), key.rows));
  FOVEA_TRY(kept.most, members.whole("most", kept.least, key.rows));
  if (digits == kLibrary) return std::pair{key, kept};
  kept.words = parse_hex(digits);
  if (!kept.words) return members.wrong("algorithm", "128 hexadecimal digits, or \"library\"");
  return std::pair{key, kept};
}

}  // namespace

std::string ProductKey::to_string() const {
  return std::to_string(rows) + " rows for a weight [" + std::to_string(outputs) + ", " +
         std::to_string(inputs) + "] in " + dtype_name(x);
}

std::int64_t bucket_end(std::int64_t rows) {
  return rows <= 1 ? rows : (rows + kBucket - 1) / kBucket * kBucket;
}

std::int64_t bucket_begin(std::int64_t end) {
  return end <= kBucket ? std::min<std::int64_t>(end, 2) : end - kBucket + 1;
}

std::string algorithm_table_text(const AlgorithmTable& table) {
  std::string text = "{\"format\": " + Json(kFormat).dump() +
                     ",\n\"card\": " + Json(table.card).dump() +
                     ",\n\"cublaslt\": " + std::to_string(table.library) + ",\n\"products\": [";
  const char* separator = "\n";
  for (const auto& [key, kept] : table.products) {
    text += separator + product_json(key, kept).dump();
    separator = ",\n";
  }
  return text + "\n]}\n";
}

Result<AlgorithmTable> parse_algorithm_table(std::string_view text) {
  FOVEA_TRY(const Json json, parse_json(text, {.max_bytes = AlgorithmTable::kMaxBytes,
                                               .max_depth = 4,
                                               .max_values = 20 * AlgorithmTable::kMaxProducts}));
  const Members root(text, json, "", {});
  FOVEA_CHECK(root.only(4));
  FOVEA_TRY(const std::string format, root.text("format"));
  if (format != kFormat) return root.wrong("format", std::string("\"") + kFormat + "\"");
  AlgorithmTable table;
  FOVEA_TRY(table.card, root.text("card"));
  FOVEA_TRY(const std::int64_t library,
            root.whole("cublaslt", 0, std::numeric_limits<std::int64_t>::max()));
  table.library = static_cast<std::uint64_t>(library);
  const Json& products = root.at("products");
  if (!products.is_array() || products.as_array().size() > AlgorithmTable::kMaxProducts) {
    return root.wrong("products",
                      "a list of at most " + std::to_string(AlgorithmTable::kMaxProducts));
  }
  std::size_t place = 0;
  while (json.as_object()[place].first != "products") ++place;
  for (std::size_t i = 0; i < products.as_array().size(); ++i) {
    const Members members(text, products.as_array()[i], "products[" + std::to_string(i) + "]",
                          {place, i});
    FOVEA_TRY(const auto product, parse_product(members));
    if (!table.products.insert(product).second) return members.wrong("", "every product once");
  }
  return table;
}

std::string algorithm_cache_folder() {
  const auto variable = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text != nullptr ? text : "");
  };
  if (std::string own = variable("FOVEA_CACHE"); !own.empty()) return own;
  if (const std::string caches = variable("XDG_CACHE_HOME"); caches.starts_with('/')) {
    return caches + "/fovea";
  }
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/fovea";
}

std::string algorithm_table_path(const std::string& folder, const std::string& card,
                                 std::uint64_t library) {
  std::string name;
  for (const char c : card) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    name += plain ? c : '-';
  }
  return folder + "/cublaslt-" + name + "-" + std::to_string(library) + ".json";
}

Result<std::optional<AlgorithmTable>> read_algorithm_table(const std::string& path,
                                                           const std::string& card,
                                                           std::uint64_t library) {
  auto text = read_file(path, AlgorithmTable::kMaxBytes);
  if (!text) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return std::optional<AlgorithmTable>();
    return std::move(text).error().with_remedy(kRemedy);
  }
  auto table = parse_algorithm_table(*text);
  if (!table) return std::move(table).error().in_file(path).with_remedy(kRemedy);
  if (table->card != card || table->library != library) return std::optional<AlgorithmTable>();
  return std::optional(std::move(*table));
}

Status write_algorithm_table(const std::string& path, const AlgorithmTable& table) {
  std::error_code failure;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failure);
  if (failure) {
    return make_error(ErrorCode::io, "cannot make the folder: " + failure.message())
        .in_file(path)
        .with_remedy("Name a folder that can be written in the environment as FOVEA_CACHE");
  }
  Status written = write_file_atomically(path, algorithm_table_text(table));
  if (written) return {};
  return std::move(written.error())
      .with_remedy("Name a folder that can be written in the environment as FOVEA_CACHE");
}

}  // namespace fovea
