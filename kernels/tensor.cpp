#include "kernels/tensor.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/base/checked.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/cuda/memory.h"
#endif

namespace fovea {
namespace {

constexpr std::size_t kAlignment = 64;
// No model or picture needs one block of this size; it keeps sums of sizes far from overflow.
constexpr std::int64_t kMaxBlockBytes = std::int64_t{1} << 40;

/// Bytes of a block, or an error for negative extents and sizes that no machine has.
Result<std::size_t> block_bytes(const Shape& shape, DType dtype) {
  const auto elements = checked_product(shape.extents());
  const auto bytes = elements ? checked_mul(*elements, static_cast<std::int64_t>(dtype_size(dtype)))
                              : std::nullopt;
  if (!bytes || *bytes > kMaxBlockBytes) {
    return make_error(ErrorCode::out_of_memory,
                      "a block of shape " + shape.to_string() + " and type " + dtype_name(dtype) +
                          (bytes ? " needs " + std::to_string(*bytes) + " bytes" : " has no size") +
                          "; at most " + std::to_string(kMaxBlockBytes) + " are possible");
  }
  return static_cast<std::size_t>(*bytes);
}

// The conversions below are free of branches, so that the loops around them vectorise on any
// processor. Compilers turn `?:` around floating-point work into branches; masks stay masks.

inline std::uint32_t select(bool condition, std::uint32_t yes, std::uint32_t no) {
  const std::uint32_t mask = 0u - static_cast<std::uint32_t>(condition);
  return (mask & yes) | (~mask & no);
}

inline float widen(bf16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}

inline float widen(f16 value) {
  const std::uint32_t magnitude = value.bits & 0x7fffu;
  const std::uint32_t sign = std::uint32_t{value.bits & 0x8000u} << 16;
  const std::uint32_t shifted = magnitude << 13;
  const std::uint32_t normal = shifted + (112u << 23);   // exponent bias 15 -> 127
  const std::uint32_t special = shifted | (255u << 23);  // infinity and NaN
  // Subnormal m * 2^-24: put m below the leading one of 2^-14, then take that one away (exact).
  const float two_to_minus_14 = 0x1p-14f;
  const auto subnormal = std::bit_cast<std::uint32_t>(
      std::bit_cast<float>(std::bit_cast<std::uint32_t>(two_to_minus_14) | shifted) -
      two_to_minus_14);
  const std::uint32_t finite = select(magnitude < 0x0400u, subnormal, normal);
  return std::bit_cast<float>(sign | select(magnitude >= 0x7c00u, special, finite));
}

inline float widen(float value) {
  return value;
}

inline void narrow(float value, float& out) {
  out = value;
}

inline void narrow(float value, bf16& out) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const std::uint32_t quiet = bits | 0x00400000u;  // rounding up a NaN could give infinity
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  out.bits = static_cast<std::uint16_t>(select(is_nan, quiet, rounded) >> 16);
}

inline void narrow(float value, f16& out) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Normal: rebias the exponent and round on bit 13; a carry out of 65504 ends at infinity.
  const std::uint32_t normal =
      (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Subnormal: adding 0.5 leaves multiples of 2^-24 in the mantissa, rounded by the processor.
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
      std::bit_cast<std::uint32_t>(0.5f);
  const std::uint32_t quiet_nan = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
  const std::uint32_t special = select(magnitude > 0x7f800000u, quiet_nan, 0x7c00u);
  const bool is_subnormal = magnitude < std::bit_cast<std::uint32_t>(0x1p-14f);
  const bool is_special = magnitude >= std::bit_cast<std::uint32_t>(0x1p16f);
  const std::uint32_t finite = select(is_subnormal, subnormal, normal);
  out.bits = static_cast<std::uint16_t>(sign | select(is_special, special, finite));
}

template <class From, class To>
void convert_row(const From* __restrict from, To* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) narrow(widen(from[i]), to[i]);
}

template <class From, class To>
void convert_rows(const ConstTensorView& from, const TensorView& to) {
  const std::int64_t inner = from.inner_elements();
  if (from.contiguous() && to.contiguous()) {
    convert_row(from.as<From>(), to.as<To>(), from.rows() * inner);
    return;
  }
  for (std::int64_t row = 0; row < from.rows(); ++row) {
    convert_row(from.row<From>(row), to.row<To>(row), inner);
  }
}

template <class From>
void convert_from(const ConstTensorView& from, const TensorView& to) {
  switch (to.dtype) {
    case DType::f16:
      return convert_rows<From, f16>(from, to);
    case DType::bf16:
      return convert_rows<From, bf16>(from, to);
    default:
      return convert_rows<From, float>(from, to);
  }
}

void copy_rows(const ConstTensorView& from, const TensorView& to) {
  const std::size_t element = dtype_size(from.dtype);
  const auto row_bytes = static_cast<std::size_t>(from.inner_elements()) * element;
  const auto rows = static_cast<std::size_t>(from.rows());
  if (from.contiguous() && to.contiguous()) {
    std::memcpy(to.data, from.data, rows * row_bytes);
    return;
  }
  for (std::size_t row = 0; row < rows; ++row) {
    std::memcpy(to.data + row * static_cast<std::size_t>(to.row_stride) * element,
                from.data + row * static_cast<std::size_t>(from.row_stride) * element, row_bytes);
  }
}

Result<void*> allocate_on_device([[maybe_unused]] std::size_t bytes, [[maybe_unused]] Device device) {
#ifdef FOVEA_WITH_CUDA
  return cuda_allocate(bytes, device.index);
#else
  return make_error(ErrorCode::device, "this build of Fovea has no accelerator support")
      .with_remedy("Use --device cpu.");
#endif
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i8:
      return "i8";
    case DType::u8:
      return "u8";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
  }
  return "unknown";
}

float to_float(bf16 value) {
  return widen(value);
}
float to_float(f16 value) {
  return widen(value);
}

bf16 to_bf16(float value) {
  bf16 out;
  narrow(value, out);
  return out;
}

f16 to_f16(float value) {
  f16 out;
  narrow(value, out);
  return out;
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(extents(), other.extents());
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    text += (axis == 0 ? "" : ", ") + std::to_string(extents_[axis]);
  }
  return text + "]";
}

Result<Tensor> Tensor::allocate(Shape shape, DType dtype, Device device) {
  FOVEA_TRY(const std::size_t bytes, block_bytes(shape, dtype));
  // At least one unit, so that a tensor without elements still differs from an empty one.
  const std::size_t rounded =
      std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  void* memory = nullptr;
  if (device.kind == DeviceKind::cuda) {
    FOVEA_TRY(memory, allocate_on_device(rounded, device));
  } else {
    memory = std::aligned_alloc(kAlignment, rounded);
  }
  if (memory == nullptr) {
    return make_error(ErrorCode::out_of_memory, "no room for " + std::to_string(rounded) +
                                                    " bytes (shape " + shape.to_string() +
                                                    ", type " + dtype_name(dtype) + ")")
        .with_remedy("Close other programs, or use a smaller model, picture or --dtype.");
  }
  Tensor tensor;
  tensor.data_ = static_cast<std::byte*>(memory);
  tensor.bytes_ = bytes;
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  tensor.device_ = device;
  return tensor;
}

Tensor::Tensor(Tensor&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      dtype_(other.dtype_),
      shape_(std::exchange(other.shape_, Shape{})),
      device_(other.device_) {}

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    dtype_ = other.dtype_;
    shape_ = std::exchange(other.shape_, Shape{});
    device_ = other.device_;
  }
  return *this;
}

Tensor::~Tensor() {
  release();
}

void Tensor::release() {
#ifdef FOVEA_WITH_CUDA
  if (device_.kind == DeviceKind::cuda) {
    cuda_release(data_, bytes_, device_.index);
    return;
  }
#endif
  std::free(data_);
}

Status convert(ConstTensorView from, TensorView to) {
  if (from.device.kind != DeviceKind::cpu || to.device.kind != DeviceKind::cpu) {
    return make_error(ErrorCode::internal, "convert works on the CPU's memory only");
  }
  if (from.shape != to.shape) {
    return make_error(ErrorCode::internal, "cannot convert shape " + from.shape.to_string() +
                                               " into shape " + to.shape.to_string());
  }
  if (!is_float(from.dtype) || !is_float(to.dtype)) {
    return make_error(ErrorCode::internal, std::string("cannot convert ") + dtype_name(from.dtype) +
                                               " to " + dtype_name(to.dtype) +
                                               ": only f32, f16 and bf16 are converted");
  }
  if (from.shape.elements() == 0) return {};
  if (from.dtype == to.dtype) {
    copy_rows(from, to);
  } else if (from.dtype == DType::f32) {
    convert_from<float>(from, to);
  } else if (from.dtype == DType::f16) {
    convert_from<f16>(from, to);
  } else {
    convert_from<bf16>(from, to);
  }
  return {};
}

}  // namespace fovea
