#include "gui/notice_strip.h"

#include <QFileInfo>
#include <QHBoxLayout>

#include "gui/icons.h"
#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr int kMostNotices = 50, kMostShown = 8;

}  // namespace

QString notice_text(const Error& error) {
  QString text = QString::fromStdString(error.message);
  if (!text.isEmpty()) text[0] = text[0].toUpper();
  QStringList where;
  if (!error.file.empty()) where << QFileInfo(QString::fromStdString(error.file)).fileName();
  if (!error.field.empty()) where << QString::fromStdString(error.field);
  if (!where.isEmpty()) text += QStringLiteral(" (%1)").arg(where.join(QStringLiteral(", ")));
  text += QLatin1Char('.');
  if (!error.remedy.empty()) {
    text += QLatin1Char(' ') + QString::fromStdString(error.remedy);
    if (!text.endsWith(QLatin1Char('.'))) text += QLatin1Char('.');
  }
  return text;
}

NoticeStrip::NoticeStrip(QWidget* parent) : QFrame(parent) {
  auto* sign = new QLabel;
  sign->setPixmap(icon(Glyph::warning).pixmap(16, 16));
  text_ = new QLabel;
  text_->setWordWrap(true);
  text_->setTextFormat(Qt::PlainText);
  text_->setTextInteractionFlags(Qt::TextSelectableByMouse);
  text_->setAccessibleName(tr("Notices"));
  more_ = new QToolButton;
  more_->setAutoRaise(true);
  more_->setToolTip(tr("All notices, or only the last"));
  auto* close = new QToolButton;
  close->setIcon(icon(Glyph::close));
  close->setAutoRaise(true);
  close->setToolTip(tr("Dismiss (Esc)"));
  auto* row = new QHBoxLayout(this);
  row->setContentsMargins(10, 4, 6, 4);
  row->addWidget(sign, 0, Qt::AlignTop);
  row->addWidget(text_, 1);
  row->addWidget(more_, 0, Qt::AlignTop);
  row->addWidget(close, 0, Qt::AlignTop);
  connect(close, &QToolButton::clicked, this, &NoticeStrip::dismiss);
  connect(more_, &QToolButton::clicked, this, [this] {
    all_ = !all_;
    refresh();
  });
  hide();
}

void NoticeStrip::add(const Error& error) {
  const QString text = notice_text(error);
  if (notices_.isEmpty() || notices_.last() != text) notices_ << text;
  while (notices_.size() > kMostNotices) notices_.removeFirst();
  refresh();
  show();
}

void NoticeStrip::dismiss() {
  notices_.clear();
  all_ = false;
  hide();
}

void NoticeStrip::refresh() {
  if (notices_.isEmpty()) return;
  const int others = static_cast<int>(notices_.size()) - 1;
  text_->setText(all_ ? notices_.mid(std::max<qsizetype>(0, notices_.size() - kMostShown))
                            .join(QLatin1Char('\n'))
                      : notices_.last());
  QPalette colors = text_->palette();
  colors.setColor(QPalette::WindowText, alarm_color(palette()));
  text_->setPalette(colors);
  more_->setVisible(others > 0);
  more_->setText(all_ ? tr("Only the last") : tr("%1 more").arg(others));
}

}  // namespace fovea::gui
