#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/rows/rows.h"
#include "kernels/ops/topk/topk.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/rows/rows_cuda.h"
#endif

namespace fovea {
namespace {

Error usage(const char* field, std::string message) {
  return make_error(ErrorCode::usage, std::move(message)).in_field(field);
}

Status check_indices(const char* field, std::span<const std::int32_t> indices, std::int64_t count) {
  for (const std::int32_t index : indices) {
    if (index < 0 || index >= count) {
      return usage(field, "index " + std::to_string(index) + " is outside 0 to " +
                              std::to_string(count - 1));
    }
  }
  return {};
}

}  // namespace

Status gather_columns(Context& context, ConstTensorView from, std::span<const std::int32_t> columns,
                      TensorView to) {
  if (from.shape.rank() != 2)
    return usage("gather_columns from", "expected 2 axes, found " + from.shape.to_string());
  FOVEA_CHECK(check_f32_shape(context, "gather_columns from", from, from.shape));
  FOVEA_CHECK(check_f32_shape(context, "gather_columns to", to,
                              {from.rows(), static_cast<std::int64_t>(columns.size())}));
  FOVEA_CHECK(check_indices("gather_columns columns", columns, from.shape[1]));
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return gather_columns_cuda(context, from, columns, to);
#endif
  for (std::int64_t row = 0; row < from.rows(); ++row) {
    const float* source = from.row<float>(row);
    float* target = to.row<float>(row);
    for (std::size_t i = 0; i < columns.size(); ++i) target[i] = source[columns[i]];
  }
  return {};
}

Status scatter_rows(Context& context, ConstTensorView from, std::span<const std::int32_t> rows,
                    TensorView to) {
  if (to.shape.rank() != 2)
    return usage("scatter_rows to", "expected 2 axes, found " + to.shape.to_string());
  FOVEA_CHECK(check_f32_shape(context, "scatter_rows to", to, to.shape));
  FOVEA_CHECK(check_f32_shape(context, "scatter_rows from", from,
                              {static_cast<std::int64_t>(rows.size()), to.shape[1]}));
  FOVEA_CHECK(check_indices("scatter_rows rows", rows, to.rows()));
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return scatter_rows_cuda(context, from, rows, to);
#endif
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(from.row<float>(static_cast<std::int64_t>(i)), to.shape[1], to.row<float>(rows[i]));
  }
  return {};
}

namespace {

/// -1: none.
std::int32_t largest_on_host(ConstTensorView values) {
  const std::span all(values.as<float>(), static_cast<std::size_t>(values.shape.elements()));
  const bool usable = std::none_of(all.begin(), all.end(), [](float value) {
    return std::isnan(value) || value == std::numeric_limits<float>::infinity();
  });
  const std::int32_t index = usable ? arg_max(all) : -1;
  return index >= 0 && std::isinf(all[static_cast<std::size_t>(index)]) ? -1 : index;
}

}  // namespace

Error no_largest_index() {
  return make_error(ErrorCode::internal,
                    "no largest number: there is none, or one is not a number or infinite");
}

Result<std::int32_t> largest_index(Context& context, ConstTensorView values) {
  FOVEA_CHECK(check_f32_shape(context, "largest_index values", values, values.shape));
  std::int32_t index = -1;
  if (values.shape.elements() > 0 && context.on_cuda()) {
#ifdef FOVEA_WITH_CUDA
    FOVEA_TRY(index, largest_index_cuda(context, values));
#endif
  } else if (values.shape.elements() > 0) {
    index = largest_on_host(values);
  }
  if (index >= 0) return index;
  return no_largest_index();
}

Status largest_index(Context& context, ConstTensorView values, TensorView index) {
  FOVEA_CHECK(check_f32_shape(context, "largest_index values", values, values.shape));
  const std::int64_t rows = values.shape.rank() == 2 ? values.rows() : 1;
  if (index.dtype != DType::i32 || index.shape != Shape{rows} || index.device != context.device ||
      values.shape.elements() == 0) {
    return usage("largest_index index",
                 "expected an i32 a row where the context computes, for at least "
                 "one number");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return largest_index_to(context, values, index);
#endif
  if (values.shape.rank() != 2) {
    *index.as<std::int32_t>() = largest_on_host(values);
    return {};
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    index.as<std::int32_t>()[row] = largest_on_host(values.slice(row, 1));
  }
  return {};
}

Status next_tokens(Context& context, ConstTensorView choices, TensorView tokens) {
  if (choices.dtype != DType::i32 || tokens.dtype != DType::i32 || choices.shape.rank() != 1 ||
      choices.shape != tokens.shape || choices.device != context.device ||
      tokens.device != context.device) {
    return usage("next_tokens choices", "expected i32 [n] twice, where the context computes");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return next_tokens_cuda(context, choices, tokens);
#endif
  std::transform(choices.as<std::int32_t>(), choices.as<std::int32_t>() + choices.rows(),
                 tokens.as<std::int32_t>(),
                 [](std::int32_t choice) { return std::max(choice, std::int32_t{0}); });
  return {};
}

}  // namespace fovea
