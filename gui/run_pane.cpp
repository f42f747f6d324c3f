#include "gui/run_pane.h"

#include <QHBoxLayout>
#include <QPushButton>
#include <QResizeEvent>
#include <QTimer>
#include <QVBoxLayout>
#include <algorithm>

#include "gui/flow_layout.h"
#include "gui/suggestions.h"
#include "gui/theme.h"

namespace fovea::gui {

std::pair<QString, QString> marked_difference(const QString& a, const QString& b) {
  const QStringList left = a.split(QLatin1Char(' '), Qt::SkipEmptyParts);
  const QStringList right = b.split(QLatin1Char(' '), Qt::SkipEmptyParts);
  // Longest common subsequence; common[i][j] is its length in left[i..] and right[j..].
  const auto n = static_cast<std::size_t>(left.size()), m = static_cast<std::size_t>(right.size());
  std::vector<std::vector<int>> common(n + 1, std::vector<int>(m + 1, 0));
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t j = m; j-- > 0;) {
      common[i][j] = left[static_cast<qsizetype>(i)] == right[static_cast<qsizetype>(j)]
                         ? common[i + 1][j + 1] + 1
                         : std::max(common[i + 1][j], common[i][j + 1]);
    }
  }
  QStringList marked_left, marked_right;
  const auto mark = [](const QString& word) {
    return QStringLiteral("<b><u>%1</u></b>").arg(word.toHtmlEscaped());
  };
  std::size_t i = 0, j = 0;
  while (i < n || j < m) {
    const QString& here = i < n ? left[static_cast<qsizetype>(i)] : QString();
    if (i < n && j < m && here == right[static_cast<qsizetype>(j)]) {
      marked_left << here.toHtmlEscaped();
      marked_right << here.toHtmlEscaped();
      ++i;
      ++j;
    } else if (i < n && (j == m || common[i + 1][j] >= common[i][j + 1])) {
      marked_left << mark(here);
      ++i;
    } else {
      marked_right << mark(right[static_cast<qsizetype>(j)]);
      ++j;
    }
  }
  return {marked_left.join(QLatin1Char(' ')), marked_right.join(QLatin1Char(' '))};
}

RunPane::RunPane(Viewer& viewer, ViewTransform& transform, Side side, QWidget* parent)
    : QWidget(parent), viewer_(viewer), side_(side), tokens_(viewer.readings()) {
  header_ = new QLabel;
  header_->setWordWrap(true);
  header_->setAlignment(Qt::AlignTop);
  header_->setTextFormat(Qt::RichText);
  header_->setTextInteractionFlags(Qt::TextSelectableByMouse);
  header_->setContentsMargins(8, 4, 8, 4);
  header_->hide();
  view_ = new PictureView(transform);
  bar_ = new SceneBar;

  question_ = new QLabel;
  question_->setContentsMargins(8, 0, 8, 0);
  question_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
  whole_ = new QToolButton;
  whole_->setText(tr("All"));
  whole_->setCheckable(true);
  whole_->setToolTip(tr("The mean over all words of the answer (Home)"));
  strip_ = new TokenStrip(tokens_);
  auto* row = new QHBoxLayout;
  row->setContentsMargins(8, 0, 8, 0);
  row->setSpacing(6);
  row->addWidget(whole_, 0, Qt::AlignVCenter);
  row->addWidget(strip_, 1);
  words_ = new QWidget;
  auto* words = new QVBoxLayout(words_);
  words->setContentsMargins(0, 2, 0, 2);
  words->setSpacing(2);
  words->addWidget(question_);
  words->addLayout(row);
  words->addStretch(1);  // beside a longer answer: the shorter one stands at the top

  suggestions_ = new QWidget;
  auto* flow = new FlowLayout(suggestions_);
  flow->setContentsMargins(8, 8, 8, 8);
  flow->setSpacing(6);

  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(0);
  column->addWidget(header_);
  column->addWidget(view_, 1);
  column->addWidget(bar_);
  column->addWidget(words_);
  column->addWidget(suggestions_);

  ViewState& state = viewer_.view();
  connect(view_, &PictureView::patch_clicked, &state, &ViewState::select_patch);
  connect(view_, &PictureView::patches_painted, &state, &ViewState::paint);
  connect(view_, &PictureView::hold_overlay, &state, &ViewState::hold_overlay);
  connect(view_, &PictureView::step_wanted, this,
          [this](int by) { by < 0 ? viewer_.pictures().previous() : viewer_.pictures().next(); });
  connect(strip_, &TokenStrip::token_chosen, &state, &ViewState::select_token);
  connect(strip_, &TokenStrip::hold_overlay, &state, &ViewState::hold_overlay);
  connect(whole_, &QToolButton::clicked, this, [this, &state] {
    state.select_token(ViewState::kWholeAnswer);
    whole_->setChecked(true);
  });
  connect(&state, &ViewState::runs_changed, this, &RunPane::refresh_run);
  connect(&viewer_, &Viewer::shown_picture_changed, this, &RunPane::refresh_run);
  connect(&state, &ViewState::selection_changed, this, [this] {
    refresh_scene();
    refresh_words();
  });
  connect(&state, &ViewState::display_changed, this, &RunPane::refresh_scene);
  connect(&viewer_.encoder(), &EncoderReader::changed, this, &RunPane::refresh_scene);
  connect(&state, &ViewState::painted_changed, this, [this, &state] {
    view_->set_painting(state.painting() && side_ == Side::main, state.painted());
    if (side_ == Side::main) refresh_scene();
  });
  connect(&viewer_, &Viewer::streamed_changed, this, &RunPane::refresh_words);
  connect(&viewer_.readings(), &Readings::changed, this, [this](int id) {
    const RunPtr shown = run();
    if (!shown || shown->id != id || scene_due_) return;
    // Maps arrive in bursts: draw once for all that came meanwhile.
    scene_due_ = true;
    QTimer::singleShot(15, this, [this] {
      scene_due_ = false;
      tokens_.refresh();
      refresh_scene();
    });
  });
  refresh_run();
}

RunPtr RunPane::run() const {
  return side_ == Side::main ? viewer_.view().run() : viewer_.view().reference();
}

void RunPane::set_header_visible(bool visible) {
  header_->setVisible(visible);
  refresh_header();
}

void RunPane::level(RunPane& a, RunPane& b) {
  const int header =
      std::max(a.header_->heightForWidth(a.width()), b.header_->heightForWidth(b.width()));
  const int words =
      std::max(a.words_->layout()->sizeHint().height(), b.words_->layout()->sizeHint().height());
  for (RunPane* pane : {&a, &b}) {
    pane->header_->setMinimumHeight(header);
    pane->words_->setMinimumHeight(words);
  }
}

void RunPane::stand_alone() {
  header_->setMinimumHeight(0);
  words_->setMinimumHeight(0);
}

void RunPane::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  if (event->size().width() != event->oldSize().width()) Q_EMIT heights_changed();
}

void RunPane::refresh_run() {
  view_->set_picture(viewer_.shown_picture());
  ImageSource& source = viewer_.pictures();
  if (!source.current_error().isEmpty()) {
    view_->set_picture(nullptr);
    view_->set_placeholder(tr("This picture cannot be read"), source.current_error());
  } else if (source.index() >= 0) {
    view_->set_placeholder(tr("Reading the picture \u2026"), QString());
  } else {
    view_->set_placeholder(
        tr("Drop a picture or a folder here"),
        tr("or open one with Ctrl+O, a folder with Ctrl+U. Then ask a question about it."));
  }
  refresh_words();
  refresh_scene();
  refresh_header();
}

void RunPane::refresh_scene() {
  const RunPtr shown = run();
  ViewState& state = viewer_.view();
  OverlayScene scene;
  const PicturePtr picture = viewer_.shown_picture();
  const bool encoder = picture && state.lens() == Lens::encoder;
  const bool painting = shown && state.painting() && side_ == Side::main;
  if (painting) {
    scene = compose_painting(*shown, viewer_.picture_in(*shown), state);
  } else if (encoder) {
    const EncoderMapsPtr maps = viewer_.encoder().maps(picture, state.encoder().rollout);
    scene = compose_encoder(maps.get(), state, shown.get(), shown ? viewer_.picture_in(*shown) : 0);
  } else if (shown) {
    scene = compose(*shown, viewer_.picture_in(*shown), state, viewer_.readings());
  }
  bar_->setVisible(painting || encoder || (shown && state.lens() != Lens::none));
  bar_->show_scene(scene, state.display());
  view_->set_scene(std::move(scene));
  view_->set_overlay_visible(state.overlay_visible());
  view_->set_patch(state.patch());
}

void RunPane::refresh_words() {
  const RunPtr shown = run();
  const ViewState& state = viewer_.view();
  const bool streaming = viewer_.busy() && !viewer_.asked().isEmpty();
  tokens_.set_patch(state.patch());
  if (streaming && side_ == Side::main) {
    tokens_.set_stream(viewer_.streamed());
  } else if (tokens_.run() != shown || !shown) {
    tokens_.set_run(shown);
  } else {
    tokens_.refresh();
  }
  if (shown && !streaming) strip_->show_token(state.token());
  whole_->setChecked(state.token() == ViewState::kWholeAnswer);
  whole_->setVisible(shown && !streaming && shown->words() > 1);
  question_->setText(streaming ? viewer_.asked() : shown ? shown->question : QString());
  QPalette faint = palette();
  faint.setColor(QPalette::WindowText, muted(palette()));
  question_->setPalette(faint);
  words_->setVisible(shown || streaming);
  refresh_suggestions();
  Q_EMIT heights_changed();
}

void RunPane::refresh_suggestions() {
  const PicturePtr picture = viewer_.shown_picture();
  const bool wanted = side_ == Side::main && !run() && picture && words_->isHidden();
  suggestions_->setVisible(wanted);
  if (!wanted || suggestions_->property("picture").toString() == picture->path()) return;
  suggestions_->setProperty("picture", picture->path());
  QLayout* flow = suggestions_->layout();
  while (QLayoutItem* item = flow->takeAt(0)) {
    delete item->widget();
    delete item;
  }
  auto* title = new QLabel(tr("Try:"));
  title->setMargin(4);
  flow->addWidget(title);
  const QStringList questions = suggested_questions(picture->path());
  for (const QString& question : questions) {
    auto* button = new QPushButton(question);
    button->setToolTip(tr("Ask this"));
    connect(button, &QPushButton::clicked, this,
            [this, question] { Q_EMIT question_suggested(question); });
    flow->addWidget(button);
  }
}

void RunPane::refresh_header() {
  if (header_->isHidden()) return;
  const RunPtr shown = run();
  if (!shown) {
    header_->setText(tr("Not asked yet"));
    return;
  }
  QString answer = shown->text().toHtmlEscaped();
  const RunPtr other = side_ == Side::main ? viewer_.view().reference() : viewer_.view().run();
  if (other) {
    const auto [reference, main] = side_ == Side::main
                                       ? marked_difference(other->text(), shown->text())
                                       : marked_difference(shown->text(), other->text());
    answer = side_ == Side::main ? main : reference;
  }
  QString how = pruning_text(*shown);
  if (how != shown->prune.label()) how.front() = how.front().toUpper();  // methods keep their names
  const bool same = other && other->text() == shown->text();
  if (const QString guide = guide_text(*shown); !guide.isEmpty()) {
    answer += QStringLiteral("<br><small>%1</small>").arg(guide.toHtmlEscaped());
  }
  header_->setText(QStringLiteral("<b>%1</b> \u00b7 %2 \u00b7 %3 ms%4<br>%5")
                       .arg(how.toHtmlEscaped(), visual_token_text(*shown))
                       .arg(shown->answer.timings.total, 0, 'f', 0)
                       .arg(other
                                ? (same ? tr(" \u00b7 same answer") : tr(" \u00b7 answers differ"))
                                : QString(),
                            answer));
}

}  // namespace fovea::gui
