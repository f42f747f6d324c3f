#include "kernels/ops/gather/gather.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/gather/gather_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/cuda/runtime.h"
#include "kernels/ops/gather/gather_cuda.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

/// to[i] = from[i] as float32. Half is a 16-bit type of Highway, From the stored type.
template <class Half, class From>
HWY_INLINE void widen(const From* from, float* to, std::size_t count) {
  const D d;
  const hn::Rebind<Half, D> half;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto bits = hn::LoadU(half, reinterpret_cast<const Half*>(from + i));
    hn::StoreU(hn::PromoteTo(d, bits), d, to + i);
  }
  for (; i < count; ++i) to[i] = to_float(from[i]);
}

void widen_bf16(const bf16* from, float* to, std::size_t count) {
  widen<hwy::bfloat16_t>(from, to, count);
}
void widen_f16(const f16* from, float* to, std::size_t count) {
  widen<hwy::float16_t>(from, to, count);
}

/// to += weight * from
void add_weighted(const float* from, float weight, float* to, std::size_t count) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const V weights = hn::Set(d, weight);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::MulAdd(weights, hn::LoadU(d, from + i), hn::LoadU(d, to + i)), d, to + i);
  }
  for (; i < count; ++i) to[i] += weight * from[i];
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(widen_bf16);
HWY_EXPORT(widen_f16);
HWY_EXPORT(add_weighted);

Error usage(const char* field, std::string message) {
  return make_error(ErrorCode::usage, std::move(message)).in_field(field);
}

Status check_gather(const Context& context, ConstTensorView from, std::int64_t count,
                    ConstTensorView to) {
  if (from.dtype != DType::f32 && from.dtype != DType::f16 && from.dtype != DType::bf16) {
    return usage("gather from",
                 std::string("expected f32, f16 or bf16, found ") + dtype_name(from.dtype));
  }
  // The layout rules do not depend on the width of an element.
  ConstTensorView layout = from;
  layout.dtype = DType::f32;
  FOVEA_CHECK(check_f32_rank(context, "gather from", layout, 2));
  return check_activation_shape(context, "gather to", to, {count, from.shape[1]});
}

Status check_indices(const char* field, std::span<const std::int32_t> indices, std::int64_t count) {
  for (const std::int32_t index : indices) {
    if (index < 0 || index >= count) {
      return usage(field, "index " + std::to_string(index) + " is outside the " +
                              std::to_string(count) + " rows");
    }
  }
  return {};
}

}  // namespace

Status gather_rows(Context& context, ConstTensorView from, std::span<const std::int32_t> rows,
                   TensorView to) {
  const auto count = static_cast<std::int64_t>(rows.size());
  FOVEA_CHECK(check_gather(context, from, count, to));
  FOVEA_CHECK(check_indices("gather rows", rows, from.rows()));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) {
    const Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const std::int32_t* rows_there, upload(context, rows));
    return gather_rows_cuda(context, from, rows_there, to);
  }
#endif

  const auto width = static_cast<std::size_t>(from.shape[1]);
  const int threads = threads_for_elements(context, to.shape.elements());
  parallel_for(threads, count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int32_t row = rows[static_cast<std::size_t>(i)];
      float* out = to.row<float>(i);
      if (from.dtype == DType::bf16) {
        HWY_DYNAMIC_DISPATCH(widen_bf16)(from.row<bf16>(row), out, width);
      } else if (from.dtype == DType::f16) {
        HWY_DYNAMIC_DISPATCH(widen_f16)(from.row<f16>(row), out, width);
      } else if (width > 0) {
        std::memcpy(out, from.row<float>(row), width * sizeof(float));
      }
    }
  });
  return {};
}

Status gather_rows(Context& context, ConstTensorView from, ConstTensorView rows, TensorView to) {
  if (rows.dtype != DType::i32 || rows.shape.rank() != 1 || !rows.contiguous() ||
      rows.device != context.device) {
    return usage("gather rows",
                 "expected i32 indices where the context works, found " + rows.shape.to_string());
  }
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) {
    FOVEA_CHECK(check_gather(context, from, rows.shape[0], to));
    return gather_rows_cuda(context, from, rows.as<std::int32_t>(), to);
  }
#endif
  return gather_rows(context, from,
                     std::span(rows.as<std::int32_t>(), static_cast<std::size_t>(rows.shape[0])),
                     to);
}

Status merge_rows(Context& context, ConstTensorView from, std::span<const std::int32_t> offsets,
                  std::span<const std::int32_t> sources, std::span<const float> weights,
                  TensorView to) {
  FOVEA_CHECK(check_activation_rank(context, "merge from", from, 2));
  if (offsets.empty())
    return usage("merge offsets", "expected one entry more than rows, found none");
  const auto count = static_cast<std::int64_t>(offsets.size()) - 1;
  FOVEA_CHECK(check_activation_shape(context, "merge to", to, {count, from.shape[1]}));
  if (sources.size() != weights.size()) {
    return usage("merge weights", "expected " + std::to_string(sources.size()) +
                                      " weights, one per source, found " +
                                      std::to_string(weights.size()));
  }
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const std::int32_t previous = i == 0 ? 0 : offsets[i - 1];
    if (offsets[i] < previous || static_cast<std::size_t>(offsets[i]) > sources.size()) {
      return usage("merge offsets", "entry " + std::to_string(i) + " is " +
                                        std::to_string(offsets[i]) + ", not between " +
                                        std::to_string(previous) + " and the " +
                                        std::to_string(sources.size()) + " sources");
    }
  }
  FOVEA_CHECK(check_indices("merge sources", sources, from.rows()));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) {
    const Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const std::int32_t* offsets_there, upload(context, offsets));
    FOVEA_TRY(const std::int32_t* sources_there, upload(context, sources));
    FOVEA_TRY(const float* weights_there, upload(context, weights));
    return merge_rows_cuda(context, from, offsets_there, sources_there, weights_there, to);
  }
#endif

  const auto width = static_cast<std::size_t>(from.shape[1]);
  const int threads =
      threads_for_elements(context, static_cast<std::int64_t>(sources.size()) * from.shape[1]);
  const auto add_scaled = HWY_DYNAMIC_DISPATCH(add_weighted);
  parallel_for(threads, count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto row = static_cast<std::size_t>(i);
      float* out = to.row<float>(i);
      for (std::size_t c = 0; c < width; ++c) out[c] = 0.0f;
      for (auto s = static_cast<std::size_t>(offsets[row]);
           s < static_cast<std::size_t>(offsets[row + 1]); ++s) {
        add_scaled(from.row<float>(sources[s]), weights[s], out, width);
      }
    }
  });
  return {};
}

Status merge_rows(Context& context, ConstTensorView from, ConstTensorView offsets,
                  ConstTensorView sources, ConstTensorView weights, TensorView to) {
  const auto list = [&](ConstTensorView view, DType dtype) {
    return view.dtype == dtype && view.shape.rank() == 1 && view.device == context.device;
  };
  if (!list(offsets, DType::i32) || !list(sources, DType::i32) || !list(weights, DType::f32) ||
      sources.shape != weights.shape || offsets.shape[0] < 1) {
    return usage("merge sources",
                 "expected i32 offsets and sources and f32 weights where the "
                 "context works, found " +
                     offsets.shape.to_string() + ", " + sources.shape.to_string() + ", " +
                     weights.shape.to_string());
  }
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) {
    FOVEA_CHECK(check_activation_rank(context, "merge from", from, 2));
    FOVEA_CHECK(
        check_activation_shape(context, "merge to", to, {offsets.shape[0] - 1, from.shape[1]}));
    return merge_rows_cuda(context, from, offsets.as<std::int32_t>(), sources.as<std::int32_t>(),
                           weights.as<float>(), to);
  }
#endif
  const auto sources_here = static_cast<std::size_t>(sources.shape[0]);
  return merge_rows(
      context, from,
      std::span(offsets.as<std::int32_t>(), static_cast<std::size_t>(offsets.shape[0])),
      std::span(sources.as<std::int32_t>(), sources_here),
      std::span(weights.as<float>(), sources_here), to);
}

}  // namespace fovea
#endif  // HWY_ONCE
