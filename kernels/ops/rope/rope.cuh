#pragma once
// The rotation of rope() on the device. Angles are formed in double, where float32 would lose a
// digit per decade of position, once for all heads that a block turns.

#include <cstdint>

#include "kernels/cuda/element.cuh"

namespace fovea {

inline constexpr int kMostHalf = 256;  // pairs of channels of a head

struct Rotation {
  float sine[kMostHalf], cosine[kMostHalf];
};

/// By all threads of the block.
__device__ __forceinline__ void fill_rotation(Rotation& rotation, std::int32_t position, int half,
                                              double log2_ratio) {
  for (int channel = static_cast<int>(threadIdx.x); channel < half;
       channel += static_cast<int>(blockDim.x)) {
    double sine, cosine;
    sincos(static_cast<double>(position) * exp2(channel * log2_ratio), &sine, &cosine);
    rotation.sine[channel] = static_cast<float>(sine);
    rotation.cosine[channel] = static_cast<float>(cosine);
  }
  __syncthreads();
}

/// Turns the channels from `channel` on of a head's first half with those of its second.
template <class T, int kCount>
__device__ __forceinline__ void turn(const Rotation& rotation, int channel, Pack<T, kCount>& first,
                                     Pack<T, kCount>& second) {
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    const float sine = rotation.sine[channel + c], cosine = rotation.cosine[channel + c];
    const float a = load_float(first.values[c]), b = load_float(second.values[c]);
    first.values[c] = store_float<T>(fmaf(-b, sine, a * cosine));
    second.values[c] = store_float<T>(fmaf(a, sine, b * cosine));
  }
}

}  // namespace fovea
