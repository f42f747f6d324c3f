#pragma once
// Overflow-checked arithmetic for every size that comes from a file or an option. Checks live
// here once, so that no call site can forget half of one.

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>

namespace fovea {

template <std::integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T out{};
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
[[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) {
  T out{};
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

/// Product of all extents (1 for none); nullopt when it overflows or an extent is negative.
[[nodiscard]] constexpr std::optional<std::int64_t> checked_product(
    std::span<const std::int64_t> extents) {
  std::int64_t product = 1;
  for (const std::int64_t extent : extents) {
    if (extent < 0) return std::nullopt;
    const auto next = checked_mul(product, extent);
    if (!next) return std::nullopt;
    product = *next;
  }
  return product;
}

}  // namespace fovea
