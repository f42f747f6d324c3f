#include "gui/inference_worker.h"

#include <utility>

#include "gui/background.h"
#include "kernels/device.h"
#include "kernels/ops/linear/algorithms.h"

namespace fovea::gui {
namespace {

ModelFactsPtr facts_of(const LlavaModel& model, const QString& chat_template, int threads) {
  auto facts = std::make_shared<ModelFacts>();
  facts->folder = QString::fromStdString(model.folder());
  facts->id = QString::fromStdString(model.config().model_id);
  facts->device = QString::fromStdString(device_name(model.device()));
  if (model.device().kind == DeviceKind::cuda) {
    const auto info = cuda_device_info(model.device().index);
    if (info) facts->device_detail = QString::fromStdString(info->name);
  }
  facts->dtype = QLatin1String(linear_dtype_name(model.dtype()));
  facts->chat_template = chat_template;
  facts->threads = threads;
  facts->layers = static_cast<int>(model.config().decoder.layers);
  facts->heads = static_cast<int>(model.config().decoder.heads);
  facts->visual_tokens = model.config().visual_tokens_per_image();
  facts->load_ms = model.load_ms();
  for (const std::string& note : model.notes()) facts->notes << QString::fromStdString(note);
  const std::string algorithms = algorithms_note(model.device());
  if (!algorithms.empty()) facts->notes << QString::fromStdString(algorithms);
  return facts;
}

Result<std::shared_ptr<const LlavaModel>> open_model(const LoadRequest& request,
                                                     const LoadOptions& options) {
  FOVEA_TRY(const std::string folder, model_folder(request));
  // The viewer's answers are to be those of the command.
  FOVEA_CHECK(use_algorithm_table(options.device, false));
  return LlavaModel::load(folder, options);
}

}  // namespace

void InferenceWorker::load(const LoadRequest& request) {
  const auto load = load_options(request);
  if (!load) {
    Q_EMIT load_failed(load.error());
    return;
  }
  auto opened = open_model(request, *load);
  if (!opened) {
    Q_EMIT load_failed(opened.error());
    return;
  }
  SessionOptions options;
  options.threads = load->threads;
  auto session = Session::create(*opened, std::move(options));
  if (!session) {
    Q_EMIT load_failed(session.error());
    return;
  }
  request_ = request;
  options_ = *load;
  guided_.reset();
  guide_.reset();
  model_ = std::move(*opened);
  session_ = std::move(*session);
  facts_ = facts_of(*model_, QString::fromStdString(session_->template_name()), load->threads);
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
  give_back_memory();
}

Status InferenceWorker::prepare_guide(const PruneChoice& prune) {
  if (guided_ != nullptr && guided_by_ == prune) return {};
  if (guide_ == nullptr) {
    FOVEA_TRY(const std::string folder, guide_folder(request_, model_->config().model_id));
    FOVEA_TRY(guide_, LlavaModel::load(folder, options_));
    guide_facts_ = facts_of(*guide_, facts_->chat_template, options_.threads);
  }
  GuideOptions options;
  options.threads = options_.threads;
  FOVEA_TRY(options.prune, method_request(prune));
  FOVEA_TRY(guided_, GuidedSession::create(*session_, guide_, std::move(options)));
  guided_by_ = prune;
  return {};
}

Result<RunPtr> InferenceWorker::run(const AskRequest& request) {
  if (session_ == nullptr) {
    return make_error(ErrorCode::usage, "no model is loaded yet")
        .with_remedy("Choose a model folder");
  }
  FOVEA_TRY(auto policy, make_policy(request.prune));
  std::shared_ptr<TowerPruner> tower;
  if (model_->has_vision()) {
    FOVEA_TRY(tower, make_tower_pruner(request.prune, model_->vision()));
  }
  const bool guided = request.prune.needs_guide();
  if (guided) {
    FOVEA_CHECK(prepare_guide(request.prune));
  }
  if (request.replaces_last && has_turn_) {
    session_->forget_last_turn();
    pictures_.resize(pictures_before_);
    has_turn_ = false;
  }

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
  session_->prune_tower_with(std::move(tower));
  Answer answer;
  if (guided) {
    FOVEA_TRY(answer, guided_->ask(question, on_text, request.stop.get()));
  } else {
    session_->prune_with(std::move(policy));
    FOVEA_TRY(answer, session_->ask(question, on_text, request.stop.get()));
  }

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
  // Where the guide's answer was taken its words, layers and heads are looked at.
  const bool by_guide = answer.guide != nullptr && answer.guide->exited;
  result->model = by_guide ? guide_facts_ : facts_;
  result->tokens = answer_tokens(answer.token_ids, by_guide ? *guide_ : *model_);
  for (const PicturePtr& picture : request.pictures) {
    answer.timings.decode_image += picture->decode_ms();
  }
  answer.timings.load = facts_->load_ms + (guided ? guide_facts_->load_ms : 0);
  result->answer = std::move(answer);
  return result;
}

}  // namespace fovea::gui
