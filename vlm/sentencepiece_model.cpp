#include "vlm/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <unordered_set>
#include <utility>

#include "vlm/utf8.h"

namespace fovea {
namespace {

constexpr std::size_t kMaxPieces = 1'000'000;
// SentencePiece collects nested matches in arrays of fixed size: 1024 for all pieces, 64 for
// user-defined ones. A piece of n bytes has at most n pieces as prefixes.
constexpr std::size_t kMaxPieceBytes = 512;
constexpr std::size_t kMaxUserPieceBytes = 64;
constexpr std::size_t kMaxUnknownSurfaceBytes = 64;
constexpr std::size_t kMaxSelfTestBytes = std::size_t{1} << 20;

/// One field of a protobuf message.
struct Field {
  std::uint32_t number = 0;
  enum class Wire { varint, fixed64, bytes, fixed32 } wire = Wire::varint;
  std::uint64_t integer = 0;  // varint, fixed64, fixed32
  std::string_view bytes;
  std::size_t offset = 0;  // of the field in the whole file
};

/// Reads the fields of one message, which lies inside a larger buffer.
class MessageReader {
 public:
  MessageReader(std::string_view message, std::size_t offset) : rest_(message), offset_(offset) {}

  bool at_end() const { return rest_.empty(); }

  Result<Field> next() {
    Field field;
    field.offset = offset_;
    FOVEA_TRY(const std::uint64_t key, varint());
    const std::uint64_t number = key >> 3;
    if (number == 0 || number > (std::uint64_t{1} << 29) - 1) return damaged("a field number");
    field.number = static_cast<std::uint32_t>(number);
    switch (key & 7) {
      case 0: {
        FOVEA_TRY(field.integer, varint());
        return field;
      }
      case 1: {
        field.wire = Field::Wire::fixed64;
        FOVEA_TRY(field.integer, fixed(8));
        return field;
      }
      case 2: {
        field.wire = Field::Wire::bytes;
        FOVEA_TRY(const std::uint64_t length, varint());
        if (length > rest_.size()) return damaged("a length past the end");
        field.bytes = rest_.substr(0, static_cast<std::size_t>(length));
        skip(field.bytes.size());
        return field;
      }
      case 5: {
        field.wire = Field::Wire::fixed32;
        FOVEA_TRY(field.integer, fixed(4));
        return field;
      }
      default:
        return damaged("a wire type that is not used");
    }
  }

  /// Offset in the file at which the content of a bytes field begins.
  std::size_t content_offset(const Field& field) const { return offset_ - field.bytes.size(); }

 private:
  Error damaged(const std::string& what) const {
    return make_error(ErrorCode::bad_model, "the protobuf is damaged: " + what).at(offset_);
  }
  void skip(std::size_t count) {
    rest_.remove_prefix(count);
    offset_ += count;
  }
  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (rest_.empty()) return damaged("it ends inside a number");
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      skip(1);
      if (shift == 63 && byte > 1) return damaged("a number over 64 bits");
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return damaged("a number over 64 bits");
  }
  Result<std::uint64_t> fixed(std::size_t count) {
    if (rest_.size() < count) return damaged("it ends inside a number");
    std::uint64_t value = 0;
    for (std::size_t index = 0; index < count; ++index) {
      value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(rest_[index])) << (8 * index);
    }
    skip(count);
    return value;
  }

  std::string_view rest_;
  std::size_t offset_;
};

Error bad_piece(std::size_t index, std::size_t offset, const std::string& what) {
  return make_error(ErrorCode::bad_model, "piece " + std::to_string(index) + " " + what).at(offset);
}

/// A known field must have its own wire type: with another one protobuf would take it for a field
/// it does not know, and what is checked here would not be what SentencePiece reads.
Status expect(const Field& field, Field::Wire wire) {
  if (field.wire == wire) return {};
  return make_error(ErrorCode::bad_model, "the protobuf is damaged: field " +
                                              std::to_string(field.number) +
                                              " has another type than SentencePiece's")
      .at(field.offset);
}

Status read_piece(std::string_view message, std::size_t offset, SentencePieceModel& model) {
  const std::size_t index = model.pieces.size();
  SentencePieceModel::Piece piece;
  MessageReader reader(message, offset);
  while (!reader.at_end()) {
    FOVEA_TRY(const Field field, reader.next());
    if (field.number == 1) {
      FOVEA_CHECK(expect(field, Field::Wire::bytes));
      piece.text = field.bytes;
    } else if (field.number == 2) {
      FOVEA_CHECK(expect(field, Field::Wire::fixed32));
      if (!std::isfinite(std::bit_cast<float>(static_cast<std::uint32_t>(field.integer)))) {
        return bad_piece(index, field.offset, "has a score that is no finite number");
      }
    } else if (field.number == 3) {
      FOVEA_CHECK(expect(field, Field::Wire::varint));
      if (field.integer < 1 || field.integer > 6) {
        return bad_piece(index, field.offset, "is of an unknown type");
      }
      piece.type = static_cast<PieceType>(field.integer);
    }
  }
  const std::size_t longest =
      piece.type == PieceType::user_defined ? kMaxUserPieceBytes : kMaxPieceBytes;
  if (piece.text.empty()) return bad_piece(index, offset, "is empty");
  if (piece.text.size() > longest) {
    return bad_piece(index, offset, "is longer than " + std::to_string(longest) + " bytes");
  }
  if (piece.text.find('\0') != std::string_view::npos || !is_utf8(piece.text)) {
    return bad_piece(index, offset, "is not UTF-8 text");
  }
  if (index == kMaxPieces) {
    return make_error(ErrorCode::bad_model, "more than 1,000,000 pieces").at(offset);
  }
  model.pieces.push_back(piece);
  return {};
}

Status read_trainer(std::string_view message, std::size_t offset, SentencePieceModel& model) {
  constexpr std::uint32_t kModelType = 3, kUnknownSurface = 44;
  MessageReader reader(message, offset);
  while (!reader.at_end()) {
    FOVEA_TRY(const Field field, reader.next());
    if (field.number == kModelType) {
      FOVEA_CHECK(expect(field, Field::Wire::varint));
      if (field.integer != 1 && field.integer != 2) {
        return make_error(ErrorCode::unsupported, "SentencePiece models other than BPE and unigram")
            .in_field("model_type")
            .at(field.offset);
      }
    } else if (field.number == kUnknownSurface) {
      FOVEA_CHECK(expect(field, Field::Wire::bytes));
      if (field.bytes.size() > kMaxUnknownSurfaceBytes) {
        return make_error(ErrorCode::bad_model, "the text of unknown pieces is too long")
            .in_field("unk_surface")
            .at(field.offset);
      }
      model.unknown_surface = field.bytes;
    }
  }
  return {};
}

Status read_normalizer(std::string_view message, std::size_t offset, bool* add_dummy_prefix,
                       bool* remove_extra_whitespaces) {
  MessageReader reader(message, offset);
  while (!reader.at_end()) {
    FOVEA_TRY(const Field field, reader.next());
    if (field.number == 2) {
      FOVEA_CHECK(expect(field, Field::Wire::bytes));
      if (!field.bytes.empty()) {
        return make_error(ErrorCode::unsupported,
                          "a tokenizer with a normalisation table; only \"identity\" is supported")
            .in_field("precompiled_charsmap")
            .at(field.offset);
      }
    } else if (field.number == 3 || field.number == 4) {
      FOVEA_CHECK(expect(field, Field::Wire::varint));
      bool* flag = field.number == 3 ? add_dummy_prefix : remove_extra_whitespaces;
      if (flag != nullptr) *flag = field.integer != 0;
    }
  }
  return {};
}

}  // namespace

Result<SentencePieceModel> read_sentencepiece_model(std::string_view bytes) {
  constexpr std::uint32_t kPieces = 1, kTrainer = 2, kNormalizer = 3, kSelfTest = 4,
                          kDenormalizer = 5;
  SentencePieceModel model;
  std::size_t self_test_bytes = 0;
  MessageReader reader(bytes, 0);
  while (!reader.at_end()) {
    FOVEA_TRY(const Field field, reader.next());
    if (field.number > kDenormalizer) continue;
    FOVEA_CHECK(expect(field, Field::Wire::bytes));
    const std::size_t content = reader.content_offset(field);
    if (field.number == kPieces) {
      FOVEA_CHECK(read_piece(field.bytes, content, model));
    } else if (field.number == kTrainer) {
      FOVEA_CHECK(read_trainer(field.bytes, content, model));
    } else if (field.number == kNormalizer) {
      FOVEA_CHECK(read_normalizer(field.bytes, content, &model.add_dummy_prefix,
                                  &model.remove_extra_whitespaces));
    } else if (field.number == kDenormalizer) {
      FOVEA_CHECK(read_normalizer(field.bytes, content, nullptr, nullptr));
    } else if (field.number == kSelfTest) {
      self_test_bytes += field.bytes.size();
      if (self_test_bytes > kMaxSelfTestBytes) {
        return make_error(ErrorCode::bad_model, "the self-tests are larger than 1 MiB")
            .at(field.offset);
      }
    }
  }
  if (model.pieces.empty()) return make_error(ErrorCode::bad_model, "no pieces");
  // SentencePiece keeps ordinary and special pieces in two tables and lets them share a name, but
  // decodes by name: such a model would give another text than its ids say.
  std::unordered_set<std::string_view> names;
  names.reserve(model.pieces.size());
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    if (!names.insert(piece.text).second) {
      return make_error(ErrorCode::bad_model, "two pieces \"" + std::string(piece.text) + "\"");
    }
  }
  return model;
}

}  // namespace fovea
