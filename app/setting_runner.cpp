#include "app/setting_runner.h"

#include "app/question_run.h"

namespace fovea::app {

Result<Answer> SettingRunner::ask(std::size_t setting, Question question,
                                  const std::atomic<bool>* cancel) {
  const PruneSetup& setup = setups_[setting];
  session_->prune_with(setup.policy, setup.positions);
  question.as_if_fresh = true;
  return session_->ask(question, {}, cancel);
}

Result<SettingRunner> make_setting_runner(const std::shared_ptr<const LlavaModel>& model,
                                          int threads, const GenerationOptions& options,
                                          const std::vector<PruneSetting>& settings) {
  std::vector<PruneSetup> setups;
  for (const PruneSetting& setting : settings) {
    FOVEA_TRY(PruneSetup setup, make_prune_setup(setting, *model));
    setups.push_back(std::move(setup));
  }
  FOVEA_TRY(auto session, create_session(model, threads, options, {}));
  return SettingRunner(std::move(session), std::move(setups));
}

}  // namespace fovea::app
