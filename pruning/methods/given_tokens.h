#pragma once
// A choice made elsewhere: the tokens that are kept, or those that are dropped, are named one by
// one. For a user's own choice, and to ask what an answer owes to certain tokens.

#include <cstdint>
#include <vector>

#include "pruning/policy.h"

namespace fovea {

class GivenTokens final : public Policy {
 public:
  enum class Named { kept, dropped };

  /// ids: visual tokens, ascending. The cut lies before `layer`.
  GivenTokens(std::vector<std::int32_t> ids, Named named, int layer)
      : ids_(std::move(ids)), named_(named), layer_(layer) {}
  std::string name() const override { return "given_tokens"; }

  /// One stage, or none where everything stays. Tokens that are no longer there are passed over.
  /// Errors: usage for an id that the prompt does not have, for ids that do not ascend, and for a
  /// layer that the model does not have.
  Result<PruningPlan> plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Status select(Context& context, int stage_index, StageInput& input,
                Selection& selection) override;

 private:
  bool keeps(std::int32_t id) const;

  std::vector<std::int32_t> ids_;
  Named named_;
  int layer_;
};

}  // namespace fovea
