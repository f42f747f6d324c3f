#pragma once
// What the chosen layer and head say about each word of the runs on screen: one value per visual
// token, the share of attention on the picture, the largest value. Kept per word, so that a strip
// of bars, a shared colour range and the words that looked at a patch need no maps again.

#include <QObject>
#include <map>
#include <vector>

#include "gui/map_store.h"
#include "gui/view_state.h"

namespace fovea::gui {

struct Reading {
  std::vector<float> values;  // per visual token; NaN: pruned
  double share = 0;           // of the word's attention that lies on the pictures, 0 to 1
  double high = 0;            // the largest value
};

class Readings : public QObject {
  Q_OBJECT

 public:
  /// Both must outlive the readings.
  Readings(MapStore& maps, ViewState& view, QObject* parent = nullptr);

  /// Of one word, or of the whole answer (ViewState::kWholeAnswer: the mean over the words read so
  /// far). Null while nothing is there; changed() says when.
  const Reading* of(const Run& run, int token);
  /// The largest value of any word read so far.
  double shared_high(const Run& run);
  /// Words read so far.
  int count(const Run& run) const;

 Q_SIGNALS:
  void changed(int run);

 private:
  struct Answer {
    std::map<int, Reading> words;
    Reading whole;
    std::size_t words_in_whole = 0;
  };

  const Reading* read(const Run& run, int token);
  const Reading* whole_answer(const Run& run);
  void forget_all();

  MapStore& maps_;
  ViewState& view_;
  MapChoice choice_;
  std::map<int, Answer> answers_;  // by run
};

}  // namespace fovea::gui
