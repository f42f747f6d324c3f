#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/ops/attention/attention.h"
#include "kernels/ops/attention/attention_checks.h"

namespace fovea {
namespace {

float element(const KvView& kv, const std::byte* const* pages, std::int64_t head_stride,
              std::int64_t token_stride, std::int64_t head, std::int64_t token, std::int64_t c) {
  const std::int64_t index = head * head_stride + token % kv.page_tokens * token_stride + c;
  const std::byte* page = pages[token / kv.page_tokens];
  return kv.dtype == DType::f32 ? reinterpret_cast<const float*>(page)[index]
                                : to_float(reinterpret_cast<const bf16*>(page)[index]);
}

double logit(const KvView& kv, const float* query, std::int64_t head, std::int64_t token,
             float scale, const float* bias) {
  double sum = 0.0;
  for (std::int64_t c = 0; c < kv.head_dim; ++c) {
    sum += static_cast<double>(query[c]) *
           element(kv, kv.key_pages, kv.key_head_stride, kv.key_token_stride, head, token, c);
  }
  return sum * scale + (bias != nullptr ? bias[token] : 0.0f);
}

}  // namespace

Status attention_scores(Context& context, const ScoreArgs& args) {
  FOVEA_CHECK(check_attention_scores(context, args));
  const std::int64_t rows = args.query.shape[0];
  const std::int64_t heads = args.query.shape[1];
  const std::int64_t width = args.query.shape[2];
  const auto columns = static_cast<std::int64_t>(args.columns.size());
  const auto probability = [&](std::int64_t head, std::int64_t row, std::int64_t column) {
    const std::int32_t key = args.columns[static_cast<std::size_t>(column)];
    if (!args.visible.empty() && key >= args.visible[static_cast<std::size_t>(row)]) return 0.0f;
    const float* query = args.query.row<float>(row) + head * width;
    const double value =
        logit(args.kv, query, head / (heads / args.kv.kv_heads), key, args.scale, args.key_bias);
    double p = std::exp(value - args.lse.row<float>(head)[row]);
    if (args.row_weights.shape.rank() == 1) p *= args.row_weights.as<float>()[row];
    if (args.row_weights.shape.rank() == 2) p *= args.row_weights.row<float>(head)[row];
    return static_cast<float>(p);
  };
  const auto reduce = [](Reduction how, std::int64_t count, const auto& value) {
    float total = count == 0 ? 0.0f : value(0);
    for (std::int64_t i = 1; i < count; ++i) {
      total = how == Reduction::max ? std::max(total, value(i)) : total + value(i);
    }
    return how == Reduction::mean && count > 0 ? total / static_cast<float>(count) : total;
  };
  for (std::int64_t column = 0; column < columns; ++column) {
    if (args.heads == Reduction::none || args.rows == Reduction::none) {
      for (std::int64_t head = 0; head < (args.heads == Reduction::none ? heads : 1); ++head) {
        for (std::int64_t row = 0; row < (args.rows == Reduction::none ? rows : 1); ++row) {
          float value = 0.0f;
          if (args.heads == Reduction::none && args.rows == Reduction::none) {
            value = probability(head, row, column);
          } else if (args.heads == Reduction::none) {
            value = reduce(args.rows, rows,
                           [&](std::int64_t r) { return probability(head, r, column); });
          } else {
            value = reduce(args.heads, heads,
                           [&](std::int64_t h) { return probability(h, row, column); });
          }
          const std::int64_t outer_rows = args.rows == Reduction::none ? rows : 1;
          const bool three = args.out.shape.rank() == 3;
          float* out = three ? args.out.row<float>(head) + row * columns
                             : args.out.row<float>(head * outer_rows + row);
          out[column] = value;
        }
      }
    } else if (args.heads == Reduction::max) {
      args.out.as<float>()[column] = reduce(args.rows, rows, [&](std::int64_t r) {
        return reduce(args.heads, heads, [&](std::int64_t h) { return probability(h, r, column); });
      });
    } else {
      args.out.as<float>()[column] = reduce(args.heads, heads, [&](std::int64_t h) {
        return reduce(args.rows, rows, [&](std::int64_t r) { return probability(h, r, column); });
      });
    }
  }
  return {};
}

}  // namespace fovea
