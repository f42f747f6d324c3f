#include "kernels/context.h"

#include <algorithm>
#include <utility>

#include "kernels/base/checked.h"

namespace fovea {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kSmallestBlock = std::size_t{1} << 20;
// Above this a new block no longer doubles what is held: the waste would outweigh the saving.
constexpr std::size_t kLargestGrowth = std::size_t{256} << 20;

}  // namespace

Result<TensorView> Workspace::take(Shape shape, DType dtype) {
  const auto elements = checked_product(shape.extents());
  const auto bytes = elements ? checked_mul(*elements, static_cast<std::int64_t>(dtype_size(dtype)))
                              : std::nullopt;
  const auto padded =
      bytes ? checked_add(*bytes, static_cast<std::int64_t>(kAlignment - 1)) : std::nullopt;
  if (!padded) {
    return make_error(ErrorCode::out_of_memory,
                      "scratch memory of shape " + shape.to_string() + " has no size");
  }
  const std::size_t needed =
      std::max(kAlignment, static_cast<std::size_t>(*padded) / kAlignment * kAlignment);

  // First fit from the current block on. Taking the same sizes in the same order therefore ends
  // at the same places, which is why a second pass allocates nothing.
  std::size_t block = block_;
  std::size_t used = used_;
  while (block < blocks_.size() && blocks_[block].bytes() - used < needed) {
    ++block;
    used = 0;
  }
  if (block == blocks_.size()) {
    const std::size_t growth = std::clamp(reserved_bytes(), kSmallestBlock, kLargestGrowth);
    const auto size = static_cast<std::int64_t>(std::max(needed, growth));
    FOVEA_TRY(Tensor fresh, Tensor::allocate({size}, DType::u8, device_));
    blocks_.push_back(std::move(fresh));
  }
  block_ = block;
  used_ = used + needed;
  return TensorView(blocks_[block].view().data + used, dtype, shape, device_);
}

std::size_t Workspace::reserved_bytes() const {
  std::size_t total = 0;
  for (const Tensor& block : blocks_) total += block.bytes();
  return total;
}

}  // namespace fovea
