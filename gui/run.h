#pragma once
// One question and everything that came of it.

#include <QString>
#include <QStringList>
#include <memory>
#include <vector>

#include "gui/picture.h"
#include "gui/prune_choice.h"
#include "vlm/guided_session.h"

namespace fovea::gui {

/// What the window says about a loaded model.
struct ModelFacts {
  QString folder, id, device, dtype, chat_template;
  QString device_detail;  // what a GPU is called; empty on the CPU
  int threads = 1, layers = 0, heads = 0;
  std::int64_t visual_tokens = 0;  // of one picture
  double load_ms = 0;
  QStringList notes;
};
using ModelFactsPtr = std::shared_ptr<const ModelFacts>;

struct AnswerToken {
  std::int32_t id = 0;
  QString text;  // with the space before it, if any; empty for a token that writes nothing
  bool ends = false;
};

struct Run {
  int id = 0;
  int turn = 0;  // its place: asking again in the same place, pruned otherwise, shares it
  QString question;
  bool follow_up = false;
  std::vector<PicturePtr> pictures;        // of the whole conversation, as the prompt shows them
  std::vector<PicturePtr> asked_pictures;  // those that came with this question
  PruneChoice prune;
  ModelFactsPtr model;  // the one whose answer it is: the guide where its answer was taken
  Answer answer;        // its trace goes when newer runs need the memory
  std::vector<AnswerToken> tokens;

  const SequenceLayout& layout() const { return answer.layout; }
  QString text() const { return QString::fromStdString(answer.text); }
  bool has_trace() const { return answer.trace != nullptr; }
  /// Whether the guide's answer was taken, and the large model never ran.
  bool by_guide() const { return answer.guide != nullptr && answer.guide->exited; }
  /// Tokens that can be looked at: traced ones, without the end token.
  int words() const;
  /// Visual ids of one picture, by cell: [rows, cols], -1 where the grid has no token.
  struct Grid {
    int rows = 0, cols = 0;
    PixelRect rect;
    std::vector<std::int32_t> ids;
  };
  Grid grid(int picture) const;
};
using RunPtr = std::shared_ptr<Run>;

/// The answer's tokens with the text that each one adds.
std::vector<AnswerToken> answer_tokens(const std::vector<std::int32_t>& ids,
                                       const LlavaModel& model);

/// How it came about: "not pruned", "the guide alone", else as PruneChoice::label() says.
QString pruning_text(const Run& run);

/// "50 of 576 visual tokens kept (8.7 %)" of the last stage, or "576 visual tokens".
QString visual_token_text(const Run& run);

/// What the guide said, how sure it was and what became of it, in a line; empty without a guide.
QString guide_text(const Run& run);

}  // namespace fovea::gui
