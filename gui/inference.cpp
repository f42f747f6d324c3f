#include "gui/inference.h"

#include <algorithm>
#include <utility>

#include "gui/background.h"

namespace fovea::gui {

Inference::Inference(QObject* parent) : QObject(parent), worker_(new InferenceWorker) {
  worker_->moveToThread(&thread_);
  connect(&thread_, &QThread::finished, worker_, &QObject::deleteLater);
  connect(&thread_, &QThread::started, worker_, &yield_to_the_window);
  connect(worker_, &InferenceWorker::loaded, this,
          [this](const ModelFactsPtr& facts, const std::shared_ptr<const LlavaModel>& model) {
            --loads_;
            model_ = facts;
            weights_ = model;
            Q_EMIT loaded(facts);
          });
  connect(worker_, &InferenceWorker::load_failed, this, [this](const Error& error) {
    --loads_;
    Q_EMIT load_failed(error);
  });
  connect(worker_, &InferenceWorker::piece, this, &Inference::piece);
  connect(worker_, &InferenceWorker::answered, this, [this](const RunPtr& run) {
    forget_pending(run->id);
    Q_EMIT answered(run);
  });
  connect(worker_, &InferenceWorker::ask_failed, this, [this](int id, const Error& error) {
    forget_pending(id);
    Q_EMIT ask_failed(id, error);
  });
  thread_.setObjectName(QStringLiteral("inference"));
  thread_.start();
}

Inference::~Inference() {
  stop();
  thread_.quit();
  thread_.wait();
}

void Inference::load(const LoadRequest& request) {
  ++loads_;
  Q_EMIT load_started();
  QMetaObject::invokeMethod(worker_, [worker = worker_, request] { worker->load(request); });
}

int Inference::ask(AskRequest request) {
  request.id = ++last_id_;
  request.stop = std::make_shared<std::atomic<bool>>(false);
  pending_.push_back({request.id, request.stop});
  const int id = request.id;
  QMetaObject::invokeMethod(worker_,
                            [worker = worker_, asked = std::move(request)] { worker->ask(asked); });
  return id;
}

void Inference::stop() {
  for (const Pending& pending : pending_) pending.stop->store(true, std::memory_order_relaxed);
}

void Inference::forget_pending(int id) {
  std::erase_if(pending_, [id](const Pending& pending) { return pending.id == id; });
}

}  // namespace fovea::gui
