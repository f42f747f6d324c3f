#include "gui/encoder_reader.h"

#include <algorithm>
#include <utility>

#include "gui/background.h"
#include "kernels/device.h"
#include "vision/preprocess.h"

namespace fovea::gui {
namespace {

constexpr std::size_t kMostEntries = 8;

}  // namespace

Result<EncoderMaps> EncoderWorker::read_maps(const EncoderRequest& request) {
  if (!request.model->has_vision()) {
    return make_error(ErrorCode::unsupported, "this model has no vision tower");
  }
  if (context_.device != request.model->device()) {
    FOVEA_TRY(context_, make_context(request.model->device(), 1));
  }
  context_.cancel = &stop_;
  FOVEA_TRY(const PreparedImage prepared, preprocess(context_.host(), *request.picture->image(),
                                                     request.model->config().preprocess));
  EncoderMapRequest wanted;
  wanted.rollout = request.rollout;
  return read_encoder(context_, request.model->vision(), prepared, wanted);
}

void EncoderWorker::read(const EncoderRequest& request) {
  auto maps = read_maps(request);
  if (maps) {
    Q_EMIT done(request, std::make_shared<const EncoderMaps>(std::move(*maps)));
  } else {
    Q_EMIT failed(request, maps.error());
  }
}

EncoderReader::EncoderReader(QObject* parent) : QObject(parent), worker_(new EncoderWorker(stop_)) {
  worker_->moveToThread(&thread_);
  connect(&thread_, &QThread::finished, worker_, &QObject::deleteLater);
  connect(&thread_, &QThread::started, worker_, &yield_to_the_window);
  connect(worker_, &EncoderWorker::done, this, &EncoderReader::arrived);
  connect(worker_, &EncoderWorker::failed, this,
          [this](const EncoderRequest& request, const Error& error) {
            Q_EMIT failed(error);
            arrived(request, nullptr);
          });
  thread_.setObjectName(QStringLiteral("encoder"));
  thread_.start();
}

EncoderReader::~EncoderReader() {
  stop_.store(true, std::memory_order_relaxed);
  thread_.quit();
  thread_.wait();
}

void EncoderReader::set_model(ModelPtr model) {
  if (model == model_) return;
  model_ = std::move(model);
  wanted_.reset();
  entries_.clear();
  Q_EMIT changed();
}

EncoderMapsPtr EncoderReader::maps(const PicturePtr& picture, const RolloutOptions& rollout) {
  if (!picture || !model_) return nullptr;
  const EncoderRequest request{model_, picture, rollout};
  const auto known = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.request == request; });
  if (known != entries_.end()) {
    std::rotate(known, known + 1, entries_.end());
    return entries_.back().maps;
  }
  wanted_ = request;  // one is looked at: whatever was wanted before is out of date
  read_next();
  return nullptr;
}

void EncoderReader::read_next() {
  if (reading_ || !wanted_) return;
  reading_ = true;
  QMetaObject::invokeMethod(worker_,
                            [worker = worker_, request = *wanted_] { worker->read(request); });
  wanted_.reset();
}

void EncoderReader::arrived(const EncoderRequest& request, const EncoderMapsPtr& maps) {
  reading_ = false;
  if (request.model == model_) {
    if (entries_.size() >= kMostEntries) entries_.erase(entries_.begin());
    entries_.push_back({request, maps});
    if (wanted_ && *wanted_ == request) wanted_.reset();
    Q_EMIT changed();
  }
  read_next();
}

}  // namespace fovea::gui
