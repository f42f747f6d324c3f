#pragma once
// The attention step of a decoder's layer for several sequences whose rows lie one after another.

#include <cstdint>
#include <span>

#include "vlm/decoder_block.h"

namespace fovea {

/// One sequence's part of the rows.
struct BatchPart {
  KvCache* cache = nullptr;
  std::int64_t first = 0, rows = 0;
  /// When set, query and lse of its slots are filled in, as in AttendOptions.
  BlockAttention* kept = nullptr;
};

/// As attend_block(): the keys and values of each part enter its cache, whose rows see that cache
/// alone; hidden += attention. The parts cover all rows, in order. last_rows: only the last row of
/// each part goes on past the keys and values, and hidden is [parts, hidden]: those rows alone; no
/// part may then keep anything.
Status attend_batch(Context& context, const DecoderConfig& config, const DecoderBlock& block,
                    const BlockProjection& projection, TensorView hidden, int layer,
                    std::span<const BatchPart> parts, bool last_rows);

/// The last row of each part, gathered: f32 [parts, hidden] from [rows, hidden].
Status gather_last_rows(Context& context, ConstTensorView hidden, std::span<const BatchPart> parts,
                        TensorView last);

}  // namespace fovea
