#pragma once
// A seeded stream of numbers that is the same on every machine, for shuffling and resampling.

#include <cstdint>

namespace fovea::app {

/// splitmix64 (Steele, Lea and Flood, 2014).
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t x = state_ += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  }
  /// From 0 to count - 1; the bias of at most count / 2^64 does not matter here.
  std::uint64_t below(std::uint64_t count) { return next() % count; }

 private:
  std::uint64_t state_;
};

}  // namespace fovea::app
