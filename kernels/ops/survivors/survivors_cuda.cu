#include "kernels/ops/survivors/survivors_cuda.h"

#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

/// Rows of the visual tokens: a list, or from `first` on side by side.
struct VisualRows {
  const std::int32_t* list;
  int first, count;

  __device__ int row(int place) const { return list != nullptr ? list[place] : first + place; }
  /// How many stand before a row.
  __device__ int before(int row) const {
    if (list == nullptr) return row <= first ? 0 : row - first < count ? row - first : count;
    int low = 0, high = count;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (list[middle] < row) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

struct Survivors {
  const std::int32_t* sources;
  const std::int32_t* offsets;
  const float* weights;
  int count, in_place;

  __device__ int begin(int survivor) const {
    return offsets != nullptr ? offsets[survivor] : survivor;
  }
  /// How many survivors stand before a row with so many visual tokens before it.
  __device__ int before(int visual_before, int present) const {
    if (visual_before == present) return count;
    int low = 0, high = in_place;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (sources[begin(middle)] < visual_before) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

struct NewRows {
  std::int32_t* firsts;
  std::int32_t* offsets;
  std::int32_t* sources;
  float* weights;
};

/// The first `total` threads have a row of the sequence each, the others a survivor.
__global__ void __launch_bounds__(kThreads)
    close_up_kernel(const Survivors survivors, const VisualRows visual, int total,
                    const NewRows to) {
  const int item = blockIdx.x * kThreads + threadIdx.x;
  if (item < total) {
    const int before = visual.before(item);
    if (before < visual.count && visual.row(before) == item) return;
    const int stay = survivors.before(before, visual.count), others = item - before;
    to.firsts[others + stay] = item;
    if (to.offsets == nullptr) return;
    const int place = others + survivors.begin(stay);
    to.offsets[others + stay] = place;
    to.sources[place] = item;
    to.weights[place] = 1.0f;
    return;
  }
  const int survivor = item - total;
  if (survivor > survivors.count) return;
  if (survivor == survivors.count) {  // closes the list
    const int others = total - visual.count;
    if (to.offsets != nullptr) to.offsets[others + survivor] = others + survivors.begin(survivor);
    return;
  }
  const int begin = survivors.begin(survivor), end = survivors.begin(survivor + 1);
  const int first = survivors.sources[begin];
  const int place = survivor < survivors.in_place ? first : visual.count - 1;
  const int others = visual.row(place) - place;
  to.firsts[others + survivor] = visual.row(first);
  if (to.offsets == nullptr) return;
  to.offsets[others + survivor] = others + begin;
  for (int s = begin; s < end; ++s) {
    to.sources[others + s] = visual.row(survivors.sources[s]);
    to.weights[others + s] = survivors.weights != nullptr ? survivors.weights[s] : 1.0f;
  }
}

}  // namespace

Status close_up_cuda(Context& context, const SurvivorList& list,
                     std::span<const std::int32_t> visual, const ClosedRows& rows) {
  const Workspace::Scope scope(context.workspace);
  const auto stay = static_cast<int>(list.count()), present = static_cast<int>(visual.size());
  const int total = static_cast<int>(rows.firsts.rows()) - stay + present;
  VisualRows where{nullptr, present > 0 ? visual.front() : 0, present};
  if (present > 0 && visual.back() - visual.front() + 1 != present) {
    FOVEA_TRY(where.list, upload(context, visual));
  }
  const Survivors survivors{list.sources.as<std::int32_t>(), list.offsets.as<std::int32_t>(),
                            list.weights.as<float>(), stay, stay - static_cast<int>(list.appended)};
  const NewRows to{rows.firsts.as<std::int32_t>(), rows.offsets.as<std::int32_t>(),
                   rows.sources.as<std::int32_t>(), rows.weights.as<float>()};
  const auto blocks = static_cast<unsigned>((total + stay + kThreads) / kThreads);
  close_up_kernel<<<blocks, kThreads, 0, stream_of(context)>>>(survivors, where, total, to);
  FOVEA_LAUNCH_CHECK("close up");
  return {};
}

}  // namespace fovea
