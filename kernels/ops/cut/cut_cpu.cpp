#include <string>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/cut/cut.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/cut/cut_cuda.h"
#endif

namespace fovea {
namespace {

Error counts_differ(const char* field, std::int64_t expected, std::int64_t found) {
  return make_error(ErrorCode::usage,
                    "expected " + std::to_string(expected) + ", found " + std::to_string(found))
      .in_field(field);
}

}  // namespace

Status scale_scores(Context& context, TensorView scores, std::span<const double> factors) {
  FOVEA_CHECK(check_f32_rank(context, "scale_scores scores", scores, 1));
  const auto count = static_cast<std::int64_t>(factors.size());
  if (count != scores.shape[0]) {
    return counts_differ("scale_scores factors", scores.shape[0], count);
  }
  if (count == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return scale_scores_cuda(context, scores, factors);
#endif
  float* score = scores.as<float>();
  for (const double factor : factors) {
    *score = factor == 0.0 ? 0.0f : static_cast<float>(*score * factor);
    ++score;
  }
  return {};
}

Status surviving_rows(Context& context, ConstTensorView kept, std::int64_t first,
                      std::int64_t present, TensorView rows) {
  FOVEA_CHECK(check_list(context, "surviving_rows kept", kept, DType::i32));
  FOVEA_CHECK(check_list(context, "surviving_rows rows", rows, DType::i32));
  const std::int64_t stay = kept.shape[0], count = rows.shape[0];
  if (first < 0 || stay > present) {
    return counts_differ("surviving_rows kept", present, stay);
  }
  if (count < first + stay) return counts_differ("surviving_rows rows", first + stay, count);
  if (count == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return surviving_rows_cuda(context, kept, first, present, rows);
#endif
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = i - first;
    const bool chosen = place >= 0 && place < stay;
    rows.as<std::int32_t>()[i] =
        static_cast<std::int32_t>(chosen      ? first + kept.as<std::int32_t>()[place]
                                  : place < 0 ? i
                                              : i + present - stay);
  }
  return {};
}

Status pick_numbers(Context& context, ConstTensorView from, ConstTensorView rows, TensorView to) {
  FOVEA_CHECK(check_list(context, "pick_numbers from", from, DType::i32));
  FOVEA_CHECK(check_list(context, "pick_numbers rows", rows, DType::i32));
  FOVEA_CHECK(check_list(context, "pick_numbers to", to, DType::i32));
  if (rows.shape != to.shape) {
    return counts_differ("pick_numbers to", rows.shape[0], to.shape[0]);
  }
  if (rows.shape[0] == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return pick_numbers_cuda(context, from, rows, to);
#endif
  for (std::int64_t i = 0; i < rows.shape[0]; ++i) {
    to.as<std::int32_t>()[i] = from.as<std::int32_t>()[rows.as<std::int32_t>()[i]];
  }
  return {};
}

}  // namespace fovea
