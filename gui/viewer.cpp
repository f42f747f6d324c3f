#include "gui/viewer.h"

#include <QLocale>
#include <QStringList>
#include <algorithm>
#include <array>
#include <utility>

namespace fovea::gui {
namespace {

struct NamedAgainst {
  const char* name;
  Viewer::Against against;
};
constexpr std::array<NamedAgainst, 3> kAgainst{{
    {"unpruned", Viewer::Against::unpruned},
    {"biased", Viewer::Against::biased},
    {"guide", Viewer::Against::guide},
}};

bool shows(const Run& run, const Picture& picture) {
  return std::any_of(run.pictures.begin(), run.pictures.end(),
                     [&](const PicturePtr& known) { return known->path() == picture.path(); });
}

}  // namespace

Viewer::Viewer(Settings& settings, QObject* parent)
    : QObject(parent), settings_(settings), readings_(maps_, view_) {
  prune_.method = settings_.get("ask/method").toString();
  if (find_method(prune_.method.toStdString()) == nullptr) prune_.method.clear();
  prune_.preset = settings_.get("ask/preset").toString();
  const double budget = settings_.get("ask/budget").toDouble();
  if (budget > 0) prune_.budget = budget;
  follow_up_ = settings_.get("ask/follow_up").toBool();
  comparing_ = settings_.get("ask/compare").toBool();
  if (const double sigma = settings_.get("ask/debias").toDouble(); sigma != 0) {
    prune_.debias = sigma;
  }
  prune_.ignore_padding = settings_.get("ask/ignore_padding").toBool();
  if (const double threshold = settings_.get("ask/exit_threshold").toDouble();
      prune_.needs_guide() && threshold >= 0) {
    prune_.exit_threshold = threshold;
    prune_.exit_by_confidence = settings_.get("ask/exit_by").toString() == u"confidence";
  }
  prune_.tower = find_tower(settings_.get("ask/tower").toString());
  prune_.tower_share = std::clamp(settings_.get("ask/tower_share").toDouble(), 0.01, 1.0);
  const QStringList thresholds = settings_.get("ask/tower_thresholds").toStringList();
  for (std::size_t cut = 0; cut < prune_.tower_thresholds.size(); ++cut) {
    bool number = false;
    const double threshold = thresholds.value(static_cast<qsizetype>(cut)).toDouble(&number);
    if (number && threshold >= 0 && threshold <= 1) prune_.tower_thresholds[cut] = threshold;
  }
  against_ = find_against(settings_.get("ask/against").toString()).value_or(Against::unpruned);

  connect(&pictures_, &ImageSource::failed, this, &Viewer::notice);
  connect(&pictures_, &ImageSource::current_changed, this, &Viewer::follow_picture);
  connect(&maps_, &MapStore::failed, this, &Viewer::notice);
  connect(&encoder_, &EncoderReader::failed, this, &Viewer::notice);
  connect(&inference_, &Inference::load_started, this, &Viewer::busy_changed);
  connect(&inference_, &Inference::loaded, this, [this] {
    last_turn_ = 0;
    remember_model();
    encoder_.set_model(inference_.weights());
    Q_EMIT busy_changed();
  });
  connect(&inference_, &Inference::load_failed, this, [this](const Error& error) {
    chosen_model_.reset();
    Q_EMIT busy_changed();
    if (!restoring_model_) {
      Q_EMIT notice(error);
      return;
    }
    Q_EMIT notice(Error(error).with_remedy("The bundled model was loaded instead; Ctrl+M chooses"));
    load_model({});
  });
  connect(&inference_, &Inference::piece, this, [this](int id, const QString& text) {
    if (id != streaming_id_) streamed_.clear();
    streaming_id_ = id;
    streamed_ += text;
    Q_EMIT streamed_changed();
  });
  connect(&inference_, &Inference::answered, this, &Viewer::take);
  connect(&inference_, &Inference::ask_failed, this, [this](int id, const Error& error) {
    Q_EMIT notice(error);
    finish(id);
  });
}

Viewer::~Viewer() {
  inference_.stop();
}

void Viewer::set_prune(const PruneChoice& prune) {
  if (prune == prune_) return;
  prune_ = prune;
  settings_.set("ask/method", prune_.method);
  settings_.set("ask/preset", prune_.preset);
  settings_.set("ask/budget", prune_.budget.value_or(0.0));
  settings_.set("ask/debias", prune_.debias.value_or(0.0));
  settings_.set("ask/ignore_padding", prune_.ignore_padding);
  settings_.set("ask/tower", QString::fromLatin1(tower_name(prune_.tower)));
  settings_.set("ask/tower_share", prune_.tower_share);
  QStringList thresholds;
  for (const double threshold : prune_.tower_thresholds) {
    thresholds << QString::number(threshold, 'g', QLocale::FloatingPointShortest);
  }
  settings_.set("ask/tower_thresholds", thresholds);
  settings_.set("ask/exit_threshold", prune_.exit_threshold.value_or(-1.0));
  settings_.set("ask/exit_by",
                prune_.exit_by_confidence ? QStringLiteral("confidence") : QStringLiteral("score"));
  Q_EMIT prune_changed();
}

void Viewer::set_follow_up(bool follow_up) {
  follow_up_ = follow_up;
  settings_.set("ask/follow_up", follow_up);
}

void Viewer::set_comparing(bool comparing) {
  if (comparing == comparing_) return;
  comparing_ = comparing;
  settings_.set("ask/compare", comparing);
  Q_EMIT prune_changed();
  complete_comparison();
}

void Viewer::set_against(Against against) {
  if (against == against_) return;
  against_ = against;
  for (const NamedAgainst& row : kAgainst) {
    if (row.against == against) settings_.set("ask/against", QString::fromLatin1(row.name));
  }
  Q_EMIT prune_changed();
  if (comparing_) complete_comparison();
}

std::optional<Viewer::Against> Viewer::find_against(const QString& name) {
  for (const NamedAgainst& row : kAgainst) {
    if (name == QLatin1String(row.name)) return row.against;
  }
  return std::nullopt;
}

PruneChoice Viewer::beside(const PruneChoice& prune) const {
  if (against_ == Against::biased && prune.debiased()) return prune.without_debias();
  if (against_ == Against::guide && prune.needs_guide() && prune != prune.guide_alone()) {
    return prune.guide_alone();
  }
  return {};
}

void Viewer::complete_comparison() {
  const RunPtr run = view_.run();
  if (!run || busy()) return;
  show(run);
  if (!comparing_ || view_.reference()) return;
  if (run->prune.prunes()) return repeat(*run, beside(run->prune));
  if (prune_.prunes()) return repeat(*run, prune_);
  Q_EMIT notice(make_error(ErrorCode::usage, "there is nothing to compare with yet")
                    .with_remedy("Choose a pruning method, then ask"));
}

void Viewer::load_model(const LoadRequest& request) {
  chosen_model_.reset();
  restoring_model_ = false;
  inference_.load(request);
}

void Viewer::restore_model(const LoadRequest& request) {
  load_model(request);
  restoring_model_ = !request.folder.isEmpty();
}

void Viewer::use_model(const LoadRequest& request) {
  load_model(request);
  chosen_model_ = request;
}

void Viewer::remember_model() {
  if (!chosen_model_) return;
  settings_.set("model/folder", chosen_model_->folder);
  settings_.set("model/guide", chosen_model_->guide);
  settings_.set("model/device", chosen_model_->device);
  settings_.set("model/dtype", dtype_choice_name(chosen_model_->dtype));
  settings_.set("model/threads", chosen_model_->threads);
  if (!chosen_model_->folder.isEmpty()) {
    settings_.remember("recent/models", chosen_model_->folder);
  }
  if (!chosen_model_->guide.isEmpty()) {
    settings_.remember("recent/guides", chosen_model_->guide);
  }
  chosen_model_.reset();
}

void Viewer::ask(const QString& question) {
  const QString text = question.trimmed();
  if (text.isEmpty()) {
    Q_EMIT notice(make_error(ErrorCode::usage, "the question is empty").with_remedy("Type one"));
    return;
  }
  const PicturePtr picture = pictures_.current();
  if (!picture) {
    Q_EMIT notice(make_error(ErrorCode::usage, "there is no picture to ask about")
                      .with_remedy("Open one, or drop it on the window"));
    return;
  }
  settings_.remember("recent/questions", text);
  AskRequest request;
  request.question = text;
  request.turn = ++turns_;
  request.prune = prune_;
  RunPtr last;
  if (follow_up_ && last_turn_ != 0) {
    last = history_.newest_of_turn(last_turn_, &PruneChoice::prunes);
    if (!last) last = history_.newest_of_turn(last_turn_, [](const PruneChoice&) { return true; });
  }
  request.follow_up = last != nullptr;
  const bool shown_before = last && shows(*last, *picture);
  if (!shown_before) request.pictures = {picture};
  send(std::move(request), comparing_ && prune_.prunes());
}

void Viewer::ask_again() {
  if (view_.run()) repeat(*view_.run(), prune_);
}

void Viewer::ask_with_painted() {
  const RunPtr run = view_.run();
  if (!run || view_.painted().empty()) {
    Q_EMIT notice(make_error(ErrorCode::usage, "no patch was painted")
                      .with_remedy("Paint the patches to keep (K), then ask again"));
    return;
  }
  const auto& tokens = run->layout().visual;
  std::set<int> painted_on;
  for (const int id : view_.painted()) {
    painted_on.insert(tokens[static_cast<std::size_t>(id)].image);
  }
  PruneChoice choice;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const bool whole = !painted_on.contains(tokens[id].image);
    if (whole || view_.painted().contains(static_cast<int>(id))) {
      choice.keep.push_back(static_cast<std::int32_t>(id));
    }
  }
  view_.set_painting(false);
  repeat(*run, choice);
}

void Viewer::repeat(const Run& run, const PruneChoice& prune) {
  const bool last = run.turn == last_turn_;
  if (run.follow_up && !last) {
    Q_EMIT notice(
        make_error(ErrorCode::usage, "only the last question of a conversation can be asked again")
            .with_remedy("Ask it as a new question"));
    return;
  }
  AskRequest request;
  request.turn = run.turn;
  request.question = run.question;
  request.follow_up = run.follow_up;
  request.replaces_last = last;
  request.pictures = run.asked_pictures;
  request.prune = prune;
  const PruneChoice other = beside(prune);
  const bool missing =
      !history_.newest_of_turn(run.turn, [&](const PruneChoice& known) { return known == other; });
  send(std::move(request), comparing_ && prune.prunes() && missing);
}

void Viewer::send(AskRequest request, bool both) {
  request.sampling.max_new_tokens = settings_.get("ask/max_new_tokens").toInt();
  request.compared = comparing_;
  asked_ = request.question;
  streamed_.clear();
  if (both) {
    AskRequest first = request;
    first.prune = beside(request.prune);
    inference_.ask(std::move(first));
    request.replaces_last = true;
  }
  inference_.ask(std::move(request));
  Q_EMIT busy_changed();
  Q_EMIT streamed_changed();
}

void Viewer::take(const RunPtr& run) {
  // Without a token there is nothing to look at: it was stopped before the first.
  if (!run->tokens.empty()) {
    last_turn_ = run->turn;
    history_.add(run);
    show(run);
  }
  finish(run->id);
}

void Viewer::finish(int id) {
  if (id == streaming_id_) streamed_.clear();
  if (!busy()) asked_.clear();
  Q_EMIT busy_changed();
  Q_EMIT streamed_changed();
}

void Viewer::forget() {
  last_turn_ = 0;
  history_.clear();
  view_.show(nullptr, nullptr);
  maps_.watch({});
  Q_EMIT shown_picture_changed();
}

void Viewer::show(const RunPtr& run) {
  RunPtr shown = run, reference;
  if (comparing_ && run) {
    // Either it is the half that stands beside another, or another stands beside it.
    const RunPtr pruned = history_.newest_of_turn(run->turn, [&](const PruneChoice& other) {
      return other.prunes() && !(other == run->prune) && beside(other) == run->prune;
    });
    if (pruned) {
      shown = pruned;
      reference = run;
    } else if (run->prune.prunes()) {
      reference = history_.newest_of_turn(
          run->turn, [&](const PruneChoice& other) { return other == beside(run->prune); });
    }
  }
  std::vector<RunPtr> watched;
  for (const RunPtr& watch : {shown, reference}) {
    if (watch) watched.push_back(watch);
  }
  maps_.watch(watched);
  view_.show(shown, reference);
  Q_EMIT shown_picture_changed();
}

void Viewer::show_run(int id) {
  const RunPtr run = history_.find(id);
  if (!run) return;
  show(run);
  if (run->pictures.empty()) return;
  const int index = static_cast<int>(pictures_.files().indexOf(run->pictures.back()->path()));
  if (index >= 0) pictures_.select(index);
}

/// Another picture was chosen: its newest answer comes with it.
void Viewer::follow_picture() {
  const PicturePtr picture = pictures_.current();
  const auto fits = [&](const RunPtr& run) { return picture && run && shows(*run, *picture); };
  if (!fits(view_.run())) {
    const auto& runs = history_.runs();
    const auto newest = std::find_if(runs.rbegin(), runs.rend(), fits);
    show(newest == runs.rend() ? nullptr : *newest);
  }
  Q_EMIT shown_picture_changed();
}

int Viewer::picture_in(const Run& run) const {
  const PicturePtr picture = pictures_.current();
  const int last = static_cast<int>(run.pictures.size()) - 1;
  for (int i = last; i >= 0 && picture; --i) {
    if (run.pictures[static_cast<std::size_t>(i)]->path() == picture->path()) return i;
  }
  return last;
}

PicturePtr Viewer::shown_picture() const {
  const RunPtr& run = view_.run();
  if (!run || run->pictures.empty()) return pictures_.current();
  return run->pictures[static_cast<std::size_t>(picture_in(*run))];
}

}  // namespace fovea::gui
