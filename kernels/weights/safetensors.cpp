#include "kernels/weights/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "kernels/base/checked.h"
#include "kernels/base/json.h"

namespace fovea {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are used as they lie in memory");

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxTensors = 100'000;
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kLengthBytes = 8;
constexpr const char* kRemedy =
    "Download or save the file again; it is damaged or was not written by a safetensors library.";

struct ElementType {
  std::string_view name;
  std::int64_t bits;
};
constexpr ElementType kElementTypes[] = {
    {"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
    {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
    {"F32", 32}, {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};

/// A tensor's declaration, checked by itself but not yet against its neighbours.
struct Declaration {
  SafetensorsEntry entry;
  std::uint64_t begin = 0;  // of its bytes, relative to the data
  std::uint64_t end = 0;
  std::size_t member = 0;  // its place in the header
};

std::string range_text(std::uint64_t begin, std::uint64_t end) {
  std::string text = "[";
  return text += std::to_string(begin) + ", " + std::to_string(end) + ")";
}

class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::span<const std::byte> data) : text_(text), data_(data) {}

  Result<Safetensors> read() {
    // The JSON parser would step over a byte order mark; the format begins with '{' (white space
    // around the object serves as padding).
    const auto first = text_.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos || text_[first] != '{') {
      return bad("the header is not a JSON object")
          .at(kLengthBytes + std::min(first, text_.size()));
    }
    JsonLimits limits;
    limits.max_bytes = kMaxHeaderBytes;
    limits.max_values = 20 * kMaxTensors;
    auto parsed = parse_json(text_, limits);
    if (!parsed) {
      Error error = std::move(parsed.error());
      if (error.code == ErrorCode::bad_input) error.code = ErrorCode::bad_model;
      error.message = "the header cannot be read: " + error.message;
      if (error.offset) *error.offset += kLengthBytes;
      return error.with_remedy(kRemedy);
    }
    const Json::Object& members = parsed->as_object();
    if (members.size() > kMaxTensors + 1) {
      return bad("the header declares " + std::to_string(members.size()) + " tensors; at most " +
                 std::to_string(kMaxTensors) + " are read")
          .at(kLengthBytes);
    }
    Safetensors file;
    std::vector<Declaration> declarations;
    declarations.reserve(members.size());
    for (std::size_t member = 0; member < members.size(); ++member) {
      const auto& [name, value] = members[member];
      if (name == "__metadata__") {
        FOVEA_CHECK(read_metadata(value, member, file.metadata));
      } else {
        FOVEA_TRY(Declaration declaration, read_tensor(name, value, member));
        declarations.push_back(std::move(declaration));
      }
    }
    FOVEA_CHECK(check_layout(declarations));
    for (Declaration& declaration : declarations) {
      declaration.entry.bytes =
          data_.subspan(declaration.begin, declaration.end - declaration.begin);
      file.tensors.push_back(std::move(declaration.entry));
    }
    return file;
  }

 private:
  static Error bad(std::string message) {
    return make_error(ErrorCode::bad_model, std::move(message)).with_remedy(kRemedy);
  }
  Error bad_member(std::string message, const std::string& name, std::size_t member) const {
    const std::array<std::size_t, 1> path = {member};
    return bad(std::move(message))
        .in_field(name.substr(0, kMaxNameBytes))
        .at(kLengthBytes + json_offset(text_, path));
  }

  Status read_metadata(const Json& value, std::size_t member,
                       std::map<std::string, std::string>& metadata) const {
    const auto wrong = [&] {
      return bad_member("the metadata is not an object of strings", "__metadata__", member);
    };
    if (!value.is_object()) return wrong();
    for (const auto& [key, text] : value.as_object()) {
      if (!text.is_string()) return wrong();
      metadata.emplace(key, text.as_string());
    }
    return {};
  }

  Result<Declaration> read_tensor(const std::string& name, const Json& value,
                                  std::size_t member) const {
    const auto wrong = [&](std::string message) {
      return bad_member(std::move(message), name, member);
    };
    if (name.size() > kMaxNameBytes) {
      return wrong("a tensor's name has " + std::to_string(name.size()) + " bytes; at most " +
                   std::to_string(kMaxNameBytes) + " are read");
    }
    const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (std::ranges::any_of(name, is_control)) {
      return bad_member("a tensor's name holds control characters", Json(name).dump(), member);
    }
    const Json* dtype = value.find("dtype");
    const Json* shape = value.find("shape");
    const Json* offsets = value.find("data_offsets");
    if (dtype == nullptr || shape == nullptr || offsets == nullptr) {
      return wrong("expected an object with dtype, shape and data_offsets");
    }

    if (!dtype->is_string()) return wrong("dtype is not a string");
    const auto* type = std::ranges::find(kElementTypes, dtype->as_string(), &ElementType::name);
    if (type == std::end(kElementTypes)) {
      return wrong("unknown dtype " + Json(dtype->as_string().substr(0, 20)).dump());
    }
    Declaration declaration;
    declaration.member = member;
    declaration.entry.name = name;
    declaration.entry.dtype = dtype->as_string();

    const auto is_count = [](const Json& number) {
      return number.is_int() && number.as_int() >= 0;
    };
    if (!shape->is_array() || !std::ranges::all_of(shape->as_array(), is_count)) {
      return wrong("shape is not a list of whole numbers from 0");
    }
    for (const Json& extent : shape->as_array()) declaration.entry.shape.push_back(extent.as_int());

    if (!offsets->is_array() || offsets->as_array().size() != 2 ||
        !std::ranges::all_of(offsets->as_array(), is_count)) {
      return wrong("data_offsets is not a list of two whole numbers from 0");
    }
    declaration.begin = static_cast<std::uint64_t>(offsets->as_array()[0].as_int());
    declaration.end = static_cast<std::uint64_t>(offsets->as_array()[1].as_int());
    if (declaration.begin > declaration.end || declaration.end > data_.size()) {
      return wrong("data_offsets " + range_text(declaration.begin, declaration.end) +
                   " lie outside the file's " + std::to_string(data_.size()) + " bytes of data");
    }

    const auto elements = checked_product(declaration.entry.shape);
    const auto bits = elements ? checked_mul(*elements, type->bits) : std::nullopt;
    if (!bits) return wrong("the shape's size does not fit into 64 bits");
    if (*bits % 8 != 0) return wrong("the shape does not fill whole bytes");
    const std::uint64_t given = declaration.end - declaration.begin;
    if (static_cast<std::uint64_t>(*bits / 8) != given) {
      return wrong("shape and dtype need " + std::to_string(*bits / 8) +
                   " bytes; data_offsets give " + std::to_string(given));
    }
    return declaration;
  }

  /// Sorts by place and checks that the tensors fill the data without holes or overlaps: what no
  /// tensor owns could hide another file, and what two own is a contradiction.
  Status check_layout(std::vector<Declaration>& declarations) const {
    std::ranges::sort(declarations, {}, [](const Declaration& declaration) {
      return std::pair(declaration.begin, declaration.end);
    });
    std::uint64_t expected = 0;
    for (const Declaration& declaration : declarations) {
      if (declaration.begin != expected) {
        const char* problem =
            declaration.begin > expected ? "leave a hole" : "overlap another tensor";
        return bad_member("data_offsets " + range_text(declaration.begin, declaration.end) + " " +
                              problem + ": expected to begin at " + std::to_string(expected),
                          declaration.entry.name, declaration.member);
      }
      expected = declaration.end;
    }
    if (expected != data_.size()) {
      return bad(std::to_string(data_.size() - expected) +
                 " bytes at the end of the file belong to no tensor")
          .at(kLengthBytes + text_.size() + expected);
    }
    return {};
  }

  std::string_view text_;
  std::span<const std::byte> data_;
};

}  // namespace

Result<Safetensors> parse_safetensors(std::span<const std::byte> file) {
  const auto bad = [](std::string message, std::uint64_t offset) {
    return make_error(ErrorCode::bad_model, std::move(message)).at(offset).with_remedy(kRemedy);
  };
  if (file.size() < kLengthBytes) {
    return bad("the file has " + std::to_string(file.size()) +
                   " bytes; a safetensors file begins " + "with 8 bytes of header length",
               file.size());
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes) {
    return bad("the header claims " + std::to_string(length) + " bytes; at most " +
                   std::to_string(kMaxHeaderBytes) + " are read",
               0);
  }
  if (length > file.size() - kLengthBytes) {
    return bad("the header claims " + std::to_string(length) + " bytes; the file has " +
                   std::to_string(file.size() - kLengthBytes) + " left",
               0);
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data() + kLengthBytes), length);
  return HeaderReader(text, file.subspan(kLengthBytes + length)).read();
}

}  // namespace fovea
