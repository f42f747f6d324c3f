#pragma once
// Numbers drawn by lot that are the same on every machine: counter-based, one key per prompt.

#include <cstdint>

namespace fovea {

/// The finaliser of splitmix64: every input bit stirs every output bit.
constexpr std::uint64_t stir(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

/// The key of a prompt (SequenceLayout::fingerprint) under a user's seed.
constexpr std::uint64_t draw_key(std::uint64_t seed, std::uint64_t fingerprint) {
  return stir(seed * 0x9E3779B97F4A7C15ull + stir(fingerprint));
}

/// The number drawn for one index, uniform over 64 bits.
constexpr std::uint64_t drawn(std::uint64_t key, std::uint64_t index) {
  return stir(key + index * 0x9E3779B97F4A7C15ull);
}

}  // namespace fovea
