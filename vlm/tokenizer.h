#pragma once
// SentencePiece, with the added tokens that llava-hf checkpoints put past its pieces.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

class Tokenizer {
 public:
  /// Reads FOLDER/tokenizer.model (at most 32 MiB), and the names of added tokens from
  /// added_tokens.json and tokenizer_config.json where these are there. A folder that has only
  /// tokenizer.json gets an error that says where to find tokenizer.model. Errors: not_found,
  /// bad_model, unsupported, too_large.
  static Result<Tokenizer> load(const std::string& folder);
  /// The same from the bytes of a tokenizer.model; `name` stands for the file in errors.
  static Result<Tokenizer> from_bytes(std::string_view model, const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// SentencePiece's ids of one piece of text, no begin or end token. Text with embedded control
  /// pieces ("</s>") is ordinary text to SentencePiece: callers add control ids themselves.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// SentencePiece's text of ids; control pieces and ids outside the pieces give nothing.
  std::string decode(const std::vector<std::int32_t>& ids) const;
  /// The piece as stored ("▁cat", "<0x0A>"), or the name of an added token ("<image>"), for
  /// reports; "<unknown>" for every other id.
  std::string piece(std::int32_t id) const;
  /// Id of a control piece, user-defined piece or added token of exactly this name ("<|im_end|>");
  /// none for anything else, ordinary pieces included.
  std::optional<std::int32_t> token_id(std::string_view name) const;

  /// -1 when the model defines none.
  std::int32_t bos_id() const;
  std::int32_t eos_id() const;
  /// Ids from 0 up to here (exclusive) are pieces; added tokens mostly follow.
  std::int32_t piece_count() const;

 private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Turns ids into text as they arrive, holding back bytes of an unfinished UTF-8 character and the
/// space SentencePiece puts before the first word. What push() gave for a row of ids, followed by
/// finish(), is decode() of that row.
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  /// The text that became final with this id (may be empty).
  std::string push(std::int32_t id);
  /// What is still held back; invalid bytes come out as U+FFFD.
  std::string finish();
  /// All text given so far.
  const std::string& text() const { return text_; }

 private:
  const Tokenizer* tokenizer_;
  std::string bytes_;           // of byte pieces, not yet a whole character
  bool space_expected_ = true;  // a space SentencePiece added may still come first
  std::string text_;
};

}  // namespace fovea
