// Which words looked at the patch that was clicked.

#include <QLabel>
#include <QScrollArea>
#include <QTimer>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "gui/bar_list.h"
#include "gui/panels/panel_table.h"

namespace fovea::gui {
namespace {

class PatchPanel final : public QWidget {
 public:
  explicit PatchPanel(Viewer& viewer) : viewer_(viewer) {
    title_ = new QLabel;
    title_->setWordWrap(true);
    title_->setContentsMargins(8, 6, 8, 2);
    bars_ = new BarList;
    bars_->setAccessibleName(QObject::tr("Words by their attention on this patch"));
    auto* scroll = new QScrollArea;
    scroll->setWidget(bars_);
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->addWidget(title_);
    column->addWidget(scroll, 1);

    ViewState& view = viewer.view();
    connect(&view, &ViewState::selection_changed, this, [this] { refresh(); });
    connect(&view, &ViewState::runs_changed, this, [this] { refresh(); });
    connect(&viewer.readings(), &Readings::changed, this, [this] {
      if (due_ || viewer_.view().patch() == ViewState::kNoPatch) return;
      due_ = true;
      QTimer::singleShot(30, this, [this] {
        due_ = false;
        refresh();
      });
    });
    connect(bars_, &BarList::clicked, this, [this](int row) {
      if (row < static_cast<int>(tokens_.size())) {
        viewer_.view().select_token(tokens_[static_cast<std::size_t>(row)]);
      }
    });
    refresh();
  }

 private:
  void refresh() {
    ViewState& view = viewer_.view();
    const RunPtr& run = view.run();
    const int patch = view.patch();
    tokens_.clear();
    if (!run || patch == ViewState::kNoPatch ||
        patch >= static_cast<int>(run->layout().visual.size())) {
      title_->setText(
          QObject::tr("Click a patch of the picture (or Shift+arrows) to see which "
                      "words looked at it."));
      bars_->set_bars({});
      return;
    }
    const VisualToken& token = run->layout().visual[static_cast<std::size_t>(patch)];
    title_->setText(
        QObject::tr("Patch %1, row %2, column %3 \u00b7 %4 \u00b7 %5")
            .arg(patch)
            .arg(token.row)
            .arg(token.col)
            .arg(layer_text(view.choice(), run->model->layers), head_text(view.choice())));
    std::vector<std::pair<float, int>> words;
    for (int word = 0; word < run->words(); ++word) {
      const Reading* reading = viewer_.readings().of(*run, word);
      if (reading == nullptr) continue;
      const float value = reading->values[static_cast<std::size_t>(patch)];
      if (!std::isnan(value)) words.emplace_back(value, word);
    }
    if (words.empty()) {
      title_->setText(title_->text() + QLatin1Char('\n') +
                      (run->has_trace() ? QObject::tr("Pruned before the layers shown: no word "
                                                      "could look at it there.")
                                        : QObject::tr("Ask again to see its words.")));
    }
    std::stable_sort(words.begin(), words.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<BarList::Bar> bars;
    for (const auto& [value, word] : words) {
      const AnswerToken& said = run->tokens[static_cast<std::size_t>(word)];
      tokens_.push_back(word);
      bars.push_back({said.text.trimmed(), QString::number(static_cast<double>(value), 'g', 3),
                      words.front().first > 0 ? value / words.front().first : 0.0,
                      word == view.token()});
    }
    bars_->set_bars(std::move(bars));
  }

  Viewer& viewer_;
  QLabel* title_;
  BarList* bars_;
  std::vector<int> tokens_;  // by row
  bool due_ = false;
};

}  // namespace

QWidget* make_patch_panel(Viewer& viewer) {
  return new PatchPanel(viewer);
}

}  // namespace fovea::gui
