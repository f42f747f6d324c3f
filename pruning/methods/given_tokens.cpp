#include "pruning/methods/given_tokens.h"

#include <algorithm>
#include <charconv>
#include <functional>

#include "kernels/base/file.h"
#include "pruning/placed.h"

namespace fovea {

namespace {

constexpr std::size_t kMaxFileBytes = 1 << 24;
constexpr std::size_t kMaxTokens = 1'000'000;

Error no_list(std::string message, std::size_t offset) {
  return make_error(ErrorCode::bad_input, std::move(message))
      .at(offset)
      .with_remedy("Write ids of visual tokens, such as [0, 5, 9], each once");
}

}  // namespace

Result<std::vector<std::int32_t>> parse_token_ids(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(blank);
  std::size_t begin = first == std::string_view::npos ? text.size() : first;
  std::size_t end = text.size();
  if (begin < end && text[begin] == '[') {
    end = text.find_last_not_of(blank);
    if (text[end] != ']' || end == begin) return no_list("the list of ids has no end", text.size());
    ++begin;
  }
  std::vector<std::int32_t> ids;
  while (true) {
    begin = text.find_first_not_of(" \t\r\n,", begin);
    if (begin == std::string_view::npos || begin >= end) break;
    std::int32_t id = -1;
    const auto [stop, failure] = std::from_chars(text.data() + begin, text.data() + end, id);
    if (failure != std::errc() || id < 0) return no_list("expected the id of a token", begin);
    begin = static_cast<std::size_t>(stop - text.data());
    if (ids.size() == kMaxTokens) return no_list("there are more than a million ids", begin);
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) {
    return no_list("token " + std::to_string(*twice) + " is named twice", text.size());
  }
  return ids;
}

const std::vector<SchedulePreset>& given_tokens_presets() {
  static const std::vector<SchedulePreset> presets;
  return presets;
}

Result<std::shared_ptr<Policy>> GivenTokens::make(const MethodRequest& request) {
  const ScheduleRequest& schedule = request.schedule;
  if (!schedule.keep.empty() || schedule.budget || !schedule.preset.empty() ||
      schedule.layers.size() > 1) {
    return make_error(ErrorCode::usage, "the file says how many tokens are kept, in one cut")
        .in_field("--keep")
        .with_remedy("Beside it, --prune-layers may name the one layer before which the cut lies");
  }
  std::vector<std::int32_t> ids;
  if (!request.config.empty()) {
    FOVEA_TRY(const std::string text, read_file(request.config, kMaxFileBytes));
    auto read = parse_token_ids(text);
    if (!read) return std::move(read).error().in_file(request.config).in_field("--keep");
    ids = std::move(*read);
  }
  auto policy = std::make_shared<GivenTokens>(std::move(ids), Named::kept,
                                              schedule.layers.empty() ? 0 : schedule.layers[0]);
  policy->needs_file_ = request.config.empty();
  return std::shared_ptr<Policy>(std::move(policy));
}

bool GivenTokens::keeps(std::int32_t id) const {
  return std::binary_search(ids_.begin(), ids_.end(), id) == (named_ == Named::kept);
}

Result<PruningPlan> GivenTokens::plan(const SequenceLayout& layout, const ModelShape& shape) {
  if (needs_file_) {
    return make_error(ErrorCode::usage, "no file says which visual tokens are kept")
        .in_field("--keep")
        .with_remedy("Name one with --keep FILE");
  }
  if (std::adjacent_find(ids_.begin(), ids_.end(), std::greater_equal<>()) != ids_.end()) {
    return make_error(ErrorCode::usage, "the tokens named must ascend, each named once");
  }
  const std::int64_t ids = layout.id_count();
  if (!ids_.empty() && (ids_.front() < 0 || ids_.back() >= ids)) {
    const std::int32_t wrong = ids_.front() < 0 ? ids_.front() : ids_.back();
    return make_error(ErrorCode::usage, "token " + std::to_string(wrong) +
                                            " was named, and the prompt has " +
                                            std::to_string(ids) + " visual tokens, counted from 0");
  }
  if (layer_ < 0 || layer_ >= shape.layers) {
    return make_error(ErrorCode::usage, "there is no layer " + std::to_string(layer_) +
                                            ": the model has layers 0 to " +
                                            std::to_string(shape.layers - 1))
        .in_field("--prune-layers");
  }
  std::int64_t present = 0, kept = 0;
  for (const std::int32_t id : layout.visual_ids) {
    present += id >= 0 ? 1 : 0;
    kept += id >= 0 && keeps(id) ? 1 : 0;
  }
  PruningPlan plan;
  if (kept < present) {
    plan.stages.push_back({.when = Hook::before_layer, .layer = layer_, .keep = kept});
  }
  return plan;
}

Status GivenTokens::select(Context& context, int, StageInput& input, Selection& selection) {
  std::vector<std::int32_t> kept;
  const auto ids = input.visual_ids();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (keeps(ids[i])) kept.push_back(static_cast<std::int32_t>(i));
  }
  selection = {};
  selection.count = static_cast<std::int64_t>(kept.size());
  FOVEA_TRY(selection.sources, placed(context, kept));
  return {};
}

}  // namespace fovea
