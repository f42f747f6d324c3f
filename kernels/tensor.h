#pragma once
// Element types, shapes, and blocks of numbers on a device: views (borrowed) and tensors (owned).

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "kernels/base/error.h"

namespace fovea {

enum class DType : std::uint8_t { f32, f16, bf16, i8, u8, i32, i64 };

constexpr std::size_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32: return 4;
    case DType::f16:
    case DType::bf16: return 2;
    case DType::i8:
    case DType::u8: return 1;
    case DType::i64: return 8;
  }
  return 0;
}
const char* dtype_name(DType dtype);

// The two 16-bit formats, as storage; arithmetic is done in float32.
struct bf16 {
  std::uint16_t bits;
};
struct f16 {
  std::uint16_t bits;
};
float to_float(bf16 value);
float to_float(f16 value);
bf16 to_bf16(float value);  // round to nearest even, NaN stays NaN
f16 to_f16(float value);    // round to nearest even, overflow to infinity

enum class DeviceKind : std::uint8_t { cpu, cuda };
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

/// Up to five extents, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents) {
    assert(extents.size() <= kMaxRank);
    for (const std::int64_t extent : extents) extents_[rank_++] = extent;
  }

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return extents_[axis]; }
  std::int64_t& operator[](int axis) { return extents_[axis]; }
  std::int64_t elements() const {
    std::int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) product *= extents_[axis];
    return product;
  }
  std::span<const std::int64_t> extents() const {
    return {extents_.data(), static_cast<std::size_t>(rank_)};
  }
  bool operator==(const Shape& other) const;
  std::string to_string() const;  // "[576, 4096]"

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// A borrowed block. Axes after the first are contiguous; consecutive indices of the first axis
/// lie row_stride elements apart, so that the query part of a fused [rows, q+k+v] product is a
/// view. An empty view (data == nullptr) means "not given" wherever a field is optional.
template <class Byte>
struct BasicView {
  Byte* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  std::int64_t row_stride = 0;
  Device device;

  BasicView() = default;
  BasicView(Byte* bytes, DType type, Shape extents, Device where = {})
      : data(bytes), dtype(type), shape(extents), device(where) {
    row_stride = inner_elements();
  }
  template <class Other>
    requires(!std::is_same_v<Other, Byte> && std::is_convertible_v<Other*, Byte*>)
  BasicView(const BasicView<Other>& other)  // NOLINT: a writable view is a readable one
      : data(other.data), dtype(other.dtype), shape(other.shape), row_stride(other.row_stride),
        device(other.device) {}

  bool empty() const { return data == nullptr; }
  std::int64_t rows() const { return shape.rank() > 0 ? shape[0] : 1; }
  /// Elements of one index of the first axis.
  std::int64_t inner_elements() const {
    std::int64_t product = 1;
    for (int axis = 1; axis < shape.rank(); ++axis) product *= shape[axis];
    return product;
  }
  bool contiguous() const { return row_stride == inner_elements() || rows() <= 1; }

  template <class T>
  auto* as() const {
    using Pointer = std::conditional_t<std::is_const_v<Byte>, const T, T>;
    return reinterpret_cast<Pointer*>(data);
  }
  /// Pointer to the first element of one row.
  template <class T>
  auto* row(std::int64_t index) const {
    return as<T>() + index * row_stride;
  }
  /// Rows [begin, begin + count).
  BasicView slice(std::int64_t begin, std::int64_t count) const {
    BasicView view = *this;
    view.data = data + static_cast<std::size_t>(begin * row_stride) * dtype_size(dtype);
    view.shape[0] = count;
    return view;
  }
};
using TensorView = BasicView<std::byte>;
using ConstTensorView = BasicView<const std::byte>;

/// An owned, 64-byte aligned block. Contents are not initialised.
class Tensor {
 public:
  static Result<Tensor> allocate(Shape shape, DType dtype, Device device = {});

  Tensor() = default;
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  ~Tensor();

  TensorView view() { return {data_, dtype_, shape_, device_}; }
  ConstTensorView view() const { return {data_, dtype_, shape_, device_}; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool empty() const { return data_ == nullptr; }
  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() { return reinterpret_cast<T*>(data_); }
  template <class T>
  const T* as() const { return reinterpret_cast<const T*>(data_); }

 private:
  void release();

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  DType dtype_ = DType::f32;
  Shape shape_;
  Device device_;
};

/// Converts between float types (f32, f16, bf16), element by element, on the CPU.
Status convert(ConstTensorView from, TensorView to);

}  // namespace fovea
