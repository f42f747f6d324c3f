#pragma once
// The questions asked so far, oldest first, as a list that views show. Texts and kept patches stay;
// the traces behind attention maps, which hold keys and values, stay for the newest few only.

#include <QAbstractListModel>
#include <functional>
#include <vector>

#include "gui/run.h"

namespace fovea::gui {

class RunHistory : public QAbstractListModel {
  Q_OBJECT

 public:
  enum Role { QuestionRole = Qt::UserRole, AnswerRole, DetailRole, TracedRole, FollowUpRole };

  /// Traces kept, at least 2 (a comparison needs both).
  explicit RunHistory(int traces = 4, QObject* parent = nullptr);

  int rowCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role) const override;

  void add(const RunPtr& run);
  void clear();
  const std::vector<RunPtr>& runs() const { return runs_; }
  /// Null for an id that is not here (any more).
  RunPtr find(int id) const;
  int row_of(int id) const;
  /// The newest run in a place whose pruning fits; null where there is none.
  RunPtr newest_of_turn(int turn, const std::function<bool(const PruneChoice&)>& fits) const;

 private:
  std::size_t traces_;
  std::vector<RunPtr> runs_;
};

}  // namespace fovea::gui
