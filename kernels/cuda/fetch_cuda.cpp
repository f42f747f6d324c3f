#include "kernels/cuda/fetch_cuda.h"

#include "kernels/copy.h"
#include "kernels/cuda/runtime.h"

namespace fovea {

// ---- What a context keeps for it ---------------------------------------------------------------

ReturnSlots::~ReturnSlots() {
  for (std::byte* const slot : slots_) cudaFreeHost(slot);
  for (const cudaEvent_t event : events_) cudaEventDestroy(event);
}

Result<std::byte*> ReturnSlots::take_slot() {
  if (!slots_.empty()) {
    std::byte* const slot = slots_.back();
    slots_.pop_back();
    return slot;
  }
  void* memory = nullptr;
  FOVEA_CUDA_CHECK(cudaMallocHost(&memory, kBytes));
  return static_cast<std::byte*>(memory);
}

Result<cudaEvent_t> ReturnSlots::take_event() {
  cudaEvent_t event = nullptr;
  if (events_.empty()) {
    FOVEA_CUDA_CHECK(cudaEventCreate(&event));
  } else {
    event = events_.back();
    events_.pop_back();
  }
  return event;
}

// ---- Moments -----------------------------------------------------------------------------------

Result<std::shared_ptr<const CudaMilestone>> CudaMilestone::mark(Context& context) {
  auto milestone = std::make_shared<CudaMilestone>(context.cuda);
  FOVEA_TRY(milestone->event_, context.cuda->returns.take_event());
  FOVEA_CUDA_CHECK(cudaEventRecord(milestone->event_, stream_of(context)));
  return std::shared_ptr<const CudaMilestone>(std::move(milestone));
}

CudaMilestone::~CudaMilestone() {
  if (event_ != nullptr) owner_->returns.give_event(event_);
}

Status CudaMilestone::wait() const {
  FOVEA_CUDA_CHECK(cudaEventSynchronize(event_));
  return {};
}

Result<double> CudaMilestone::ms_since(const CudaMilestone& earlier) const {
  FOVEA_CHECK(wait());
  float ms = 0;
  FOVEA_CUDA_CHECK(cudaEventElapsedTime(&ms, earlier.event_, event_));
  return static_cast<double>(ms);
}

// ---- Numbers -----------------------------------------------------------------------------------

Result<std::shared_ptr<const CudaArriving>> CudaArriving::start(Context& context,
                                                                ConstTensorView numbers) {
  auto arriving = std::make_shared<CudaArriving>(context.cuda);
  arriving->count_ = static_cast<std::size_t>(numbers.shape.elements());
  const std::size_t bytes = arriving->count_ * sizeof(std::int32_t);
  if (bytes > ReturnSlots::kBytes) {
    arriving->numbers_.resize(arriving->count_);
    const TensorView here(reinterpret_cast<std::byte*>(arriving->numbers_.data()), DType::i32,
                          numbers.shape);
    FOVEA_CHECK(copy(context, numbers, here));
    return std::shared_ptr<const CudaArriving>(std::move(arriving));
  }
  FOVEA_TRY(arriving->slot_, context.cuda->returns.take_slot());
  FOVEA_CUDA_CHECK(cudaMemcpyAsync(arriving->slot_, numbers.data, bytes, cudaMemcpyDeviceToHost,
                                   stream_of(context)));
  FOVEA_TRY(arriving->arrival_, CudaMilestone::mark(context));
  return std::shared_ptr<const CudaArriving>(std::move(arriving));
}

CudaArriving::~CudaArriving() {
  // A copy into it that nobody waited for comes before the next one's, in stream order.
  if (slot_ != nullptr) owner_->returns.give_slot(slot_);
}

Result<std::span<const std::int32_t>> CudaArriving::wait() const {
  if (slot_ == nullptr) return std::span<const std::int32_t>(numbers_);
  FOVEA_CHECK(arrival_->wait());
  return std::span(reinterpret_cast<const std::int32_t*>(slot_), count_);
}

PinnedNumbers::~PinnedNumbers() {
  cudaFreeHost(numbers_);
}

Status PinnedNumbers::allocate(std::int64_t count) {
  void* memory = nullptr;
  FOVEA_CUDA_CHECK(cudaMallocHost(&memory, static_cast<std::size_t>(count) * sizeof(std::int32_t)));
  numbers_ = static_cast<std::int32_t*>(memory);
  return {};
}

}  // namespace fovea
