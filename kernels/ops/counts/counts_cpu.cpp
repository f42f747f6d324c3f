#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/counts/counts.h"
#include "kernels/ops/topk/topk.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/counts/counts_cuda.h"
#endif

namespace fovea {
namespace {

std::span<const float> values_of(ConstTensorView scores) {
  return {scores.as<float>(), static_cast<std::size_t>(scores.shape[0])};
}

}  // namespace

Status tokens_carrying(Context& context, ConstTensorView mass, double tau, TensorView count) {
  FOVEA_CHECK(check_f32_rank(context, "tokens_carrying mass", mass, 1));
  FOVEA_CHECK(check_list(context, "tokens_carrying count", count, DType::i32, 1));
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return tokens_carrying_cuda(context, mass, tau, count);
#endif
  const std::span<const float> given = values_of(mass);
  std::vector<float> sorted(given.begin(), given.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const double wanted = tau * std::accumulate(sorted.begin(), sorted.end(), 0.0);
  double sum = 0;
  std::int32_t carrying = 0;
  for (const float value : sorted) {
    if (sum >= wanted) break;
    sum += value;
    ++carrying;
  }
  *count.as<std::int32_t>() = carrying;
  return {};
}

Status divide_scores(Context& context, TensorView scores, std::span<const float> divisors) {
  FOVEA_CHECK(check_f32_shape(context, "divide_scores scores", scores,
                              {static_cast<std::int64_t>(divisors.size())}));
  if (divisors.empty()) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return divide_scores_cuda(context, scores, divisors);
#endif
  float* score = scores.as<float>();
  for (const float divisor : divisors) *score++ /= divisor;
  return {};
}

Status listed_among_best(Context& context, ConstTensorView scores, ConstTensorView count,
                         std::span<const std::int32_t> listed, TensorView found) {
  FOVEA_CHECK(check_f32_rank(context, "listed_among_best scores", scores, 1));
  FOVEA_CHECK(check_list(context, "listed_among_best count", count, DType::i32, 1));
  FOVEA_CHECK(check_list(context, "listed_among_best found", found, DType::i32, 1));
  if (std::any_of(listed.begin(), listed.end(),
                  [&](std::int32_t index) { return index < 0 || index >= scores.shape[0]; })) {
    return make_error(ErrorCode::usage, "an index is outside the scores")
        .in_field("listed_among_best listed");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return listed_among_best_cuda(context, scores, count, listed, found);
#endif
  const auto best = top_k_ascending(values_of(scores), *count.as<std::int32_t>());
  *found.as<std::int32_t>() =
      static_cast<std::int32_t>(std::count_if(listed.begin(), listed.end(), [&](std::int32_t i) {
        return std::binary_search(best.begin(), best.end(), i);
      }));
  return {};
}

Status best_indices(Context& context, ConstTensorView scores, std::int64_t most, TensorView count,
                    TensorView indices) {
  FOVEA_CHECK(check_f32_rank(context, "best_indices scores", scores, 1));
  FOVEA_CHECK(check_list(context, "best_indices count", count, DType::i32, 1));
  FOVEA_CHECK(check_list(context, "best_indices indices", indices, DType::i32, scores.shape[0]));
  most = std::clamp<std::int64_t>(most, 0, scores.shape[0]);
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return best_indices_cuda(context, scores, most, count, indices);
#endif
  std::int32_t& number = *count.as<std::int32_t>();
  number = std::clamp(number, 0, static_cast<std::int32_t>(most));
  const auto best = top_k_ascending(values_of(scores), number);
  std::fill_n(indices.as<std::int32_t>(), scores.shape[0], -1);
  std::copy(best.begin(), best.end(), indices.as<std::int32_t>());
  return {};
}

Status indices_above(Context& context, ConstTensorView scores, float threshold, TensorView count,
                     TensorView indices) {
  FOVEA_CHECK(check_f32_rank(context, "indices_above scores", scores, 1));
  FOVEA_CHECK(check_list(context, "indices_above count", count, DType::i32, 1));
  FOVEA_CHECK(check_list(context, "indices_above indices", indices, DType::i32, scores.shape[0]));
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return indices_above_cuda(context, scores, threshold, count, indices);
#endif
  auto* const found = indices.as<std::int32_t>();
  std::int32_t& number = *count.as<std::int32_t>();
  number = 0;
  for (std::int64_t i = 0; i < scores.shape[0]; ++i) {
    if (scores.as<float>()[i] > threshold) found[number++] = static_cast<std::int32_t>(i);
  }
  std::fill(found + number, found + scores.shape[0], -1);
  return {};
}

}  // namespace fovea
