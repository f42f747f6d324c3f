#pragma once
// How a sequence closes up after a cut, worked out where the context computes: its visual tokens
// may stand apart, with text between them, and several may have become one.

#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace fovea {

/// What stays of m visual tokens. Survivor i is the sum of its sources by their weights.
struct SurvivorList {
  ConstTensorView sources;  // i32 [s]: places among the visual tokens, from 0
  ConstTensorView offsets;  // i32 [k + 1]: sources of each survivor; empty: k = s, one each
  ConstTensorView weights;  // f32 [s]; empty: all 1
  /// So many of the last survivors stand behind the last visual token; all others where their first
  /// sources stood, which ascend.
  std::int64_t appended = 0;

  std::int64_t count() const { return offsets.empty() ? sources.shape[0] : offsets.shape[0] - 1; }
};

/// The rows of a sequence that has closed up, as merge_rows() takes them. All i32 but the weights.
struct ClosedRows {
  TensorView firsts;   // [n - m + k]: the row that each new row was, or its first source
  TensorView offsets;  // [n - m + k + 1]; empty: nobody asks for these three
  TensorView sources;  // [n - m + s]
  TensorView weights;  // f32 [n - m + s]
};

/// Fills `rows` for a sequence of n rows of which `visual` (m of them, ascending) are visual
/// tokens. Where the context computes, `list` is not looked at by the host: on a GPU it must be
/// right. Errors: usage (shapes, types, places).
Status close_up(Context& context, const SurvivorList& list, std::span<const std::int32_t> visual,
                const ClosedRows& rows);

}  // namespace fovea
