#include "gui/model_dialog.h"

#include <QApplication>
#include <QDialogButtonBox>
#include <QFileDialog>
#include <QHBoxLayout>
#include <QLineEdit>
#include <QPointer>
#include <QThreadPool>
#include <QVBoxLayout>

#include "gui/notice_strip.h"
#include "gui/theme.h"
#include "kernels/device.h"

namespace fovea::gui {

ModelDialog::ModelDialog(Viewer& viewer, QWidget* parent) : QDialog(parent), viewer_(viewer) {
  setWindowTitle(tr("Model"));
  setAttribute(Qt::WA_DeleteOnClose);
  const Settings& settings = viewer_.settings();
  auto* form = new QFormLayout;
  folder_ = add_folder(*form, tr("Model folder"), tr("The bundled model"), "recent/models",
                       tr("A folder with config.json, weights and tokenizer, as published; empty: "
                          "the bundled model"));
  guide_ = add_folder(*form, tr("Guide"), tr("The bundled model's own, else none"), "recent/guides",
                      tr("Folder of a small model of the same family, which the method sgl asks "
                         "first; it is loaded when that is first asked for"));
  guide_->setEditText(settings.get("model/guide").toString());
  device_ = new QComboBox;
  device_->addItem(tr("automatic: the first GPU, else the CPU"), QStringLiteral("auto"));
  device_->addItem(tr("CPU"), QStringLiteral("cpu"));
  device_->setToolTip(tr("Where the model computes"));
  device_->setAccessibleName(tr("Device"));
  const QString device = settings.get("model/device").toString();
  if (device_->findData(device) < 0) device_->addItem(device, device);
  device_->setCurrentIndex(device_->findData(device));
  dtype_ = new QComboBox;
  dtype_->addItem(tr("automatic"), static_cast<int>(DTypeChoice::automatic));
  for (const DTypeChoice choice : {DTypeChoice::f32, DTypeChoice::bf16, DTypeChoice::f16}) {
    dtype_->addItem(dtype_choice_name(choice), static_cast<int>(choice));
  }
  dtype_->setToolTip(
      tr("How weights are kept: automatic is bf16 above 2 GB of float32 weights; f16 "
         "needs a GPU"));
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
  form->addRow(tr("Device"), device_);
  form->addRow(tr("Weights as"), dtype_);
  form->addRow(tr("Threads"), threads_);
  auto* column = new QVBoxLayout(this);
  column->addLayout(form);
  column->addWidget(facts_, 1);
  column->addWidget(buttons);

  for (QComboBox* folder : {folder_, guide_}) {
    connect(folder, &QComboBox::currentTextChanged, this, &ModelDialog::look);
  }
  for (QComboBox* choice : {device_, dtype_}) {
    connect(choice, &QComboBox::currentIndexChanged, this, &ModelDialog::look);
  }
  connect(buttons, &QDialogButtonBox::accepted, this, &ModelDialog::accept);
  connect(buttons, &QDialogButtonBox::rejected, this, &ModelDialog::reject);
  const ModelFactsPtr& model = viewer_.inference().model();
  choose_folder(model ? model->folder : QString());
  list_devices();
  look();
}

QComboBox* ModelDialog::add_folder(QFormLayout& form, const QString& label, const QString& empty,
                                   const char* recent, const QString& tip) {
  auto* folder = new QComboBox;
  folder->setEditable(true);
  folder->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  folder->setMinimumContentsLength(48);
  folder->lineEdit()->setPlaceholderText(empty);
  folder->addItem(QString());
  folder->addItems(viewer_.settings().get(recent).toStringList());
  folder->setToolTip(tip);
  folder->setAccessibleName(label);
  auto* browse = new QPushButton(tr("Browse \u2026"));
  browse->setToolTip(tr("Choose a folder"));
  auto* line = new QHBoxLayout;
  line->addWidget(folder, 1);
  line->addWidget(browse);
  form.addRow(label, line);
  connect(browse, &QPushButton::clicked, this, [this, folder, label] {
    const QString chosen = QFileDialog::getExistingDirectory(this, label, folder->currentText());
    if (!chosen.isEmpty()) folder->setEditText(chosen);
  });
  return folder;
}

void ModelDialog::list_devices() {
  // The driver takes its time the first time that it is asked.
  const QPointer<ModelDialog> dialog(this);
  QThreadPool::globalInstance()->start([dialog] {
    std::vector<QString> gpus;
    for (int index = 0; index < cuda_device_count(); ++index) {
      const auto info = cuda_device_info(index);
      gpus.push_back(info ? QString::fromStdString(info->name) : QString());
    }
    QMetaObject::invokeMethod(qApp, [dialog, gpus] {
      if (!dialog) return;
      QComboBox& list = *dialog->device_;
      for (std::size_t index = 0; index < gpus.size(); ++index) {
        const QString name = QStringLiteral("cuda:%1").arg(index);
        const QString text = tr("GPU %1: %2").arg(index).arg(gpus[index]);
        const int known = list.findData(name);
        if (known < 0) {
          list.addItem(text, name);
        } else {
          list.setItemText(known, text);
        }
      }
    });
  });
}

void ModelDialog::choose_folder(const QString& folder) {
  folder_->setEditText(folder);
}

LoadRequest ModelDialog::request() const {
  LoadRequest request;
  request.folder = folder_->currentText().trimmed();
  request.guide = guide_->currentText().trimmed();
  request.device = device_->currentData().toString();
  request.dtype = static_cast<DTypeChoice>(dtype_->currentData().toInt());
  request.threads = threads_->value();
  return request;
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
