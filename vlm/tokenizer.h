#pragma once
// SentencePiece, with the added tokens that llava-hf checkpoints put past its pieces.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

class Tokenizer {
 public:
  /// Reads FOLDER/tokenizer.model (at most 32 MiB). A folder that has only tokenizer.json gets an
  /// error that says where to find tokenizer.model. Errors: not_found, bad_model, too_large.
  static Result<Tokenizer> load(const std::string& folder);
  static Result<Tokenizer> from_bytes(std::string_view model, const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// SentencePiece's ids of one piece of text, no begin or end token. Text with embedded control
  /// pieces ("</s>") is ordinary text to SentencePiece: callers add control ids themselves.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// Text of ids; control pieces and ids past the pieces give nothing.
  std::string decode(const std::vector<std::int32_t>& ids) const;
  /// The piece as stored ("▁cat", "<0x0A>"), for reports; "<unknown>" past the end.
  std::string piece(std::int32_t id) const;

  std::int32_t bos_id() const;
  std::int32_t eos_id() const;
  std::int32_t piece_count() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Turns ids into text as they arrive, holding back bytes of an unfinished UTF-8 character and the
/// space SentencePiece puts before the first word.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  /// The text that became final with this id (may be empty).
  std::string push(std::int32_t id);
  /// What is still held back; invalid bytes come out as U+FFFD.
  std::string finish();
  const std::string& text() const { return text_; }

 private:
  const Tokenizer* tokenizer_;
  std::vector<std::int32_t> ids_;
  std::string text_;
};

}  // namespace fovea
