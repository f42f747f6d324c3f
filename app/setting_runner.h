#pragma once
// The same questions under several pruning settings: one model, one session, each picture encoded
// once, and times as if each question had been asked by itself.

#include <atomic>
#include <memory>
#include <vector>

#include "app/options.h"
#include "app/prune_setup.h"
#include "vlm/batch_session.h"
#include "vlm/session.h"

namespace fovea::app {

class SettingRunner {
 public:
  SettingRunner(std::shared_ptr<const LlavaModel> model, int threads,
                const GenerationOptions& options, std::unique_ptr<Session> session,
                std::vector<PruneSetup> setups)
      : model_(std::move(model)),
        threads_(threads),
        options_(options),
        session_(std::move(session)),
        setups_(std::move(setups)) {}

  std::size_t size() const { return setups_.size(); }
  const PruneSetting& setting(std::size_t index) const { return setups_[index].setting; }
  Session& session() { return *session_; }

  /// Errors: those of Session::ask().
  Result<Answer> ask(std::size_t setting, Question question, const std::atomic<bool>* cancel) {
    return ask(setups_[setting], std::move(question), cancel);
  }
  /// The same under a setting that is none of the runner's.
  Result<Answer> ask(const PruneSetup& setup, Question question, const std::atomic<bool>* cancel);

  /// A session that answers `most` questions at once under one of the settings, without a guide.
  /// Errors: those of BatchSession::create().
  Result<std::unique_ptr<BatchSession>> batch(std::size_t setting, std::size_t most) const;

 private:
  std::shared_ptr<const LlavaModel> model_;
  int threads_;
  GenerationOptions options_;
  std::unique_ptr<Session> session_;
  std::vector<PruneSetup> setups_;
};

/// `guide`: of settings that need one; null: none. run_both as in GuideOptions. Errors: those of
/// make_prune_setup(), Session::create() and attach_guide().
Result<SettingRunner> make_setting_runner(const std::shared_ptr<const LlavaModel>& model,
                                          int threads, const GenerationOptions& options,
                                          const std::vector<PruneSetting>& settings,
                                          std::shared_ptr<const LlavaModel> guide,
                                          bool run_both = false);

}  // namespace fovea::app
