#pragma once
// What an answer keeps so that attention maps can be drawn later: the query rows and log-sum-exps
// of the rows that predicted each token, and the keys they looked at. Maps are recomputed from
// these when a layer or head is looked at; none are stored.

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/context.h"
#include "pruning/visual_token.h"

namespace fovea {

class Trace {
 public:
  virtual ~Trace() = default;
  virtual int layers() const = 0;
  virtual int heads() const = 0;
  /// Answer tokens that have a row. Row t is the attention row whose logits predicted token t: the
  /// last prompt row for t = 0.
  virtual int tokens() const = 0;
  virtual const SequenceLayout& layout() const = 0;
  /// Attention from answer token t to every visual token: f32 [heads, layout().id_count()] of one
  /// layer. Tokens pruned before that layer are NaN.
  virtual Result<std::vector<float>> visual_map(Context& context, int layer, int token) const = 0;
};

}  // namespace fovea
