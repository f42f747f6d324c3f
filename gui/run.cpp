#include "gui/run.h"

#include <QObject>
#include <algorithm>

namespace fovea::gui {

int Run::words() const {
  int count = static_cast<int>(tokens.size());
  if (has_trace()) count = std::min(count, answer.trace->tokens());
  if (count > 1 && tokens[static_cast<std::size_t>(count - 1)].ends) --count;
  return count;
}

Run::Grid Run::grid(int picture) const {
  Grid grid;
  double right = 0, bottom = 0;
  for (const VisualToken& token : layout().visual) {
    if (token.image != picture || token.row < 0 || token.col < 0) continue;
    if (grid.rows == 0) {
      grid.rect.x = token.x;
      grid.rect.y = token.y;
    }
    grid.rect.x = std::min<double>(grid.rect.x, token.x);
    grid.rect.y = std::min<double>(grid.rect.y, token.y);
    right = std::max(right, static_cast<double>(token.x) + token.width);
    bottom = std::max(bottom, static_cast<double>(token.y) + token.height);
    grid.rows = std::max(grid.rows, token.row + 1);
    grid.cols = std::max(grid.cols, token.col + 1);
  }
  grid.rect.width = right - grid.rect.x;
  grid.rect.height = bottom - grid.rect.y;
  grid.ids.assign(static_cast<std::size_t>(grid.rows) * grid.cols, -1);
  for (std::size_t visual = 0; visual < layout().visual.size(); ++visual) {
    const VisualToken& token = layout().visual[visual];
    if (token.image != picture || token.row < 0 || token.col < 0) continue;
    grid.ids[static_cast<std::size_t>(token.row) * grid.cols + token.col] =
        static_cast<std::int32_t>(visual);
  }
  return grid;
}

std::vector<AnswerToken> answer_tokens(const std::vector<std::int32_t>& ids,
                                       const LlavaModel& model) {
  const auto& ends = model.config().eos_token_ids;
  StreamDecoder decoder(model.tokenizer());
  std::vector<AnswerToken> tokens;
  for (const std::int32_t id : ids) {
    AnswerToken token;
    token.id = id;
    token.text = QString::fromStdString(decoder.push(id));
    token.ends = std::find(ends.begin(), ends.end(), id) != ends.end();
    tokens.push_back(std::move(token));
  }
  return tokens;
}

QString pruning_text(const Run& run) {
  if (!run.prune.prunes()) return QObject::tr("not pruned");
  if (run.by_guide() && run.prune == run.prune.guide_alone()) return QObject::tr("the guide alone");
  return run.prune.label();
}

QString visual_token_text(const Run& run) {
  const PruningRecord& pruning = run.answer.pruning;
  if (run.by_guide()) {
    return QStringLiteral("no visual token in the large model, %1 in the guide")
        .arg(pruning.initial);
  }
  if (pruning.stages.empty()) return QStringLiteral("%1 visual tokens").arg(pruning.initial);
  const auto kept = static_cast<qlonglong>(pruning.stages.back().tokens());
  const double share =
      pruning.initial > 0 ? 100.0 * static_cast<double>(kept) / static_cast<double>(pruning.initial)
                          : 0.0;
  return QStringLiteral("%1 of %2 visual tokens kept (%3 %)")
      .arg(kept)
      .arg(pruning.initial)
      .arg(share, 0, 'f', 1);
}

QString guide_text(const Run& run) {
  if (run.answer.guide == nullptr) return {};
  const GuideReport& guide = *run.answer.guide;
  QString text = QObject::tr("Guide %1: \u201c%2\u201d, confidence %3")
                     .arg(QString::fromStdString(guide.model->config().model_id),
                          QString::fromStdString(guide.answer.text))
                     .arg(guide.confidence, 0, 'f', 3);
  if (guide.score) text += QObject::tr(", score %1").arg(*guide.score, 0, 'f', 3);
  text +=
      guide.exited ? QObject::tr("; taken as the answer") : QObject::tr("; it ranked the patches");
  return text + QObject::tr(", in %1 ms").arg(guide.answer.timings.total, 0, 'f', 0);
}

}  // namespace fovea::gui
