#include "gui/map_store.h"

#include <algorithm>

#include "gui/background.h"

namespace fovea::gui {

void MapWorker::compute(int run, const std::shared_ptr<const Trace>& trace, int token) {
  auto maps = compute_token_maps(context_, *trace, token);
  if (maps) {
    Q_EMIT computed(run, token, std::make_shared<const TokenMaps>(std::move(*maps)));
  } else {
    Q_EMIT failed(run, token, maps.error());
  }
}

MapStore::MapStore(std::size_t budget, QObject* parent)
    : QObject(parent), worker_(new MapWorker), budget_(budget) {
  worker_->moveToThread(&thread_);
  connect(&thread_, &QThread::finished, worker_, &QObject::deleteLater);
  connect(&thread_, &QThread::started, worker_, &yield_to_the_window);
  connect(worker_, &MapWorker::computed, this,
          [this](int run, int token, const std::shared_ptr<const TokenMaps>& maps) {
            arrived({run, token}, maps);
          });
  connect(worker_, &MapWorker::failed, this, [this](int run, int token, const Error& error) {
    Q_EMIT failed(error);
    arrived({run, token}, nullptr);
  });
  thread_.setObjectName(QStringLiteral("maps"));
  thread_.start();
}

MapStore::~MapStore() {
  thread_.quit();
  thread_.wait();
}

void MapStore::watch(const std::vector<RunPtr>& runs) {
  runs_ = runs;
  const auto watched = [this](const Key& key) {
    return std::any_of(runs_.begin(), runs_.end(),
                       [&](const RunPtr& run) { return run->id == key.first; });
  };
  std::erase_if(wanted_, [&](const Key& key) { return !watched(key); });
  std::erase_if(entries_, [&](const auto& entry) { return !watched(entry.first); });
  bytes_ = 0;
  for (const auto& [key, entry] : entries_) {
    if (entry.maps) bytes_ += entry.maps->values.size() * sizeof(float);
  }
  work();
}

std::shared_ptr<const TokenMaps> MapStore::maps(int run, int token) {
  const Key key{run, token};
  const auto found = entries_.find(key);
  if (found != entries_.end()) {
    found->second.used = ++clock_;
    return found->second.maps;
  }
  std::erase(wanted_, key);
  wanted_.push_back(key);
  work();
  return nullptr;
}

/// The first word of the watched runs without maps, unless the budget is spent.
std::optional<MapStore::Key> MapStore::next_in_order() const {
  for (const RunPtr& run : runs_) {
    if (!run->has_trace()) continue;
    for (int token = 0; token < run->words(); ++token) {
      if (entries_.contains({run->id, token})) continue;
      const auto& trace = *run->answer.trace;
      const std::size_t size = static_cast<std::size_t>(trace.layers()) *
                               static_cast<std::size_t>(trace.heads()) *
                               static_cast<std::size_t>(trace.layout().id_count()) * sizeof(float);
      if (bytes_ + size > budget_) return std::nullopt;
      return Key{run->id, token};
    }
  }
  return std::nullopt;
}

void MapStore::work() {
  if (working_) return;
  while (!wanted_.empty() || next_in_order()) {
    const Key key = wanted_.empty() ? *next_in_order() : wanted_.back();
    if (!wanted_.empty()) wanted_.pop_back();
    const auto run = std::find_if(runs_.begin(), runs_.end(),
                                  [&](const RunPtr& known) { return known->id == key.first; });
    if (run == runs_.end() || !(*run)->has_trace() || key.second < 0 ||
        key.second >= (*run)->answer.trace->tokens()) {
      continue;
    }
    working_ = true;
    QMetaObject::invokeMethod(worker_, [worker = worker_, key, trace = (*run)->answer.trace] {
      worker->compute(key.first, trace, key.second);
    });
    return;
  }
}

void MapStore::arrived(const Key& key, const std::shared_ptr<const TokenMaps>& maps) {
  working_ = false;
  const bool watched = std::any_of(runs_.begin(), runs_.end(),
                                   [&](const RunPtr& run) { return run->id == key.first; });
  if (watched) {
    std::erase(wanted_, key);
    entries_[key] = {maps, ++clock_};
    if (maps) bytes_ += maps->values.size() * sizeof(float);
    keep_budget();
    if (maps) Q_EMIT ready(key.first, key.second);
  }
  work();
}

void MapStore::keep_budget() {
  while (bytes_ > budget_ && entries_.size() > 1) {
    const auto oldest = std::min_element(
        entries_.begin(), entries_.end(),
        [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    if (oldest->second.maps) bytes_ -= oldest->second.maps->values.size() * sizeof(float);
    entries_.erase(oldest);
  }
}

}  // namespace fovea::gui
