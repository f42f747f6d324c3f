#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#include "kernels/ops/reduce/reduce.h"
#include "kernels/ops/topk/topk.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/reduce/reduce_cuda.h"
#endif

namespace fovea {

Status affinity_sums(Context& context, ConstTensorView tile, TensorView out) {
  if (tile.shape.rank() != 3 || tile.shape[1] != tile.shape[2] ||
      out.shape != Shape{tile.shape[0], tile.shape[1]} || tile.dtype != DType::f32 ||
      out.dtype != DType::f32) {
    return make_error(ErrorCode::usage,
                      "affinity_sums needs f32 [heads, n, n] and [heads, n], found " +
                          tile.shape.to_string() + " and " + out.shape.to_string());
  }
  FOVEA_CHECK(check_f32_rank(context, "affinity tile", tile, 3));
  FOVEA_CHECK(check_f32_rank(context, "affinity out", out, 2));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) return affinity_sums_cuda(context, tile, out);
#endif
  const std::int64_t n = tile.shape[1];
  parallel_for(context.threads, tile.shape[0], 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t head = begin; head < end; ++head) {
      const float* p = tile.row<float>(head);
      float* sums = out.row<float>(head);
      std::fill_n(sums, n, 0.0f);
      for (std::int64_t i = 0; i < n; ++i) {
        float row_sum = 0;
        for (std::int64_t j = 0; j < n; ++j) {
          sums[j] += p[i * n + j];
          row_sum += p[i * n + j];
        }
        sums[i] += row_sum - p[i * n + i];
      }
    }
  });
  return {};
}

Status top_k_indices(Context& context, ConstTensorView scores, TensorView indices) {
  if (scores.shape.rank() != 1 || scores.dtype != DType::f32 || indices.shape.rank() != 1 ||
      indices.dtype != DType::i32 || indices.shape[0] > scores.shape[0]) {
    return make_error(ErrorCode::usage,
                      "top_k_indices needs f32 [n] and i32 [k] with k <= n, found " +
                          scores.shape.to_string() + " and " + indices.shape.to_string());
  }
  FOVEA_CHECK(check_f32_rank(context, "top-k scores", scores, 1));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) return top_k_indices_cuda(context, scores, indices);
#endif
  const std::span<const float> values(scores.as<float>(),
                                      static_cast<std::size_t>(scores.shape[0]));
  const std::vector<std::int32_t> chosen = top_k_ascending(values, indices.shape[0]);
  std::copy(chosen.begin(), chosen.end(), indices.as<std::int32_t>());
  return {};
}

Status channel_norms(Context& context, ConstTensorView x, TensorView norms) {
  FOVEA_CHECK(check_activation_rank(context, "norms x", x, 3));
  FOVEA_CHECK(check_f32_shape(context, "norms out", norms, {x.shape[1], x.shape[0]}));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) return channel_norms_cuda(context, x, norms);
#endif
  const std::int64_t channels = x.shape[2];
  for (std::int64_t row = 0; row < x.shape[0]; ++row) {
    const float* part = x.row<float>(row);
    for (std::int64_t head = 0; head < x.shape[1]; ++head, part += channels) {
      const double squares = std::inner_product(part, part + channels, part, 0.0);
      norms.row<float>(head)[row] = static_cast<float>(std::sqrt(squares));
    }
  }
  return {};
}

}  // namespace fovea
