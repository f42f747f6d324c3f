#pragma once
// Chooses a model folder, and says what loading it will take before it is loaded.

#include <QComboBox>
#include <QDialog>
#include <QFormLayout>
#include <QLabel>
#include <QPushButton>
#include <QSpinBox>

#include "gui/model_estimate.h"
#include "gui/viewer.h"

namespace fovea::gui {

class ModelDialog : public QDialog {
  Q_OBJECT

 public:
  /// `viewer` must outlive the dialog.
  explicit ModelDialog(Viewer& viewer, QWidget* parent = nullptr);

  /// Looks at a folder; empty: the bundled model.
  void choose_folder(const QString& folder);
  /// Of the folder chosen last, as far as it has been read.
  bool can_load() const { return load_->isEnabled(); }
  QString facts() const { return facts_->text(); }
  void accept() override;

 private:
  LoadRequest request() const;
  /// A line for a folder: names typed or used before, and a button that browses.
  QComboBox* add_folder(QFormLayout& form, const QString& label, const QString& empty,
                        const char* recent, const QString& tip);
  void list_devices();
  void look();
  void show_estimate(const Result<ModelEstimate>& estimate);

  Viewer& viewer_;
  QComboBox *folder_, *guide_, *device_, *dtype_;
  QSpinBox* threads_;
  QLabel* facts_;
  QPushButton* load_;
  int looks_ = 0;  // what an older look found is not shown
};

}  // namespace fovea::gui
