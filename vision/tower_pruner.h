#pragma once
// Pruning inside a vision tower that feeds a language model: which of its tokens reach the
// projector. One interface for methods of every kind; those written as a Policy (pruning/policy.h)
// are run by the one that tower_pruner() makes.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "pruning/accounting.h"
#include "pruning/policy.h"
#include "vision/vit.h"

namespace fovea {

/// What is left of one picture. Rows of the tower are numbered as they enter it: 0 is the class
/// token, 1 + r the patch of raster index r.
struct TowerTokens {
  /// [n, hidden] f32, where the context computed: the tower's last states, in the order the model
  /// shall see.
  Tensor hidden;
  /// Per token: the row that it is, or of a merged token the first of its sources, in whose cell it
  /// stands.
  std::vector<std::int32_t> rows;
  /// Rows that a merged token is made of, ascending, by its place among the tokens.
  std::map<std::int32_t, std::vector<std::int32_t>> merged;
  /// The class token among them goes to the model though its own selection would leave it out.
  bool keeps_class_token = false;
  std::vector<StageRecord> stages;  // kept and sources are rows of the tower
};

class TowerPruner {
 public:
  virtual ~TowerPruner() = default;
  virtual std::string name() const = 0;
  /// pixels: [channels, side, side] f32. The same pixels always give the same tokens. Errors: those
  /// of VitEncoder::forward_batch() and of the method.
  virtual Result<TowerTokens> run(Context& context, const VitEncoder& tower,
                                  ConstTensorView pixels) = 0;
};

/// Runs a policy of the vision tower (Policy::in_vision_tower()). Offered are stages of
/// Hook::vit_block after the last block that runs; others are refused as unsupported.
std::shared_ptr<TowerPruner> tower_pruner(std::shared_ptr<Policy> policy);

/// The tower's tokens of one picture as a policy is told of them: all visual, ids are rows.
SequenceLayout tower_layout(const VitConfig& config);

}  // namespace fovea
