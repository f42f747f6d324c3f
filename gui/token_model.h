#pragma once
// The words of one answer as a list: text, attention on the picture, attention on one patch.

#include <QAbstractListModel>
#include <vector>

#include "gui/readings.h"

namespace fovea::gui {

class TokenModel : public QAbstractListModel {
  Q_OBJECT

 public:
  enum Role {
    ShareRole =
        Qt::UserRole,  // double, 0 to 1: of the word's attention on the pictures; or nothing
    PatchRole,         // double, 0 to 1: attention on the chosen patch, relative to the word
                       // that looked at it most; or nothing
    EndRole,           // bool: the token that ends the answer
  };

  /// `readings` must outlive the model.
  explicit TokenModel(Readings& readings, QObject* parent = nullptr);

  /// Shows an answer (null: nothing).
  void set_run(const RunPtr& run);
  /// Shows text that is still coming, split at its words.
  void set_stream(const QString& text);
  /// Which patch PatchRole is about; ViewState::kNoPatch: none.
  void set_patch(int patch);
  /// Reads the bars again, after another layer or head was chosen or new maps arrived.
  void refresh();

  const RunPtr& run() const { return run_; }
  int rowCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role) const override;

 private:
  struct Bars {
    std::optional<double> share, patch;
    double patch_value = 0;
  };
  void read_bars();

  Readings& readings_;
  RunPtr run_;
  QStringList streamed_;
  int patch_;
  std::vector<Bars> bars_;
};

}  // namespace fovea::gui
