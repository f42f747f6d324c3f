#include "gui/inference_worker.h"

#include <utility>

#include "kernels/base/parallel.h"
#include "kernels/device.h"
#include "vlm/bundled.h"

namespace fovea::gui {
namespace {

ModelFactsPtr facts_of(const Session& session, int threads) {
  const LlavaModel& model = session.model();
  auto facts = std::make_shared<ModelFacts>();
  facts->folder = QString::fromStdString(model.folder());
  facts->id = QString::fromStdString(model.config().model_id);
  facts->device = QString::fromStdString(device_name(model.device()));
  facts->dtype = QLatin1String(linear_dtype_name(model.dtype()));
  facts->chat_template = QString::fromStdString(session.template_name());
  facts->threads = threads;
  facts->layers = static_cast<int>(model.config().decoder.layers);
  facts->heads = static_cast<int>(model.config().decoder.heads);
  facts->visual_tokens = model.config().visual_tokens_per_image();
  facts->load_ms = model.load_ms();
  for (const std::string& note : model.notes()) facts->notes << QString::fromStdString(note);
  return facts;
}

Result<std::shared_ptr<const LlavaModel>> open_model(const LoadRequest& request, int threads) {
  std::string folder = request.folder.toStdString();
  if (folder.empty()) {
    FOVEA_TRY(folder, default_model_folder());
  }
  return LlavaModel::load(
      folder, {.threads = threads, .device = best_device(), .dtype = request.dtype});
}

}  // namespace

void InferenceWorker::load(const LoadRequest& request) {
  const int threads = request.threads > 0 ? request.threads : available_threads();
  auto opened = open_model(request, threads);
  if (!opened) {
    Q_EMIT load_failed(opened.error());
    return;
  }
  SessionOptions options;
  options.threads = threads;
  auto session = Session::create(*opened, std::move(options));
  if (!session) {
    Q_EMIT load_failed(session.error());
    return;
  }
  model_ = std::move(*opened);
  session_ = std::move(*session);
  facts_ = facts_of(*session_, threads);
  has_turn_ = false;
  pictures_.clear();
  Q_EMIT loaded(facts_, model_);
}

void InferenceWorker::ask(const AskRequest& request) {
  auto answered_run = run(request);
  if (answered_run) {
    Q_EMIT answered(*answered_run);
  } else {
    Q_EMIT ask_failed(request.id, answered_run.error());
  }
}

Result<RunPtr> InferenceWorker::run(const AskRequest& request) {
  if (session_ == nullptr) {
    return make_error(ErrorCode::usage, "no model is loaded yet")
        .with_remedy("Choose a model folder");
  }
  FOVEA_TRY(auto policy, make_policy(request.prune));
  if (request.replaces_last && has_turn_) {
    session_->forget_last_turn();
    pictures_.resize(pictures_before_);
    has_turn_ = false;
  }
  session_->prune_with(std::move(policy));

  Question question;
  question.text = request.question.toStdString();
  for (const PicturePtr& picture : request.pictures) question.images.push_back(picture->image());
  question.continue_conversation = request.follow_up;
  question.sampling = request.sampling;
  question.trace = true;
  question.as_if_fresh = request.compared;
  const auto on_text = [&](const std::string& text) {
    Q_EMIT piece(request.id, QString::fromStdString(text));
  };
  FOVEA_TRY(Answer answer, session_->ask(question, on_text, request.stop.get()));

  // A question that was stopped before its first token leaves no turn behind.
  has_turn_ = !answer.token_ids.empty();
  if (!request.follow_up) pictures_.clear();
  pictures_before_ = pictures_.size();
  auto result = std::make_shared<Run>();
  result->pictures = pictures_;
  result->pictures.insert(result->pictures.end(), request.pictures.begin(), request.pictures.end());
  result->asked_pictures = request.pictures;
  if (has_turn_) pictures_ = result->pictures;
  result->id = request.id;
  result->turn = request.turn;
  result->question = request.question;
  result->follow_up = request.follow_up;
  result->prune = request.prune;
  result->model = facts_;
  result->tokens = answer_tokens(answer.token_ids, session_->model());
  for (const PicturePtr& picture : request.pictures) {
    answer.timings.decode_image += picture->decode_ms();
  }
  answer.timings.load = facts_->load_ms;
  result->answer = std::move(answer);
  return result;
}

}  // namespace fovea::gui
