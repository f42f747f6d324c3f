#include "vlm/tokenizer.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <filesystem>
#include <map>
#include <utility>

#include "kernels/base/file.h"
#include "vision/config_fields.h"
#include "vision/model_json.h"
#include "vlm/sentencepiece_model.h"
#include "vlm/utf8.h"

namespace fovea {
namespace {

constexpr std::size_t kMaxModelBytes = std::size_t{32} << 20;
constexpr std::int64_t kMaxTokenId = 10'000'000;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";    // U+2581
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// The byte a piece like "<0x0A>" stands for. Precondition: SentencePiece took it for one.
char byte_of(const std::string& piece) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'A' + 10; };
  return static_cast<char>(digit(piece[3]) * 16 + digit(piece[4]));
}

/// Moves whole characters from the front of `bytes` to the result; with `all`, everything.
std::string take_characters(std::string& bytes, bool all) {
  std::string text;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    if (step.unfinished && !all) break;
    text += step.valid ? rest.substr(0, step.bytes) : kReplacement;
    rest.remove_prefix(step.bytes);
  }
  bytes.erase(0, bytes.size() - rest.size());
  return text;
}

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  bool strips_first_space = true;  // decoding drops the space put before the text
  bool strips_all_spaces = false;
  std::string unknown_surface;
  std::map<std::string, std::int32_t, std::less<>> named;  // control, user-defined, added
  std::map<std::int32_t, std::string> added;               // ids past the pieces

  bool is_piece(std::int32_t id) const { return id >= 0 && id < processor.GetPieceSize(); }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::from_bytes(std::string_view model, const std::string& name) {
  if (model.size() > kMaxModelBytes) {
    return make_error(ErrorCode::too_large, "a tokenizer model of more than 32 MiB").in_file(name);
  }
  Result<SentencePieceModel> checked = read_sentencepiece_model(model);
  if (!checked) return std::move(checked).error().in_file(name);

  auto impl = std::make_unique<Impl>();
  std::string failure;
  try {
    const auto status = impl->processor.LoadFromSerializedProto(model);
    if (!status.ok()) failure = status.error_message();
  } catch (const std::exception& exception) {
    failure = exception.what();
  }
  if (failure.empty() &&
      impl->processor.GetPieceSize() != static_cast<int>(checked->pieces.size())) {
    failure = "the number of pieces differs from the file's";
  }
  if (!failure.empty()) {
    return make_error(ErrorCode::bad_model, "SentencePiece refuses the tokenizer: " + failure)
        .in_file(name);
  }
  impl->strips_first_space = checked->add_dummy_prefix || checked->remove_extra_whitespaces;
  impl->strips_all_spaces = checked->remove_extra_whitespaces;
  impl->unknown_surface = checked->unknown_surface;
  for (std::size_t id = 0; id < checked->pieces.size(); ++id) {
    const auto& [text, type] = checked->pieces[id];
    if (type == PieceType::control || type == PieceType::user_defined) {
      impl->named.emplace(text, static_cast<std::int32_t>(id));
    }
  }
  return Tokenizer(std::move(impl));
}

namespace {

/// Calls add(name, id) for each token that added_tokens.json and tokenizer_config.json name.
template <class Add>
Status read_added_tokens(const std::string& folder, const Add& add) {
  const auto checked_add = [&](const std::string& file, const std::string& name, std::int64_t id) {
    if (id < 0 || id > kMaxTokenId) {
      return Status(make_error(ErrorCode::bad_model,
                               "token id " + std::to_string(id) + " is not from 0 to 10,000,000")
                        .in_file(file)
                        .in_field(name));
    }
    add(name, static_cast<std::int32_t>(id));
    return Status();
  };

  FOVEA_TRY(const std::optional<Json> added, read_optional_model_json(folder, "added_tokens.json"));
  if (added) {
    const std::string file = path_in(folder, "added_tokens.json");
    const ConfigFields fields(*added, file);
    for (const auto& [name, id] : added->as_object()) {
      if (!id.is_int()) return fields.error(name, "expected a token id");
      FOVEA_CHECK(checked_add(file, name, id.as_int()));
    }
  }

  FOVEA_TRY(const std::optional<Json> config,
            read_optional_model_json(folder, "tokenizer_config.json"));
  if (!config) return {};
  const std::string file = path_in(folder, "tokenizer_config.json");
  const ConfigFields config_fields(*config, file);
  const Json* decoder = config_fields.find("added_tokens_decoder");
  if (decoder == nullptr) return {};
  if (!decoder->is_object()) {
    return config_fields.error("added_tokens_decoder", "expected an object");
  }
  for (const auto& [id, token] : decoder->as_object()) {
    const ConfigFields fields(token, file, "added_tokens_decoder." + id + ".");
    FOVEA_TRY(const std::string name, fields.text("content", ""));
    if (id.empty() || id.size() > 8 || id.find_first_not_of("0123456789") != std::string::npos) {
      return fields.error("content", "expected a token id as key");
    }
    FOVEA_CHECK(checked_add(file, name, std::stoll(id)));
  }
  return {};
}

}  // namespace

Result<Tokenizer> Tokenizer::load(const std::string& folder) {
  const std::string path = path_in(folder, "tokenizer.model");
  Result<std::string> bytes = read_file(path, kMaxModelBytes);
  if (!bytes) {
    Error error = std::move(bytes).error();
    if (error.code == ErrorCode::not_found) {
      std::error_code ignored;  // then the remedy just says less
      const bool has_json = std::filesystem::exists(path_in(folder, "tokenizer.json"), ignored);
      error.with_remedy(
          std::string(has_json ? "Fovea does not read tokenizer.json. " : "") +
          "Put the language model's tokenizer.model into the folder; for LLaVA-1.5 it is in the "
          "llava-hf/llava-1.5-7b-hf repository");
    }
    return error;
  }
  FOVEA_TRY(Tokenizer tokenizer, from_bytes(*bytes, path));
  Impl& impl = *tokenizer.impl_;
  FOVEA_CHECK(read_added_tokens(folder, [&impl](const std::string& name, std::int32_t id) {
    impl.named.emplace(name, id);
    if (!impl.is_piece(id)) impl.added.emplace(id, name);
  }));
  return tokenizer;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  return impl_->processor.EncodeAsIds(text);
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids) const {
  std::vector<int> pieces;
  pieces.reserve(ids.size());
  for (const std::int32_t id : ids) {
    if (impl_->is_piece(id)) pieces.push_back(id);
  }
  return impl_->processor.DecodeIds(pieces);
}

std::string Tokenizer::piece(std::int32_t id) const {
  if (impl_->is_piece(id)) return impl_->processor.IdToPiece(id);
  const auto found = impl_->added.find(id);
  return found == impl_->added.end() ? "<unknown>" : found->second;
}

std::optional<std::int32_t> Tokenizer::token_id(std::string_view name) const {
  const auto found = impl_->named.find(name);
  if (found == impl_->named.end()) return std::nullopt;
  return found->second;
}

std::int32_t Tokenizer::bos_id() const {
  return impl_->processor.bos_id();
}
std::int32_t Tokenizer::eos_id() const {
  return impl_->processor.eos_id();
}
std::int32_t Tokenizer::piece_count() const {
  return impl_->processor.GetPieceSize();
}

// SentencePiece decodes whole rows of ids only; this is its Decode, one piece at a time. A test
// holds the two equal on random rows.
std::string StreamDecoder::push(std::int32_t id) {
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  if (!impl.is_piece(id)) return {};
  if (impl.processor.IsByte(id)) {
    bytes_ += byte_of(impl.processor.IdToPiece(id));
    std::string whole = take_characters(bytes_, false);
    text_ += whole;
    return whole;
  }

  std::string fresh = finish();
  if (impl.processor.IsControl(id)) return fresh;
  if (!text_.empty()) space_expected_ = false;
  if (impl.processor.IsUnknown(id)) {
    fresh += impl.unknown_surface;
    text_ += impl.unknown_surface;
    return fresh;
  }
  std::string piece = impl.processor.IdToPiece(id);
  if (space_expected_ && impl.strips_first_space && piece.starts_with(kSpaceMark)) {
    piece.erase(0, kSpaceMark.size());
    space_expected_ = impl.strips_all_spaces;
  }
  for (std::size_t at = piece.find(kSpaceMark); at != std::string::npos;
       at = piece.find(kSpaceMark, at + 1)) {
    piece.replace(at, kSpaceMark.size(), " ");
  }
  fresh += piece;
  text_ += piece;
  return fresh;
}

std::string StreamDecoder::finish() {
  std::string rest = take_characters(bytes_, true);
  text_ += rest;
  return rest;
}

}  // namespace fovea
