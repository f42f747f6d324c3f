#include "gui/token_strip.h"

#include <QKeyEvent>
#include <QPainter>
#include <QScrollBar>
#include <QStyledItemDelegate>

#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr int kPadding = 7, kBar = 4, kSpacing = 3, kMostRows = 4;

class WordDelegate final : public QStyledItemDelegate {
 public:
  using QStyledItemDelegate::QStyledItemDelegate;

  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override {
    const QFontMetrics metrics(option.font);
    const int text = metrics.horizontalAdvance(index.data().toString());
    return {std::max(text, metrics.height()) + 2 * kPadding,
            metrics.height() + 2 * kPadding + kBar};
  }

  void paint(QPainter* painter, const QStyleOptionViewItem& option,
             const QModelIndex& index) const override {
    const QPalette& palette = option.palette;
    const bool current =
        option.state & QStyle::State_HasFocus || option.state & QStyle::State_Selected;
    const QColor accent = palette.color(QPalette::Highlight);
    painter->save();
    painter->setRenderHint(QPainter::Antialiasing);
    const QRectF chip = QRectF(option.rect).adjusted(0.5, 0.5, -0.5, -0.5);
    QColor fill = palette.color(QPalette::Button);
    const QVariant patch = index.data(TokenModel::PatchRole);
    if (patch.isValid()) {
      fill = accent;
      fill.setAlphaF(static_cast<float>(0.05 + 0.55 * patch.toDouble()));
    }
    painter->setBrush(fill);
    painter->setPen(
        current
            ? QPen(accent, 2)
            : QPen(option.state & QStyle::State_MouseOver ? muted(palette) : hairline(palette), 1));
    painter->drawRoundedRect(chip, 5, 5);

    const bool ends = index.data(TokenModel::EndRole).toBool();
    painter->setPen(ends ? muted(palette) : palette.color(QPalette::WindowText));
    QFont font = option.font;
    font.setItalic(ends);
    painter->setFont(font);
    const QRectF text = chip.adjusted(0, 2, 0, -kBar - 5);
    painter->drawText(text, Qt::AlignCenter, index.data().toString());

    const QVariant share = index.data(TokenModel::ShareRole);
    const QRectF track(chip.left() + kPadding, chip.bottom() - kBar - 4,
                       chip.width() - 2 * kPadding, kBar);
    painter->setPen(Qt::NoPen);
    painter->setBrush(hairline(palette));
    if (share.isValid()) {
      painter->drawRoundedRect(track, kBar / 2.0, kBar / 2.0);
      QRectF bar = track;
      bar.setWidth(std::max(2.0, track.width() * share.toDouble()));
      painter->setBrush(accent);
      painter->drawRoundedRect(bar, kBar / 2.0, kBar / 2.0);
    }
    painter->restore();
  }
};

}  // namespace

TokenStrip::TokenStrip(TokenModel& model, QWidget* parent) : QListView(parent), tokens_(model) {
  setModel(&tokens_);
  setItemDelegate(new WordDelegate(this));
  setFlow(QListView::LeftToRight);
  setWrapping(true);
  setResizeMode(QListView::Adjust);
  setSpacing(kSpacing);
  setSelectionMode(QAbstractItemView::SingleSelection);
  setEditTriggers(QAbstractItemView::NoEditTriggers);
  setFrameShape(QFrame::NoFrame);
  setMouseTracking(true);
  setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
  setAccessibleName(tr("Words of the answer"));
  viewport()->setAutoFillBackground(false);
  QFont larger = font();
  larger.setPointSizeF(larger.pointSizeF() * 1.15);
  setFont(larger);
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
  const auto resize_later = [this] { updateGeometry(); };
  connect(&tokens_, &QAbstractItemModel::modelReset, this, resize_later);
  connect(&tokens_, &QAbstractItemModel::rowsInserted, this, resize_later);
  connect(&tokens_, &QAbstractItemModel::rowsInserted, this, &QListView::scrollToBottom,
          Qt::QueuedConnection);
}

void TokenStrip::show_token(int token) {
  showing_ = true;
  if (token < 0) {
    selectionModel()->clear();
  } else {
    setCurrentIndex(tokens_.index(token));
  }
  showing_ = false;
}

/// Lines that the words take at this width.
int TokenStrip::rows_for(int width) const {
  QStyleOptionViewItem option;
  option.font = font();
  int rows = 1, x = kSpacing;
  for (int row = 0; row < tokens_.rowCount(); ++row) {
    const int wide = itemDelegate()->sizeHint(option, tokens_.index(row)).width() + 2 * kSpacing;
    if (x + wide > width && x > kSpacing) {
      ++rows;
      x = kSpacing;
    }
    x += wide;
  }
  return rows;
}

QSize TokenStrip::sizeHint() const {
  const int rows = std::min(rows_for(viewport()->width()), kMostRows);
  const int row = fontMetrics().height() + 2 * kPadding + kBar + 2 * kSpacing;
  return {400, rows * row + 2 * kSpacing};
}

void TokenStrip::resizeEvent(QResizeEvent* event) {
  QListView::resizeEvent(event);
  if (event->size().width() != event->oldSize().width()) updateGeometry();
}

void TokenStrip::keyPressEvent(QKeyEvent* event) {
  const bool at_start = !currentIndex().isValid() || currentIndex().row() == 0;
  switch (event->key()) {
    case Qt::Key_Space:
      if (!event->isAutoRepeat()) Q_EMIT hold_overlay(true);
      return;
    case Qt::Key_Left:
    case Qt::Key_Home:
      if (at_start || event->key() == Qt::Key_Home) {
        Q_EMIT token_chosen(ViewState::kWholeAnswer);
        return;
      }
      break;
    case Qt::Key_Right:
      if (!currentIndex().isValid()) {
        Q_EMIT token_chosen(0);
        return;
      }
      break;
    case Qt::Key_Up:
    case Qt::Key_Down:
    case Qt::Key_End:
    case Qt::Key_PageUp:
    case Qt::Key_PageDown:
      break;
    default:
      // Letters are shortcuts of the window, not a search among the words.
      event->ignore();
      return;
  }
  QListView::keyPressEvent(event);
}

void TokenStrip::keyReleaseEvent(QKeyEvent* event) {
  if (event->key() == Qt::Key_Space && !event->isAutoRepeat()) Q_EMIT hold_overlay(false);
  QListView::keyReleaseEvent(event);
}

void TokenStrip::mousePressEvent(QMouseEvent* event) {
  QListView::mousePressEvent(event);
  // Beside the words: the whole answer again.
  if (!indexAt(event->pos()).isValid()) Q_EMIT token_chosen(ViewState::kWholeAnswer);
}

void TokenStrip::currentChanged(const QModelIndex& current, const QModelIndex& previous) {
  QListView::currentChanged(current, previous);
  if (!showing_ && current.isValid()) Q_EMIT token_chosen(current.row());
}

}  // namespace fovea::gui
