#include "gui/run_history.h"

#include <algorithm>

namespace fovea::gui {
namespace {

constexpr std::size_t kMostRuns = 500;

}  // namespace

RunHistory::RunHistory(int traces, QObject* parent)
    : QAbstractListModel(parent), traces_(static_cast<std::size_t>(std::max(traces, 2))) {}

int RunHistory::rowCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(runs_.size());
}

QVariant RunHistory::data(const QModelIndex& index, int role) const {
  if (!index.isValid() || index.row() >= rowCount()) return {};
  const Run& run = *runs_[static_cast<std::size_t>(index.row())];
  const bool stopped = run.answer.finish_reason == FinishReason::cancelled;
  switch (role) {
    case QuestionRole:
      return run.question;
    case AnswerRole:
      return stopped ? run.text() + tr(" (stopped)") : run.text();
    case DetailRole: {
      const QString prune = run.by_guide() && run.prune != run.prune.guide_alone()
                                ? tr("%1, by the guide").arg(pruning_text(run))
                                : pruning_text(run);
      return tr("%1, %2 ms").arg(prune).arg(run.answer.timings.total, 0, 'f', 0);
    }
    case TracedRole:
      return run.has_trace();
    case FollowUpRole:
      return run.follow_up;
    case Qt::DisplayRole:
    case Qt::AccessibleTextRole:
      return run.question + QLatin1Char(' ') + run.text();
    case Qt::ToolTipRole:
      return run.has_trace() ? visual_token_text(run)
                             : tr("Asked a while ago: ask again to see attention maps");
    default:
      return {};
  }
}

void RunHistory::add(const RunPtr& run) {
  if (runs_.size() >= kMostRuns) {
    beginRemoveRows({}, 0, 0);
    runs_.erase(runs_.begin());
    endRemoveRows();
  }
  const int row = rowCount();
  beginInsertRows({}, row, row);
  runs_.push_back(run);
  endInsertRows();
  std::size_t traced = 0;
  for (std::size_t back = 1; back <= runs_.size(); ++back) {
    Run& known = *runs_[runs_.size() - back];
    if (!known.has_trace()) continue;
    if (++traced <= traces_) continue;
    known.answer.trace.reset();
    const QModelIndex changed = index(static_cast<int>(runs_.size() - back));
    Q_EMIT dataChanged(changed, changed, {TracedRole, Qt::ToolTipRole});
  }
}

void RunHistory::clear() {
  beginResetModel();
  runs_.clear();
  endResetModel();
}

RunPtr RunHistory::find(int id) const {
  const int row = row_of(id);
  return row < 0 ? nullptr : runs_[static_cast<std::size_t>(row)];
}

RunPtr RunHistory::newest_of_turn(int turn,
                                  const std::function<bool(const PruneChoice&)>& fits) const {
  const auto found = std::find_if(runs_.rbegin(), runs_.rend(), [&](const RunPtr& run) {
    return run->turn == turn && fits(run->prune);
  });
  return found == runs_.rend() ? nullptr : *found;
}

int RunHistory::row_of(int id) const {
  const auto found =
      std::find_if(runs_.begin(), runs_.end(), [id](const RunPtr& run) { return run->id == id; });
  return found == runs_.end() ? -1 : static_cast<int>(found - runs_.begin());
}

}  // namespace fovea::gui
