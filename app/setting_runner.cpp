#include "app/setting_runner.h"

#include "app/question_run.h"

namespace fovea::app {

Result<Answer> SettingRunner::ask(const PruneSetup& setup, Question question,
                                  const std::atomic<bool>* cancel) {
  question.as_if_fresh = true;
  return app::ask(setup, *session_, question, {}, cancel);
}

Result<std::unique_ptr<BatchSession>> SettingRunner::batch(std::size_t setting,
                                                           std::size_t most) const {
  const PruneSetup& setup = setups_[setting];
  BatchOptions options;
  options.threads = threads_;
  options.chat_template = options_.chat_template;
  options.aspect = aspect_choice(options_);
  options.positions = setup.positions;
  options.tower = setup.tower;
  options.most = most;
  if (setup.policy != nullptr) {
    options.policy = [model = model_, asked = setup.setting]() -> Result<std::shared_ptr<Policy>> {
      FOVEA_TRY(PruneSetup another, make_prune_setup(asked, *model));
      return another.policy;
    };
  }
  return BatchSession::create(model_, std::move(options));
}

Result<SettingRunner> make_setting_runner(const std::shared_ptr<const LlavaModel>& model,
                                          int threads, const GenerationOptions& options,
                                          const std::vector<PruneSetting>& settings,
                                          std::shared_ptr<const LlavaModel> guide, bool run_both) {
  std::vector<PruneSetup> setups;
  for (const PruneSetting& setting : settings) {
    FOVEA_TRY(PruneSetup setup, make_prune_setup(setting, *model));
    setups.push_back(std::move(setup));
  }
  FOVEA_TRY(auto session, create_session(model, threads, options, {}));
  for (PruneSetup& setup : setups) {
    FOVEA_CHECK(attach_guide(setup, {guide, threads, options.chat_template, run_both}, *session));
  }
  return SettingRunner(model, threads, options, std::move(session), std::move(setups));
}

}  // namespace fovea::app
