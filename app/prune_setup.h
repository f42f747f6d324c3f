#pragma once
// A pruning setting made ready for a loaded model, and for the guide that sgl needs.

#include <memory>
#include <optional>
#include <string>

#include "app/options.h"
#include "vlm/guided_session.h"

namespace fovea::app {

struct PruneSetup {
  PruneSetting setting;
  std::shared_ptr<Policy> policy;         // null: no pruning; serves one session at a time
  std::optional<PositionMode> positions;  // none: the policy's own
  std::shared_ptr<TowerPruner> tower;     // null: the vision tower runs whole
  std::shared_ptr<GuidedSession> guided;  // sgl's, from attach_guide() on; null: no guide
};

/// Errors: usage for what the method or the model does not take.
Result<PruneSetup> make_prune_setup(const PruneSetting& setting, const LlavaModel& model);

/// The model --guide names, on the device and in the type that `model` says; null without one.
/// Errors: those of load_model().
Result<std::shared_ptr<const LlavaModel>> load_guide(const PruneOptions& prune, ModelOptions model);

/// How a guide works beside a session.
struct GuideSetup {
  std::shared_ptr<const LlavaModel> model;  // null: no guide
  int threads = 1;
  std::string chat_template;
  bool run_both = false;  // see GuideOptions
};

/// Puts the guide beside `session`, which must outlive the setup, where the setting is one that a
/// guide serves. Errors: those of GuidedSession::create().
Status attach_guide(PruneSetup& setup, const GuideSetup& guide, Session& session);

/// Asks `session` as the setup says, through its guide where it has one. Errors: those of
/// Session::ask().
Result<Answer> ask(const PruneSetup& setup, Session& session, const Question& question,
                   const TextCallback& on_text, const std::atomic<bool>* cancel);

/// What loading took: the session's model and, where the setup has one, its guide.
double load_ms(const PruneSetup& setup, const Session& session);

/// The model whose text, tokens and maps an answer holds: the guide's where its answer was taken.
const LlavaModel& answering_model(const Answer& answer, const LlavaModel& model);

}  // namespace fovea::app
