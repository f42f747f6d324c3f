#pragma once
// The model and its conversation, on a thread of their own. Requests come as queued calls, results
// leave as queued signals; nothing here is touched from another thread, except the stop flags that
// requests carry.

#include <QObject>
#include <atomic>
#include <memory>

#include "gui/load_request.h"
#include "gui/run.h"
#include "vlm/guided_session.h"

namespace fovea::gui {

using StopFlag = std::shared_ptr<std::atomic<bool>>;

struct AskRequest {
  int id = 0;
  int turn = 0;  // as Run::turn
  QString question;
  std::vector<PicturePtr> pictures;  // shown with this question
  bool follow_up = false;            // goes on after the answers before
  bool replaces_last = false;        // asks the last question again in its place
  bool compared = false;             // times must be fair: nothing of earlier questions is used
  PruneChoice prune;
  SamplingOptions sampling;
  StopFlag stop;
};

class InferenceWorker : public QObject {
  Q_OBJECT

 public:
  void load(const LoadRequest& request);
  void ask(const AskRequest& request);

 Q_SIGNALS:
  void loaded(const fovea::gui::ModelFactsPtr& facts,
              const std::shared_ptr<const fovea::LlavaModel>& model);
  /// The model that was there before stays usable.
  void load_failed(const fovea::Error& error);
  void piece(int id, const QString& text);
  /// Also for an answer that was stopped: its finish_reason says so.
  void answered(const fovea::gui::RunPtr& run);
  void ask_failed(int id, const fovea::Error& error);

 private:
  Result<RunPtr> run(const AskRequest& request);
  /// Makes the pair ready that answers a question pruned like this; the guide is loaded when it is
  /// needed first.
  Status prepare_guide(const PruneChoice& prune);

  LoadRequest request_;  // of the model that is there
  LoadOptions options_;
  std::shared_ptr<const LlavaModel> model_, guide_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<GuidedSession> guided_;  // beside session_, null until sgl is asked for
  PruneChoice guided_by_;                  // what guided_ was made for
  ModelFactsPtr facts_, guide_facts_;
  bool has_turn_ = false;             // the last question is part of the conversation
  std::vector<PicturePtr> pictures_;  // of the conversation
  std::size_t pictures_before_ = 0;   // how many were there before the last question
};

}  // namespace fovea::gui
