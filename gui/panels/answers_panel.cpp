// Questions and answers so far; choosing one shows it again.

#include <QHBoxLayout>
#include <QListView>
#include <QPainter>
#include <QPushButton>
#include <QStyledItemDelegate>
#include <QTextLayout>
#include <QVBoxLayout>

#include "gui/panels/panel_table.h"
#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr int kMargin = 8, kIndent = 14;

class TurnDelegate final : public QStyledItemDelegate {
 public:
  using QStyledItemDelegate::QStyledItemDelegate;

  QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override {
    const int width = option.widget != nullptr
                          ? static_cast<const QListView*>(option.widget)->viewport()->width()
                          : option.rect.width();
    return {width, draw(nullptr, option, index, width)};
  }

  void paint(QPainter* painter, const QStyleOptionViewItem& option,
             const QModelIndex& index) const override {
    painter->save();
    if (option.state & QStyle::State_Selected) {
      QColor fill = option.palette.color(QPalette::Highlight);
      fill.setAlpha(50);
      painter->fillRect(option.rect, fill);
      painter->fillRect(QRect(option.rect.topLeft(), QSize(3, option.rect.height())),
                        option.palette.color(QPalette::Highlight));
    }
    painter->setPen(hairline(option.palette));
    painter->drawLine(option.rect.bottomLeft(), option.rect.bottomRight());
    painter->translate(option.rect.topLeft());
    draw(painter, option, index, option.rect.width());
    painter->restore();
  }

 private:
  /// Height of the three paragraphs; draws them when there is a painter.
  static int draw(QPainter* painter, const QStyleOptionViewItem& option, const QModelIndex& index,
                  int width) {
    int left = kMargin;
    if (index.data(RunHistory::FollowUpRole).toBool()) left += kIndent;
    const int inside = std::max(20, width - left - kMargin);
    int y = 6;
    const auto paragraph = [&](const QString& text, const QFont& font, const QColor& color) {
      const QRect bounds = QFontMetrics(font).boundingRect(QRect(0, 0, inside, 10000),
                                                           Qt::TextWordWrap | Qt::AlignLeft, text);
      if (painter != nullptr) {
        painter->setFont(font);
        painter->setPen(color);
        painter->drawText(QRect(left, y, inside, bounds.height()), Qt::TextWordWrap | Qt::AlignLeft,
                          text);
      }
      y += bounds.height();
    };
    const QPalette& palette = option.palette;
    QFont strong = option.font, small = option.font;
    strong.setBold(true);
    small.setPointSizeF(small.pointSizeF() * 0.88);
    paragraph(index.data(RunHistory::QuestionRole).toString(), option.font, muted(palette));
    y += 2;
    paragraph(index.data(RunHistory::AnswerRole).toString(), strong,
              palette.color(QPalette::WindowText));
    y += 2;
    paragraph(index.data(RunHistory::DetailRole).toString(), small, muted(palette));
    return y + 7;
  }
};

class AnswersList final : public QListView {
 public:
  using QListView::QListView;

 protected:
  void keyboardSearch(const QString&) override {}
  void resizeEvent(QResizeEvent* event) override {
    QListView::resizeEvent(event);
    scheduleDelayedItemsLayout();  // paragraphs wrap at another place
  }
  void paintEvent(QPaintEvent* event) override {
    QListView::paintEvent(event);
    if (model()->rowCount() > 0) return;
    QPainter painter(viewport());
    painter.setPen(muted(palette()));
    painter.drawText(viewport()->rect().adjusted(16, 16, -16, -16),
                     Qt::AlignCenter | Qt::TextWordWrap,
                     QObject::tr("Answers appear here. Click one to look at it again."));
  }
};

class AnswersPanel final : public QWidget {
 public:
  explicit AnswersPanel(Viewer& viewer) : viewer_(viewer), list_(new AnswersList) {
    list_->setModel(&viewer.history());
    list_->setItemDelegate(new TurnDelegate(list_));
    list_->setFrameShape(QFrame::NoFrame);
    list_->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    list_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    list_->setEditTriggers(QAbstractItemView::NoEditTriggers);
    list_->setAccessibleName(QObject::tr("Answers"));
    auto* again = new QPushButton(QObject::tr("Ask again"));
    again->setToolTip(
        QObject::tr("The same question, pruned as chosen below the picture (Ctrl+R)"));
    auto* anew = new QPushButton(QObject::tr("New conversation"));
    anew->setToolTip(QObject::tr("Forget these answers (Ctrl+N)"));
    auto* buttons = new QHBoxLayout;
    buttons->setContentsMargins(6, 4, 6, 6);
    buttons->addWidget(again);
    buttons->addWidget(anew);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(0);
    column->addWidget(list_, 1);
    column->addLayout(buttons);

    connect(again, &QPushButton::clicked, this, [this] { viewer_.ask_again(); });
    connect(anew, &QPushButton::clicked, this, [this] { viewer_.forget(); });
    connect(
        list_->selectionModel(), &QItemSelectionModel::currentChanged, this,
        [this](const QModelIndex& index) {
          if (!following_ && index.isValid()) {
            viewer_.show_run(viewer_.history().runs()[static_cast<std::size_t>(index.row())]->id);
          }
        });
    connect(&viewer.view(), &ViewState::runs_changed, this, [this] { follow(); });
    const auto refresh = [this, again, anew] {
      again->setEnabled(viewer_.view().run() != nullptr && !viewer_.busy());
      anew->setEnabled(viewer_.history().rowCount() > 0 && !viewer_.busy());
    };
    connect(&viewer, &Viewer::busy_changed, this, refresh);
    connect(&viewer.view(), &ViewState::runs_changed, this, refresh);
    refresh();
    follow();
  }

  QSize sizeHint() const override { return {300, 260}; }

 private:
  void follow() {
    const RunPtr& run = viewer_.view().run();
    const int row = run ? viewer_.history().row_of(run->id) : -1;
    following_ = true;
    list_->setCurrentIndex(viewer_.history().index(row));
    following_ = false;
    if (row >= 0) list_->scrollTo(viewer_.history().index(row));
  }

  Viewer& viewer_;
  AnswersList* list_;
  bool following_ = false;
};

}  // namespace

QWidget* make_answers_panel(Viewer& viewer) {
  return new AnswersPanel(viewer);
}

}  // namespace fovea::gui
