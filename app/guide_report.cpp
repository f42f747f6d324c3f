#include "app/guide_report.h"

#include "app/report.h"
#include "app/table.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr std::size_t kAnswerWidth = 40;

Json number_or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

}  // namespace

Json guide_json(const Answer& answer) {
  if (answer.guide == nullptr) return {};
  const GuideReport& guide = *answer.guide;
  Json timings = timings_json(guide.answer.timings);
  timings.set("load", rounded_ms(guide.model->load_ms()));
  timings.set("consistency", rounded_ms(guide.answer.introspection->consistency_ms));
  Json json = Json::object();
  json.set("answer", guide.answer.text);
  json.set("confidence", guide.confidence);
  json.set("consistency", number_or_null(guide.consistency));
  json.set("score", number_or_null(guide.score));
  json.set("exited", guide.exited);
  json.set("exit_value", guide.decisive);
  json.set("model", guide.model->config().model_id);
  json.set("token_ids", Json::array_of(guide.answer.token_ids));
  json.set("finish_reason", finish_reason_name(guide.answer.finish_reason));
  json.set("timings_ms", std::move(timings));
  json.set("kv_bytes", guide.kv_bytes);
  json.set("flops", guide.flops);
  json.set("entering_equivalent", guide.entering);
  return json;
}

std::string guide_line(const Answer& answer) {
  if (answer.guide == nullptr) return {};
  const GuideReport& guide = *answer.guide;
  std::string line =
      format("guide %s: \"%s\", confidence %.3f", guide.model->config().model_id.c_str(),
             cell_text(guide.answer.text, kAnswerWidth).c_str(), guide.confidence);
  if (guide.score) {
    line += format(", consistency %.3f, score %.3f", *guide.consistency, *guide.score);
  }
  line += guide.exited ? "; taken as the answer" : "; it ranks the tokens";
  return line + format("; its %.0f ms and the work of %.1f more tokens in every layer are counted",
                       guide.answer.timings.total, guide.entering);
}

}  // namespace fovea::app
