#pragma once
// Keeps what the last prompt computed, so that another question about the same pictures, or the
// next turn, starts from there.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pruning/policy.h"
#include "vlm/decoder.h"

namespace fovea {

/// How many leading prompt tokens every later question can share under a pruning plan: those
/// before the first row whose attention a stage reads (a snapshot keeps no queries). 0 when
/// nothing can be shared.
std::int64_t shareable_tokens(const SequenceLayout& layout, const PruningPlan* plan, int boundary);

class PrefixStore {
 public:
  void clear() { saved_.reset(); }

  /// Remembers a prefix of the prompt (or prompt and answer) with these keys. With a boundary at
  /// the last layer any shorter prefix can be cut from it later.
  void keep(std::vector<std::uint64_t> keys, DecoderPrefix prefix, int layers);

  /// What a prompt can resume from: at most `limit` tokens. Null when nothing fits.
  const DecoderPrefix* find(std::span<const std::uint64_t> keys, std::int64_t limit, int boundary);

 private:
  struct Saved {
    std::vector<std::uint64_t> keys;  // of the tokens in `prefix`
    DecoderPrefix prefix;
    bool any_length = false;
  };
  std::optional<Saved> saved_;
};

}  // namespace fovea
