#pragma once
// Attention maps of the runs on screen, computed on a thread of their own and kept within a budget.

#include <QObject>
#include <QThread>
#include <map>
#include <utility>
#include <vector>

#include "gui/token_maps.h"

namespace fovea::gui {

/// Computes on its own thread; one request at a time.
class MapWorker : public QObject {
  Q_OBJECT

 public:
  void compute(int run, const std::shared_ptr<const Trace>& trace, int token);

 Q_SIGNALS:
  void computed(int run, int token, const std::shared_ptr<const fovea::gui::TokenMaps>& maps);
  void failed(int run, int token, const fovea::Error& error);

 private:
  Context context_;  // one thread: the answer that may be running wants the others
};

class MapStore : public QObject {
  Q_OBJECT

 public:
  /// `budget` bounds the bytes of maps kept; at least one token's maps always stay.
  explicit MapStore(std::size_t budget = std::size_t{256} << 20, QObject* parent = nullptr);
  ~MapStore() override;

  /// The runs whose maps are wanted; those of all other runs are forgotten. Maps of their words are
  /// computed in the background, in order, as far as the budget reaches.
  void watch(const std::vector<RunPtr>& runs);

  /// Null while they are not there; they are computed next, and ready() says when.
  std::shared_ptr<const TokenMaps> maps(int run, int token);
  /// Whether nothing that watch() or maps() asked for is still missing.
  bool idle() const { return !working_ && wanted_.empty() && !next_in_order(); }

 Q_SIGNALS:
  void ready(int run, int token);
  void failed(const fovea::Error& error);

 private:
  using Key = std::pair<int, int>;  // run, token
  struct Entry {
    std::shared_ptr<const TokenMaps> maps;  // null: it failed
    std::uint64_t used = 0;                 // when it was looked at last
  };

  std::optional<Key> next_in_order() const;
  void work();
  void arrived(const Key& key, const std::shared_ptr<const TokenMaps>& maps);
  void keep_budget();

  QThread thread_;
  MapWorker* worker_;  // lives on thread_, which deletes it
  std::size_t budget_;
  std::size_t bytes_ = 0;
  std::vector<RunPtr> runs_;
  std::map<Key, Entry> entries_;
  std::vector<Key> wanted_;  // most urgent last
  std::uint64_t clock_ = 0;
  bool working_ = false;
};

}  // namespace fovea::gui
