#include "gui/facts_bar.h"

#include <QHBoxLayout>

#include "gui/theme.h"

namespace fovea::gui {
namespace {

QString ms(double value) {
  return QString::number(value, 'f', value < 10 ? 1 : 0);
}

}  // namespace

QString timing_text(const Answer& answer) {
  const Timings& t = answer.timings;
  QStringList parts;
  // A picture seen before is not encoded again; saying 0 ms would suggest that it is that fast.
  parts << (t.vision > 0 ? QObject::tr("vision %1").arg(ms(t.vision))
                         : QObject::tr("vision from cache"));
  parts << QObject::tr("prefill %1").arg(ms(t.prefill))
        << QObject::tr("first word %1").arg(ms(t.first_token));
  if (t.per_token > 0) parts << QObject::tr("%1 a word").arg(ms(t.per_token));
  parts << QObject::tr("total %1 ms").arg(ms(t.total));
  return parts.join(QStringLiteral(" \u00b7 "));
}

QString stage_times_text(const Answer& answer) {
  const Timings& t = answer.timings;
  const auto line = [](const QString& stage, double time) {
    return QStringLiteral("%1: %2 ms\n").arg(stage, ms(time));
  };
  QString text = line(QObject::tr("Reading the file"), t.decode_image) +
                 line(QObject::tr("Preparing the picture"), t.preprocess) +
                 line(QObject::tr("Vision tower"), t.vision) +
                 line(QObject::tr("Projector"), t.projector) +
                 line(QObject::tr("Prefill"), t.prefill) +
                 line(QObject::tr("First word, from the picture on"), t.first_token);
  if (t.per_token > 0) text += line(QObject::tr("Each word after it"), t.per_token);
  text += line(QObject::tr("In all"), t.total);
  if (answer.guide != nullptr) {
    text += line(QObject::tr("Of this, the guide"), answer.guide->answer.timings.total);
  }
  if (answer.prefix_reused > 0) {
    text += QObject::tr("%1 prompt tokens were known from the question before\n")
                .arg(answer.prefix_reused);
  }
  return text + QObject::tr("Loading the model, once: %1 ms").arg(ms(t.load));
}

FactsBar::FactsBar(Viewer& viewer, QWidget* parent) : QWidget(parent), viewer_(viewer) {
  auto* row = new QHBoxLayout(this);
  row->setContentsMargins(10, 2, 10, 3);
  row->setSpacing(18);
  for (QLabel** label : {&model_, &tokens_, &times_, &state_}) {
    *label = new QLabel;
    (*label)->setTextFormat(Qt::PlainText);
    row->addWidget(*label);
  }
  row->insertStretch(3, 1);
  model_->setAccessibleName(tr("Model"));
  tokens_->setAccessibleName(tr("Visual tokens"));
  times_->setAccessibleName(tr("Times"));
  times_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  row->setStretchFactor(times_, 4);
  connect(&viewer_, &Viewer::busy_changed, this, &FactsBar::refresh);
  connect(&viewer_, &Viewer::shown_picture_changed, this, &FactsBar::refresh);
  connect(&viewer_.view(), &ViewState::runs_changed, this, &FactsBar::refresh);
  refresh();
}

void FactsBar::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  show_times();
}

/// The times take what room the other facts leave.
void FactsBar::show_times() {
  const RunPtr& run = viewer_.view().run();
  if (!run) return times_->clear();
  layout()->activate();
  times_->setText(
      fontMetrics().elidedText(timing_text(run->answer), Qt::ElideRight, times_->width()));
}

void FactsBar::refresh() {
  const Inference& inference = viewer_.inference();
  if (const ModelFactsPtr& model = inference.model()) {
    model_->setText(tr("%1 \u00b7 %2, %n thread(s) \u00b7 %3", nullptr, model->threads)
                        .arg(model->id, model->device, model->dtype));
    QString tip = tr("%1\n%2 layers, %3 heads, %4 visual tokens a picture, template %5\nloaded in "
                     "%6 ms")
                      .arg(model->device_detail.isEmpty()
                               ? model->folder
                               : tr("%1, on %2").arg(model->folder, model->device_detail))
                      .arg(model->layers)
                      .arg(model->heads)
                      .arg(model->visual_tokens)
                      .arg(model->chat_template)
                      .arg(ms(model->load_ms));
    for (const QString& note : model->notes) tip += QLatin1Char('\n') + note;
    model_->setToolTip(tip);
  } else {
    model_->setText(inference.loading() ? tr("Loading the model \u2026") : tr("No model"));
  }
  state_->setText(viewer_.busy()        ? tr("Answering \u2026")
                  : inference.loading() ? tr("Loading \u2026")
                                        : tr("Ready"));
  const RunPtr& run = viewer_.view().run();
  if (!run) {
    tokens_->clear();
    times_->clear();
    return;
  }
  QString tokens = tr("%1: %2").arg(pruning_text(*run), visual_token_text(*run));
  if (run->prune.prunes() && !run->by_guide()) {
    tokens += tr(", %1 a layer").arg(run->answer.budget.entering_mean, 0, 'f', 0);
  }
  tokens_->setText(tokens);
  tokens_->setToolTip(tr("Visual tokens entering each layer on average: %1\nleft after each "
                         "layer's own cut: %2")
                          .arg(run->answer.budget.entering_mean, 0, 'f', 1)
                          .arg(run->answer.budget.equivalent, 0, 'f', 1));
  show_times();
  times_->setToolTip(stage_times_text(run->answer));
}

}  // namespace fovea::gui
