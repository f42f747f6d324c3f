#pragma once
// A choice made elsewhere: the tokens that are kept, or those that are dropped, are named one by
// one. For a user's own choice, and to ask what an answer owes to certain tokens.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pruning/method.h"
#include "pruning/policy.h"

namespace fovea {

/// Token ids as a user writes them: a JSON list, or numbers divided by white space and commas, in
/// any order. Returned ascending. Errors: bad_input for anything else, a number that is negative or
/// comes twice, and more than a million of them.
Result<std::vector<std::int32_t>> parse_token_ids(std::string_view text);

/// None: the ids are all there is.
const std::vector<SchedulePreset>& given_tokens_presets();

class GivenTokens final : public Policy {
 public:
  enum class Named { kept, dropped };

  /// ids: visual tokens, ascending. The cut lies before `layer`.
  GivenTokens(std::vector<std::int32_t> ids, Named named, int layer)
      : ids_(std::move(ids)), named_(named), layer_(layer) {}
  /// The tokens in the file that request.config names are kept, before the one layer the request
  /// names, 0 by default. Errors: those of parse_token_ids() and read_file(); usage for counts, a
  /// budget or several layers.
  static Result<std::shared_ptr<Policy>> make(const MethodRequest& request);
  std::string name() const override { return "given_tokens"; }

  /// One stage, or none where everything stays. Tokens that are no longer there are passed over.
  /// Errors: usage for an id that the prompt does not have, for ids that do not ascend, and for a
  /// layer that the model does not have.
  Result<PruningPlan> plan(const SequenceLayout& layout, const ModelShape& shape) override;
  bool selects_on_device(const SequenceLayout&) const override { return true; }
  Status select(Context& context, int stage_index, StageInput& input,
                Selection& selection) override;

 private:
  bool keeps(std::int32_t id) const;

  std::vector<std::int32_t> ids_;
  Named named_;
  int layer_;
  bool needs_file_ = false;  // made by make() without one
};

}  // namespace fovea
