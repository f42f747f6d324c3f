#include "gui/model_dialog.h"

#include <QApplication>
#include <QDialogButtonBox>
#include <QFileDialog>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QLineEdit>
#include <QPointer>
#include <QThreadPool>
#include <QVBoxLayout>

#include "gui/notice_strip.h"
#include "gui/theme.h"

namespace fovea::gui {

ModelDialog::ModelDialog(Viewer& viewer, QWidget* parent) : QDialog(parent), viewer_(viewer) {
  setWindowTitle(tr("Model"));
  setAttribute(Qt::WA_DeleteOnClose);
  const Settings& settings = viewer_.settings();
  folder_ = new QComboBox;
  folder_->setEditable(true);
  folder_->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  folder_->setMinimumContentsLength(48);
  folder_->lineEdit()->setPlaceholderText(tr("The bundled model"));
  folder_->addItem(QString());
  folder_->addItems(settings.get("recent/models").toStringList());
  folder_->setToolTip(tr("A folder with config.json, weights and tokenizer, as published; empty: "
                         "the bundled model"));
  folder_->setAccessibleName(tr("Model folder"));
  auto* browse = new QPushButton(tr("Browse \u2026"));
  browse->setToolTip(tr("Choose a folder"));
  auto* line = new QHBoxLayout;
  line->addWidget(folder_, 1);
  line->addWidget(browse);
  dtype_ = new QComboBox;
  dtype_->addItem(tr("automatic"), static_cast<int>(DTypeChoice::automatic));
  dtype_->addItem(QStringLiteral("f32"), static_cast<int>(DTypeChoice::f32));
  dtype_->addItem(QStringLiteral("bf16"), static_cast<int>(DTypeChoice::bf16));
  dtype_->setToolTip(tr("How weights are kept: automatic is bf16 above 2 GB of float32 weights"));
  dtype_->setAccessibleName(tr("Weights as"));
  const QString dtype = settings.get("model/dtype").toString();
  dtype_->setCurrentIndex(std::max(0, dtype_->findText(dtype)));
  threads_ = new QSpinBox;
  threads_->setRange(0, 1024);
  threads_->setSpecialValueText(tr("every core"));
  threads_->setValue(settings.get("model/threads").toInt());
  threads_->setToolTip(tr("Threads that answer"));
  threads_->setAccessibleName(tr("Threads"));
  facts_ = new QLabel;
  facts_->setWordWrap(true);
  facts_->setMinimumHeight(4 * fontMetrics().height());
  facts_->setAlignment(Qt::AlignTop);
  facts_->setTextInteractionFlags(Qt::TextSelectableByMouse);
  facts_->setAccessibleName(tr("What loading takes"));
  auto* buttons = new QDialogButtonBox(QDialogButtonBox::Cancel);
  load_ = buttons->addButton(tr("Load"), QDialogButtonBox::AcceptRole);
  auto* form = new QFormLayout;
  form->addRow(tr("Folder"), line);
  form->addRow(tr("Weights as"), dtype_);
  form->addRow(tr("Threads"), threads_);
  auto* column = new QVBoxLayout(this);
  column->addLayout(form);
  column->addWidget(facts_, 1);
  column->addWidget(buttons);

  connect(browse, &QPushButton::clicked, this, &ModelDialog::browse);
  connect(folder_, &QComboBox::currentTextChanged, this, &ModelDialog::look);
  connect(dtype_, &QComboBox::currentIndexChanged, this, &ModelDialog::look);
  connect(buttons, &QDialogButtonBox::accepted, this, &ModelDialog::accept);
  connect(buttons, &QDialogButtonBox::rejected, this, &ModelDialog::reject);
  const ModelFactsPtr& model = viewer_.inference().model();
  choose_folder(model ? model->folder : QString());
  look();
}

void ModelDialog::choose_folder(const QString& folder) {
  folder_->setEditText(folder);
}

LoadRequest ModelDialog::request() const {
  LoadRequest request;
  request.folder = folder_->currentText().trimmed();
  request.dtype = static_cast<DTypeChoice>(dtype_->currentData().toInt());
  request.threads = threads_->value();
  return request;
}

void ModelDialog::browse() {
  const QString now = folder_->currentText();
  const QString chosen = QFileDialog::getExistingDirectory(this, tr("Model folder"), now);
  if (!chosen.isEmpty()) choose_folder(chosen);
}

void ModelDialog::look() {
  load_->setEnabled(false);
  facts_->setText(tr("Looking at the folder \u2026"));
  // Folders may lie on slow drives: they are read on another thread.
  const QPointer<ModelDialog> dialog(this);
  QThreadPool::globalInstance()->start([dialog, looked = ++looks_, asked = request()] {
    auto estimate = std::make_shared<Result<ModelEstimate>>(estimate_model(asked));
    QMetaObject::invokeMethod(qApp, [dialog, looked, estimate] {
      if (dialog && dialog->looks_ == looked) dialog->show_estimate(*estimate);
    });
  });
}

void ModelDialog::show_estimate(const Result<ModelEstimate>& estimate) {
  const bool fits = estimate && estimate->fits();
  facts_->setText(estimate ? estimate_text(*estimate) : notice_text(estimate.error()));
  QPalette colors = palette();
  if (!fits) colors.setColor(QPalette::WindowText, alarm_color(palette()));
  facts_->setPalette(colors);
  load_->setEnabled(fits);
  load_->setDefault(fits);
}

void ModelDialog::accept() {
  viewer_.use_model(request());
  QDialog::accept();
}

}  // namespace fovea::gui
