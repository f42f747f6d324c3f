#include "app/prune_setup.h"

#include "app/model_folder.h"
#include "vision/adaptive_tower.h"
#include "vision/tome_merger.h"

namespace fovea::app {

namespace {

Result<std::shared_ptr<TowerPruner>> make_tower(const TowerChoice& tower, const LlavaModel& model) {
  if (const auto* request = std::get_if<MethodRequest>(&tower.choice)) {
    FOVEA_TRY(auto policy, make_policy(*request));
    return tower_pruner(std::move(policy));
  }
  FOVEA_TRY(VitPruneSetup setup,
            make_vit_prune_setup(std::get<VitPruneSetting>(tower.choice), model.vision()));
  if (setup.tome) return tome_tower_pruner(std::move(*setup.tome), tower.name);
  return adaptive_tower_pruner(std::move(*setup.settings), tower.name);
}

}  // namespace

Result<PruneSetup> make_prune_setup(const PruneSetting& setting, const LlavaModel& model) {
  PruneSetup setup;
  setup.setting = setting;
  setup.positions = setting.positions;
  if (setting.prunes()) {
    FOVEA_TRY(setup.policy, make_policy(setting.request));
  }
  if (setting.tower && model.has_vision()) {
    FOVEA_TRY(setup.tower, make_tower(*setting.tower, model));
  }
  return setup;
}

Result<std::shared_ptr<const LlavaModel>> load_guide(const PruneOptions& prune,
                                                     ModelOptions model) {
  if (prune.guide.empty()) return std::shared_ptr<const LlavaModel>();
  model.model = prune.guide;
  return load_model(model);
}

Status attach_guide(PruneSetup& setup, const GuideSetup& guide, Session& session) {
  if (guide.model == nullptr || !setup.setting.needs_guide()) return {};
  GuideOptions options;
  options.threads = guide.threads;
  options.chat_template = guide.chat_template;
  options.prune = setup.setting.request;
  options.positions = setup.positions;
  options.run_both = guide.run_both;
  FOVEA_TRY(setup.guided, GuidedSession::create(session, guide.model, std::move(options)));
  return {};
}

Result<Answer> ask(const PruneSetup& setup, Session& session, const Question& question,
                   const TextCallback& on_text, const std::atomic<bool>* cancel) {
  session.prune_tower_with(setup.tower);
  if (setup.guided != nullptr) return setup.guided->ask(question, on_text, cancel);
  session.prune_with(setup.policy, setup.positions);
  return session.ask(question, on_text, cancel);
}

double load_ms(const PruneSetup& setup, const Session& session) {
  const double own = session.model().load_ms();
  return setup.guided != nullptr ? own + setup.guided->guide().load_ms() : own;
}

const LlavaModel& answering_model(const Answer& answer, const LlavaModel& model) {
  return answer.guide != nullptr && answer.guide->exited ? *answer.guide->model : model;
}

}  // namespace fovea::app
