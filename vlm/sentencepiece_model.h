#pragma once
// A look at the bytes of a tokenizer.model before SentencePiece reads them. Its own loader trusts
// them: some damaged models make it abort or read past its buffers.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

/// SentencePiece's numbers for the types of pieces.
enum class PieceType : std::uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

struct SentencePieceModel {
  struct Piece {
    std::string_view text;  // inside the bytes that were read
    PieceType type = PieceType::normal;
  };
  std::vector<Piece> pieces;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  std::string_view unknown_surface = " \xE2\x81\x87 ";  // what an unknown piece decodes to
};

/// Walks over the protobuf (sentencepiece_model.proto). Refused: damaged wire format, groups, no
/// piece or more than 1,000,000; a piece that is empty, longer than 512 bytes (user-defined: 64),
/// not UTF-8, with a zero byte, of an unknown type, there twice, or with a score that is no finite
/// number; self-tests over 1 MiB. Unsupported: model types other than BPE and unigram, and
/// normalisation tables (their format cannot be checked, and no Llama tokenizer has one). Errors:
/// bad_model with offset, unsupported.
Result<SentencePieceModel> read_sentencepiece_model(std::string_view bytes);

}  // namespace fovea
