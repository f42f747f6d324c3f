#include "kernels/fetch.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#ifdef FOVEA_WITH_CUDA
#include "kernels/cuda/fetch_cuda.h"
#endif

namespace fovea {

struct Milestone::Impl {
  std::chrono::steady_clock::time_point marked = std::chrono::steady_clock::now();
#ifdef FOVEA_WITH_CUDA
  std::shared_ptr<const CudaMilestone> there;  // null on the CPU
#endif
};

struct Arriving::Impl {
  std::vector<std::int32_t> numbers;  // where they were on the host already
#ifdef FOVEA_WITH_CUDA
  std::shared_ptr<const CudaArriving> from;  // null on the CPU
#endif
};

struct Outbox::Impl {
  Tensor here;  // on the CPU
  std::int32_t* numbers = nullptr;
  Device device;
  std::int64_t count = 0;
#ifdef FOVEA_WITH_CUDA
  PinnedNumbers pinned;  // else
#endif
};

Result<Milestone> Milestone::mark(Context& context) {
  auto impl = std::make_shared<Impl>();
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) {
    FOVEA_TRY(impl->there, CudaMilestone::mark(context));
  }
#else
  static_cast<void>(context);
#endif
  Milestone milestone;
  milestone.impl_ = std::move(impl);
  return milestone;
}

Status Milestone::wait() const {
  if (impl_ == nullptr) return make_error(ErrorCode::internal, "a moment that was never marked");
#ifdef FOVEA_WITH_CUDA
  if (impl_->there != nullptr) return impl_->there->wait();
#endif
  return {};
}

Result<double> Milestone::ms_since(const Milestone& earlier) const {
  if (impl_ == nullptr || earlier.impl_ == nullptr) {
    return make_error(ErrorCode::internal, "a moment that was never marked");
  }
#ifdef FOVEA_WITH_CUDA
  if (impl_->there != nullptr && earlier.impl_->there != nullptr) {
    return impl_->there->ms_since(*earlier.impl_->there);
  }
#endif
  return std::chrono::duration<double, std::milli>(impl_->marked - earlier.impl_->marked).count();
}

Result<Arriving> Arriving::start(Context& context, ConstTensorView numbers) {
  if (numbers.dtype != DType::i32 || numbers.shape.rank() != 1 ||
      numbers.device != context.device) {
    return make_error(ErrorCode::usage, "expected i32 numbers where the context computes, found " +
                                            std::string(dtype_name(numbers.dtype)) + " " +
                                            numbers.shape.to_string());
  }
  auto impl = std::make_shared<Impl>();
  const std::int64_t count = numbers.shape.elements();
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda() && count > 0) {
    FOVEA_TRY(impl->from, CudaArriving::start(context, numbers));
  }
#endif
  if (!context.on_cuda() && count > 0) {
    impl->numbers.assign(numbers.as<std::int32_t>(), numbers.as<std::int32_t>() + count);
  }
  Arriving arriving;
  arriving.impl_ = std::move(impl);
  return arriving;
}

Result<std::span<const std::int32_t>> Arriving::wait() const {
  if (impl_ == nullptr) return make_error(ErrorCode::internal, "nothing was sent");
#ifdef FOVEA_WITH_CUDA
  if (impl_->from != nullptr) return impl_->from->wait();
#endif
  return std::span<const std::int32_t>(impl_->numbers);
}

Result<Outbox> Outbox::create(Context& context, std::int64_t count) {
  auto impl = std::make_shared<Impl>();
  impl->device = context.device;
  impl->count = count;
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) {
    FOVEA_CHECK(impl->pinned.allocate(count));
    impl->numbers = impl->pinned.get();
  }
#endif
  if (!context.on_cuda()) {
    FOVEA_TRY(impl->here, Tensor::allocate({count}, DType::i32));
    impl->numbers = impl->here.as<std::int32_t>();
  }
  std::fill_n(impl->numbers, count, 0);
  Outbox outbox;
  outbox.impl_ = std::move(impl);
  return outbox;
}

TensorView Outbox::numbers() const {
  return TensorView(reinterpret_cast<std::byte*>(impl_->numbers), DType::i32, {impl_->count},
                    impl_->device);
}

std::int32_t Outbox::read(std::int64_t index) const {
  return impl_->numbers[index];
}

}  // namespace fovea
