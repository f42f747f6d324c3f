#pragma once
// One suite for every device: where an operation runs, in what type, and how close it must come. Rows
// of a device that is not there are skipped with a message.

#include <gtest/gtest.h>

#include <cstring>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "support/tensors.h"

namespace fovea::testing {

struct DeviceCase {
  const char* name;
  DeviceKind device;
  DType dtype;
  double tolerance;
};
inline void PrintTo(const DeviceCase& row, std::ostream* stream) { *stream << row.name; }

/// Why tests of this device cannot run here; empty when they can.
inline std::string why_missing(DeviceKind device) {
  if (device == DeviceKind::cpu) return {};
  if (!built_with_cuda()) return "this build has no CUDA";
  return cuda_device_count() > 0 ? "" : "there is no NVIDIA GPU here";
}

/// A suite whose parameter has a `device`.
template <class Case>
class DeviceTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string reason = why_missing(this->GetParam().device);
    if (!reason.empty()) GTEST_SKIP() << reason;
  }
};

inline Context test_context(DeviceKind device, int threads = 1) {
  if (device == DeviceKind::cpu) return cpu_context(threads);
  Result<Context> context = make_context({.kind = device, .index = 0}, threads);
  if (!context) {
    ADD_FAILURE() << context.error().to_string();
    return cpu_context(threads);
  }
  return std::move(*context);
}

inline std::vector<float> rounded(std::vector<float> values, DType dtype) {
  for (float& value : values) {
    if (dtype == DType::bf16) value = to_float(to_bf16(value));
    if (dtype == DType::f16) value = to_float(to_f16(value));
  }
  return values;
}

/// float32 numbers as bytes of a type.
inline std::vector<std::byte> stored(std::span<const float> values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * dtype_size(dtype));
  const auto count = static_cast<std::int64_t>(values.size());
  const ConstTensorView from(reinterpret_cast<const std::byte*>(values.data()), DType::f32, {count});
  const TensorView to(bytes.data(), dtype, {count});
  EXPECT_TRUE(convert(from, to));
  return bytes;
}

/// Values where a context works: in place on the CPU, else in a copy.
template <class T>
class OnDevice {
 public:
  OnDevice(Context& context, std::vector<T> values) : values_(std::move(values)) {
    if (context.device.kind == DeviceKind::cpu || values_.empty()) return;
    const auto bytes = static_cast<std::int64_t>(values_.size() * sizeof(T));
    Result<Tensor> there = Tensor::allocate({bytes}, DType::u8, context.device);
    if (!there) {
      ADD_FAILURE() << there.error().to_string();
      return;
    }
    there_ = std::move(*there);
    const ConstTensorView here(reinterpret_cast<const std::byte*>(values_.data()), DType::u8, {bytes});
    EXPECT_TRUE(copy(context, here, there_.view()));
  }
  const T* data() const { return there_.empty() ? values_.data() : there_.template as<T>(); }

 private:
  std::vector<T> values_;
  Tensor there_;
};

/// A guarded block where a context works, in a type of its choice. On the CPU that is the block itself.
class Placed {
 public:
  Placed(Context& context, GuardedTensor& block, DType dtype = DType::f32)
      : context_(context), block_(block), dtype_(dtype) {
    if (on_cpu()) {
      EXPECT_EQ(dtype, DType::f32) << "activations are float32 on the CPU";
      return;
    }
    sent_ = stored(block.memory(), dtype);
    Result<Tensor> there =
        Tensor::allocate({static_cast<std::int64_t>(sent_.size())}, DType::u8, context.device);
    if (!there) {
      ADD_FAILURE() << there.error().to_string();
      return;
    }
    there_ = std::move(*there);
    EXPECT_TRUE(copy(context, bytes_here(sent_), there_.view()));
  }

  TensorView view() {
    TensorView view = block_.view();
    if (on_cpu()) return view;
    view.data = there_.view().data + GuardedTensor::kBand * static_cast<std::int64_t>(dtype_size(dtype_));
    view.dtype = dtype_;
    view.device = context_.device;
    return view;
  }

  /// Brings into the block what was written, guards included.
  void fetch() {
    if (on_cpu()) return;
    std::vector<std::byte> now(sent_.size());
    const TensorView here(now.data(), DType::u8, {static_cast<std::int64_t>(now.size())});
    const Status status = copy(context_, there_.view(), here);
    ASSERT_TRUE(status) << status.error().to_string();
    std::vector<float> wide(block_.memory().size());
    const auto count = static_cast<std::int64_t>(wide.size());
    ASSERT_TRUE(convert(ConstTensorView(now.data(), dtype_, {count}),
                        TensorView(reinterpret_cast<std::byte*>(wide.data()), DType::f32, {count})));
    const std::size_t size = dtype_size(dtype_);
    for (std::size_t i = 0; i < wide.size(); ++i) {
      // What nobody wrote keeps the bits it had before it was rounded.
      if (std::memcmp(&now[i * size], &sent_[i * size], size) != 0) block_.memory()[i] = wide[i];
    }
  }

 private:
  bool on_cpu() const { return context_.device.kind == DeviceKind::cpu; }
  static ConstTensorView bytes_here(const std::vector<std::byte>& bytes) {
    return {bytes.data(), DType::u8, {static_cast<std::int64_t>(bytes.size())}};
  }

  Context& context_;
  GuardedTensor& block_;
  DType dtype_;
  std::vector<std::byte> sent_;
  Tensor there_;
};

}  // namespace fovea::testing
