#include "kernels/base/npy.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>

#include "kernels/base/checked.h"
#include "kernels/base/file.h"
#include "kernels/base/mapped_file.h"
#include "kernels/tensor.h"

namespace fovea {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are copied as they lie in memory");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxRank = 32;  // NumPy's own limit

Error bad(const std::string& message, std::size_t offset) {
  return make_error(ErrorCode::bad_input, message)
      .at(offset)
      .with_remedy("Write the array again with numpy.save.");
}

/// The Python dictionary of the header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::size_t file_offset)
      : text_(text), file_offset_(file_offset) {}

  Result<Header> parse() {
    Header header;
    bool seen_descr = false;
    bool seen_order = false;
    bool seen_shape = false;
    FOVEA_CHECK(expect('{'));
    while (!take('}')) {
      skip_space();
      const std::size_t key_at = at_;
      FOVEA_TRY(const std::string key, quoted());
      FOVEA_CHECK(expect(':'));
      bool* seen = key == "descr"           ? &seen_descr
                   : key == "fortran_order" ? &seen_order
                   : key == "shape"         ? &seen_shape
                                            : nullptr;
      if (seen == nullptr || *seen) {
        at_ = key_at;
        return fail(seen == nullptr ? "an unknown key in the header" : "a key appears twice");
      }
      *seen = true;
      if (seen == &seen_descr) {
        FOVEA_TRY(header.descr, quoted());
      } else if (seen == &seen_order) {
        FOVEA_TRY(header.fortran_order, truth());
      } else {
        FOVEA_TRY(header.shape, tuple());
      }
      if (take(',')) continue;
      FOVEA_CHECK(expect('}'));
      break;
    }
    skip_space();
    if (at_ != text_.size()) return fail("text after the header's dictionary");
    if (!seen_descr || !seen_order || !seen_shape) {
      return fail("the header lacks descr, fortran_order or shape");
    }
    return header;
  }

 private:
  Error fail(const std::string& message) const { return bad(message, file_offset_ + at_); }
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }
  bool take(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  Status expect(char wanted) {
    if (take(wanted)) return {};
    return fail(std::string("expected '") + wanted + "' in the header");
  }
  Result<std::string> quoted() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') return fail("expected a quoted word in the header");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return fail("a quoted word in the header has no end");
    std::string word(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return word;
  }
  Result<bool> truth() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return word == "True";
    }
    return fail("expected True or False in the header");
  }
  Result<std::vector<std::int64_t>> tuple() {
    FOVEA_CHECK(expect('('));
    std::vector<std::int64_t> extents;
    while (!take(')')) {
      skip_space();
      std::int64_t extent = 0;
      const auto [end, problem] =
          std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (problem != std::errc() || extent < 0) return fail("expected an extent in the shape");
      if (extents.size() == kMaxRank) {
        return fail("the shape has more than " + std::to_string(kMaxRank) + " extents");
      }
      extents.push_back(extent);
      at_ = static_cast<std::size_t>(end - text_.data());
      if (take(',')) continue;
      FOVEA_CHECK(expect(')'));
      break;
    }
    return extents;
  }

  std::string_view text_;
  std::size_t file_offset_;
  std::size_t at_ = 0;
};

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

float as_float(f16 value) {
  return to_float(value);
}
template <class T>
float as_float(T value) {
  return static_cast<float>(value);
}

template <class T>
void read_values(std::span<const std::byte> data, std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = as_float(load<T>(data.data() + i * sizeof(T)));
}

struct Format {
  std::string_view descr;
  std::size_t size;
  void (*read)(std::span<const std::byte>, std::vector<float>&);
};
constexpr Format kFormats[] = {{"<f4", 4, read_values<float>},
                               {"<f8", 8, read_values<double>},
                               {"<f2", 2, read_values<f16>},
                               {"<i4", 4, read_values<std::int32_t>},
                               {"<i8", 8, read_values<std::int64_t>}};

Status write_array(const std::string& path, std::span<const std::int64_t> shape,
                   std::string_view descr, std::span<const std::byte> values,
                   std::size_t value_size) {
  const auto elements = checked_product(shape);
  if (!elements || static_cast<std::size_t>(*elements) != values.size() / value_size ||
      shape.size() > kMaxRank) {
    return make_error(ErrorCode::internal, "an array's shape does not match its " +
                                               std::to_string(values.size() / value_size) +
                                               " values")
        .in_file(path);
  }
  std::string extents;
  for (const std::int64_t extent : shape) {
    extents += (extents.empty() ? "" : ", ") + std::to_string(extent);
  }
  if (shape.size() == 1) extents += ',';
  std::string header = "{'descr': '" + std::string(descr) +
                       "', 'fortran_order': False, 'shape': (" + extents + "), }";
  // The format wants the data to start at a multiple of 64, after a line break.
  const std::size_t prefix = kMagic.size() + 4;
  header.append(63 - (prefix + header.size()) % 64, ' ');
  header += '\n';
  std::string file(kMagic);
  file += {'\x01', '\x00', static_cast<char>(header.size() & 255),
           static_cast<char>(header.size() >> 8)};
  file += header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size());
  return write_file_atomically(path, file);
}

}  // namespace

Status write_npy(const std::string& path, std::span<const std::int64_t> shape,
                 std::span<const float> values) {
  return write_array(path, shape, "<f4", std::as_bytes(values), sizeof(float));
}

Status write_npy(const std::string& path, std::span<const std::int64_t> shape,
                 std::span<const std::int32_t> values) {
  return write_array(path, shape, "<i4", std::as_bytes(values), sizeof(std::int32_t));
}

namespace {

/// What a file says about its array, and the bytes of its values.
struct Parts {
  std::vector<std::int64_t> shape;
  std::size_t elements = 0;
  Format format;
  std::size_t header_at = 0;
  std::span<const std::byte> data;
};

Result<Parts> parse_parts(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic)) return bad("not a NumPy .npy file: its first bytes differ", 0);
  const auto version = text.size() > kMagic.size() ? static_cast<unsigned>(bytes[6]) : 0;
  if (version < 1 || version > 3) {
    return bad("version " + std::to_string(version) + " of the format; expected 1 to 3", 6);
  }
  const std::size_t length_size = version == 1 ? 2 : 4;
  const std::size_t start = kMagic.size() + 2 + length_size;
  if (bytes.size() < start) return bad("the file ends inside its first bytes", bytes.size());
  const std::size_t length =
      version == 1 ? load<std::uint16_t>(bytes.data() + 8) : load<std::uint32_t>(bytes.data() + 8);
  if (length > bytes.size() - start) {
    return bad("the header claims " + std::to_string(length) + " bytes; the file has " +
                   std::to_string(bytes.size() - start) + " left",
               8);
  }
  FOVEA_TRY(const Header header, HeaderParser(text.substr(start, length), start).parse());

  const auto* format = std::ranges::find(kFormats, header.descr, &Format::descr);
  if (format == std::end(kFormats)) {
    return bad("element type '" + header.descr.substr(0, 20) +
                   "' is not read; expected <f4, <f8, <f2, <i4 or <i8",
               start)
        .with_remedy("Convert the array with numpy's astype('<f4').");
  }
  if (header.fortran_order) {
    return bad("the array is in Fortran order; expected C order", start)
        .with_remedy("Save numpy.ascontiguousarray(array).");
  }
  const auto elements = checked_product(header.shape);
  const auto size =
      elements ? checked_mul(*elements, static_cast<std::int64_t>(format->size)) : std::nullopt;
  const auto data = bytes.subspan(start + length);
  if (!size || static_cast<std::size_t>(*size) != data.size()) {
    return bad("the shape needs " + (size ? std::to_string(*size) : "more than 2^63") +
                   " bytes of values; the file has " + std::to_string(data.size()),
               start + length);
  }
  return Parts{header.shape, static_cast<std::size_t>(*elements), *format, start, data};
}

Error no_room(std::size_t elements) {
  return make_error(ErrorCode::out_of_memory,
                    "no room for an array of " + std::to_string(elements) + " values");
}

template <class Array>
Result<Array> read_file(const std::string& path,
                        Result<Array> (*parse)(std::span<const std::byte>)) {
  FOVEA_TRY(const MappedFile file, MappedFile::open(path));
  auto array = parse(file.bytes());
  if (!array) return std::move(array.error().in_file(path));
  return array;
}

}  // namespace

Result<NpyArray> parse_npy(std::span<const std::byte> bytes) {
  FOVEA_TRY(const Parts parts, parse_parts(bytes));
  try {
    NpyArray array{parts.shape, std::vector<float>(parts.elements)};
    parts.format.read(parts.data, array.values);
    return array;
  } catch (const std::bad_alloc&) {
    return no_room(parts.elements);
  }
}

Result<NpyDoubles> parse_npy_doubles(std::span<const std::byte> bytes) {
  FOVEA_TRY(const Parts parts, parse_parts(bytes));
  const bool single = parts.format.descr == "<f4";
  if (!single && parts.format.descr != "<f8") {
    return bad("element type '" + std::string(parts.format.descr) + "'; expected <f4 or <f8",
               parts.header_at)
        .with_remedy("Convert the array with numpy's astype('<f8').");
  }
  try {
    NpyDoubles array{parts.shape, std::vector<double>(parts.elements)};
    for (std::size_t i = 0; i < parts.elements; ++i) {
      const std::byte* at = parts.data.data() + i * parts.format.size;
      array.values[i] = single ? static_cast<double>(load<float>(at)) : load<double>(at);
    }
    return array;
  } catch (const std::bad_alloc&) {
    return no_room(parts.elements);
  }
}

Result<NpyArray> read_npy(const std::string& path) {
  return read_file(path, parse_npy);
}

Result<NpyDoubles> read_npy_doubles(const std::string& path) {
  return read_file(path, parse_npy_doubles);
}

}  // namespace fovea
