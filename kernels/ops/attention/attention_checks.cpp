#include "kernels/ops/attention/attention_checks.h"

#include <cmath>
#include <string>

#include "kernels/ops/common/checks.h"

namespace fovea {
namespace {

Error usage(const char* field, std::string message) {
  return make_error(ErrorCode::usage, std::move(message)).in_field(field);
}

Status check_scale(float scale) {
  if (std::isfinite(scale)) return {};
  return usage("attention scale", "expected a finite number, found " + std::to_string(scale));
}

Status check_pages(const KvView& kv, std::int64_t length, bool on_host, bool needs_values) {
  if (length == 0) return {};
  if (kv.page_tokens < 1) {
    return usage("attention kv", "pages of " + std::to_string(kv.page_tokens) + " tokens");
  }
  const std::int64_t pages = (length + kv.page_tokens - 1) / kv.page_tokens;
  if (kv.key_pages == nullptr || (needs_values && kv.value_pages == nullptr)) {
    return usage("attention kv", "expected " + std::to_string(pages) + " pages, found none");
  }
  if (!on_host) return {};
  for (std::int64_t page = 0; page < pages; ++page) {
    if (kv.key_pages[page] == nullptr || (needs_values && kv.value_pages[page] == nullptr)) {
      return usage("attention kv",
                   "page " + std::to_string(page) + " of " + std::to_string(pages) + " is missing");
    }
  }
  return {};
}

/// `query` is [rows, heads, head_dim].
Status check_kv(const Context& context, const KvView& kv, const Shape& query, bool needs_values) {
  const bool on_host = context.device.kind == DeviceKind::cpu;
  if (kv.dtype != DType::f32 && kv.dtype != DType::bf16 && (on_host || kv.dtype != DType::f16)) {
    return usage("attention kv", std::string(on_host ? "expected f32 or bf16, found "
                                                     : "expected f32, f16 or bf16, found ") +
                                     dtype_name(kv.dtype));
  }
  if (kv.head_dim != query[2]) {
    return usage("attention kv", "head_dim is " + std::to_string(kv.head_dim) + ", the query's " +
                                     std::to_string(query[2]));
  }
  if (kv.kv_heads < 1 || query[1] % kv.kv_heads != 0) {
    return usage("attention kv", std::to_string(kv.kv_heads) +
                                     " key-value heads do not divide the " +
                                     std::to_string(query[1]) + " query heads");
  }
  if (kv.length == nullptr || known_length(context, kv) < 0) {
    return usage("attention kv", "expected a length of at least 0");
  }
  return check_pages(kv, known_length(context, kv), on_host, needs_values);
}

}  // namespace

std::int32_t known_length(const Context& context, const KvView& kv) {
  return context.device.kind == DeviceKind::cpu ? *kv.length : kv.max_length;
}

Status check_attention(const Context& context, const AttentionArgs& args) {
  FOVEA_CHECK(check_activation_rank(context, "attention query", args.query, 3));
  const Shape& shape = args.query.shape;
  if (shape[1] < 1 || shape[2] < 1) {
    return usage("attention query", "expected heads and channels, found " + shape.to_string());
  }
  FOVEA_CHECK(check_activation_shape(context, "attention out", args.out, shape));
  if (!args.lse.empty()) {
    FOVEA_CHECK(check_f32_shape(context, "attention lse", args.lse, {shape[1], shape[0]}));
  }
  FOVEA_CHECK(check_scale(args.scale));
  if (args.row_offsets.size() != args.kv.size() + 1) {
    return usage("attention row_offsets", "expected " + std::to_string(args.kv.size() + 1) +
                                              " entries for " + std::to_string(args.kv.size()) +
                                              " sequences, found " +
                                              std::to_string(args.row_offsets.size()));
  }
  if (args.row_offsets.front() != 0 || args.row_offsets.back() != shape[0]) {
    return usage("attention row_offsets", "expected 0 to " + std::to_string(shape[0]) +
                                              " rows, found " +
                                              std::to_string(args.row_offsets.front()) + " to " +
                                              std::to_string(args.row_offsets.back()));
  }
  if (!args.key_bias.empty() && args.key_bias.size() != args.kv.size()) {
    return usage("attention key_bias", "expected one per sequence, " +
                                           std::to_string(args.kv.size()) + ", found " +
                                           std::to_string(args.key_bias.size()));
  }
  for (std::size_t s = 0; s < args.kv.size(); ++s) {
    if (args.row_offsets[s + 1] < args.row_offsets[s]) {
      return usage("attention row_offsets", "entry " + std::to_string(s + 1) + " decreases");
    }
    FOVEA_CHECK(check_kv(context, args.kv[s], shape, true));
  }
  return {};
}

Shape score_shape(const ScoreArgs& args) {
  const std::int64_t heads = args.query.shape[1];
  const std::int64_t rows = args.query.shape[0];
  const auto columns = static_cast<std::int64_t>(args.columns.size());
  const bool keep_heads = args.heads == Reduction::none;
  const bool keep_rows = args.rows == Reduction::none;
  if (keep_heads && keep_rows) return {heads, rows, columns};
  if (keep_heads) return {heads, columns};
  if (keep_rows) return {rows, columns};
  return {columns};
}

Status check_attention_scores(const Context& context, const ScoreArgs& args) {
  FOVEA_CHECK(check_activation_rank(context, "scores query", args.query, 3));
  const Shape& shape = args.query.shape;
  if (shape[1] < 1 || shape[2] < 1) {
    return usage("scores query", "expected heads and channels, found " + shape.to_string());
  }
  FOVEA_CHECK(check_f32_shape(context, "scores lse", args.lse, {shape[1], shape[0]}));
  FOVEA_CHECK(check_scale(args.scale));
  FOVEA_CHECK(check_kv(context, args.kv, shape, false));
  if (!args.visible.empty() && static_cast<std::int64_t>(args.visible.size()) != shape[0]) {
    return usage("scores visible", "expected one per row, " + std::to_string(shape[0]) +
                                       ", found " + std::to_string(args.visible.size()));
  }
  const std::int32_t length = known_length(context, args.kv);
  std::int32_t previous = -1;
  for (const std::int32_t column : args.columns) {
    if (column <= previous || column >= length) {
      return usage("scores columns",
                   "column " + std::to_string(column) + " after " + std::to_string(previous) +
                       ": expected ascending keys of " + std::to_string(length));
    }
    previous = column;
  }
  if (!args.row_weights.empty()) {
    if (args.row_weights.shape.rank() == 1) {
      FOVEA_CHECK(check_f32_shape(context, "scores row_weights", args.row_weights, {shape[0]}));
    } else {
      FOVEA_CHECK(check_f32_shape(context, "scores row_weights", args.row_weights, {shape[1], shape[0]}));
    }
  }
  return check_f32_shape(context, "scores out", args.out, score_shape(args));
}

}  // namespace fovea
