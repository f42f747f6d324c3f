#include "app/eval/outcome.h"

#include <algorithm>

#include "app/report.h"
#include "app/text.h"
#include "pruning/debias.h"
#include "vlm/guided_session.h"

namespace fovea::app {
namespace {

constexpr double kMostPadding = 0.5;  // of a cell that still counts as picture

/// The tokens that enter layers behind the first cut, and in how many layers.
struct Entering {
  const std::vector<std::int32_t>* ids = nullptr;
  int layers = 0;
};

/// First layer that sees what a stage kept.
int first_layer_behind(const StageRecord& stage) {
  switch (stage.when) {
    case Hook::embeddings:
    case Hook::vit_block:
      return 0;
    case Hook::before_layer:
      return stage.layer;
    case Hook::after_attention:
    case Hook::after_layer:
      return stage.layer + 1;
  }
  return 0;
}

/// Stages that take tokens out of the sequence; a bypass leaves them in it.
std::vector<const StageRecord*> cuts_of(const PruningRecord& record) {
  std::vector<const StageRecord*> cuts;
  for (const StageRecord& stage : record.stages) {
    if (!stage.bypass) cuts.push_back(&stage);
  }
  return cuts;
}

std::vector<Entering> behind_first_cut(const std::vector<const StageRecord*>& cuts, int layers) {
  std::vector<Entering> all;
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    const int begin = first_layer_behind(*cuts[i]);
    const int end = i + 1 < cuts.size() ? first_layer_behind(*cuts[i + 1]) : layers;
    all.push_back({&cuts[i]->kept, std::max(0, end - begin)});
  }
  return all;
}

double share_kept(const std::vector<std::int32_t>& evidence, std::vector<std::int32_t> kept) {
  std::sort(kept.begin(), kept.end());
  const auto found = std::count_if(evidence.begin(), evidence.end(), [&](std::int32_t id) {
    return std::binary_search(kept.begin(), kept.end(), id);
  });
  return static_cast<double>(found) / static_cast<double>(evidence.size());
}

void measure_evidence(const std::vector<std::int32_t>& evidence, const PruningRecord& record,
                      int layers, Outcome& outcome) {
  const std::vector<const StageRecord*> cuts = cuts_of(record);
  double sum = 0;
  int weight = 0;
  for (const Entering& entering : behind_first_cut(cuts, layers)) {
    sum += entering.layers * share_kept(evidence, *entering.ids);
    weight += entering.layers;
  }
  outcome.evidence_kept = weight > 0 ? sum / weight : 1.0;
  outcome.evidence_kept_last = cuts.empty() ? 1.0 : share_kept(evidence, cuts.back()->kept);
}

void measure_padding(const Answer& answer, int layers, Outcome& outcome) {
  const auto inside = tokens_in_picture(answer.layout, kMostPadding);
  if (!inside) return;  // no picture
  const auto is_padding = [&](std::int32_t id) { return !(*inside)[static_cast<std::size_t>(id)]; };
  std::vector<std::int32_t> all;
  for (const std::int32_t id : answer.layout.visual_ids) {
    if (id >= 0) all.push_back(id);
  }
  if (std::none_of(inside->begin(), inside->end(), [](bool in) { return !in; })) return;
  std::vector<Entering> entering = behind_first_cut(cuts_of(answer.pruning), layers);
  if (entering.empty()) entering.push_back({&all, layers});
  double padding = 0, tokens = 0;
  for (const Entering& some : entering) {
    padding += static_cast<double>(some.layers) *
               static_cast<double>(std::count_if(some.ids->begin(), some.ids->end(), is_padding));
    tokens += static_cast<double>(some.layers) * static_cast<double>(some.ids->size());
  }
  if (tokens > 0) outcome.padding_share = padding / tokens;
}

std::optional<double> number(const Json& json, const char* name) {
  const Json* value = json.find(name);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->as_double();
}

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

Json guide_outcome(const GuideReport& guide, const Label& label) {
  Json json = Json::object();
  json.set("text", trimmed(guide.answer.text));
  const double own = answer_score(guide.answer.text, label);
  json.set("right", own >= 1.0);
  json.set("answer_score", own);
  json.set("confidence", guide.confidence);
  json.set("consistency", optional_json(guide.consistency));
  json.set("score", optional_json(guide.score));
  json.set("exit_value", guide.decisive);
  json.set("first_token_ms", rounded_ms(guide.answer.timings.first_token));
  json.set("total_ms", rounded_ms(guide.answer.timings.total));
  json.set("consistency_ms", rounded_ms(guide.answer.introspection->consistency_ms));
  if (guide.model_answer != nullptr) {
    const Answer& model = *guide.model_answer;
    json.set("model_text", trimmed(model.text));
    const double models = answer_score(model.text, label);
    json.set("model_right", models >= 1.0);
    json.set("model_answer_score", models);
    json.set("model_first_token_ms", rounded_ms(model.timings.first_token));
    json.set("model_total_ms", rounded_ms(model.timings.total));
  }
  return json;
}

}  // namespace

Outcome outcome_of(const Answer& answer, const EvalItem& item, int layers) {
  Outcome outcome;
  outcome.state = Outcome::State::answered;
  outcome.ran = true;
  outcome.text = answer.text;
  outcome.score = answer_score(answer.text, item.label);
  outcome.token_ids = answer.token_ids;
  outcome.finish_reason = answer.finish_reason;
  outcome.visual = answer.pruning.initial;
  outcome.equivalent = answer.budget.equivalent;
  outcome.entering_mean = answer.budget.entering_mean;
  outcome.first_token_ms = answer.timings.first_token;
  outcome.total_ms = answer.timings.total;
  if (answer.guide != nullptr) {
    outcome.guide = guide_outcome(*answer.guide, item.label);
    outcome.guide_entering = answer.guide->entering;
    outcome.exited = answer.guide->exited;
  }
  if (outcome.exited) return outcome;  // no visual token entered the model
  if (item.has_evidence()) measure_evidence(*item.evidence, answer.pruning, layers, outcome);
  if (outcome.visual > 0) measure_padding(answer, layers, outcome);
  return outcome;
}

Outcome failed_outcome(Error error) {
  Outcome outcome;
  outcome.state = Outcome::State::failed;
  outcome.error = std::move(error);
  return outcome;
}

Json outcome_metadata(const Outcome& outcome) {
  Json metadata = Json::object();
  if (outcome.error) metadata.set("error", outcome.error->to_string());
  if (!outcome.ran) return metadata;
  metadata.set("token_ids", Json::array_of(outcome.token_ids));
  metadata.set("finish_reason", finish_reason_name(outcome.finish_reason));
  metadata.set("right", outcome.score >= 1.0);
  metadata.set("score", outcome.score);
  metadata.set("visual_tokens", outcome.visual);
  metadata.set("equivalent", outcome.equivalent);
  metadata.set("entering_mean", outcome.entering_mean);
  metadata.set("first_token_ms", rounded_ms(outcome.first_token_ms));
  metadata.set("total_ms", rounded_ms(outcome.total_ms));
  metadata.set("guide_entering", optional_json(outcome.guide_entering));
  metadata.set("exited", outcome.exited);
  metadata.set("guide", outcome.guide);
  metadata.set("evidence_kept", optional_json(outcome.evidence_kept));
  metadata.set("evidence_kept_last", optional_json(outcome.evidence_kept_last));
  metadata.set("padding_share", optional_json(outcome.padding_share));
  return metadata;
}

std::optional<Outcome> outcome_from_line(const Json& line, const Label& label) {
  const Json* text = line.find("text");
  const Json* metadata = line.find("metadata");
  if (text == nullptr || !text->is_string() || metadata == nullptr || !metadata->is_object() ||
      metadata->find("token_ids") == nullptr) {
    return std::nullopt;
  }
  Outcome outcome;
  outcome.state = Outcome::State::answered;
  outcome.ran = true;
  outcome.text = text->as_string();
  outcome.score = answer_score(outcome.text, label);
  if (const Json* ids = metadata->find("token_ids"); ids->is_array()) {
    for (const Json& id : ids->as_array()) {
      if (id.is_int()) outcome.token_ids.push_back(static_cast<std::int32_t>(id.as_int()));
    }
  }
  const Json* reason = metadata->find("finish_reason");
  if (reason != nullptr && reason->is_string() &&
      reason->as_string() == finish_reason_name(FinishReason::length)) {
    outcome.finish_reason = FinishReason::length;
  }
  const Json* exited = metadata->find("exited");
  outcome.exited = exited != nullptr && exited->is_bool() && exited->as_bool();
  if (const Json* guide = metadata->find("guide")) outcome.guide = *guide;
  outcome.visual = static_cast<std::int64_t>(number(*metadata, "visual_tokens").value_or(0));
  outcome.equivalent = number(*metadata, "equivalent").value_or(0);
  outcome.entering_mean = number(*metadata, "entering_mean").value_or(0);
  outcome.first_token_ms = number(*metadata, "first_token_ms").value_or(0);
  outcome.total_ms = number(*metadata, "total_ms").value_or(0);
  outcome.guide_entering = number(*metadata, "guide_entering");
  outcome.evidence_kept = number(*metadata, "evidence_kept");
  outcome.evidence_kept_last = number(*metadata, "evidence_kept_last");
  outcome.padding_share = number(*metadata, "padding_share");
  return outcome;
}

}  // namespace fovea::app
