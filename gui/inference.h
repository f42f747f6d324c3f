#pragma once
// The GUI thread's handle on the inference worker: starts its thread, numbers requests, stops them,
// and on destruction stops, quits and waits.

#include <QObject>
#include <QThread>
#include <vector>

#include "gui/inference_worker.h"

namespace fovea::gui {

class Inference : public QObject {
  Q_OBJECT

 public:
  explicit Inference(QObject* parent = nullptr);
  ~Inference() override;

  void load(const LoadRequest& request);
  /// Queues a question; its id and stop flag are filled in. Returns the id.
  int ask(AskRequest request);
  /// Stops what runs and what waits; each still answers (as cancelled) or fails.
  void stop();

  bool loading() const { return loads_ > 0; }
  /// Questions not answered yet.
  int pending() const { return static_cast<int>(pending_.size()); }
  /// Null until the first model is there.
  const ModelFactsPtr& model() const { return model_; }
  /// The model itself, for reading; null until there is one.
  const std::shared_ptr<const LlavaModel>& weights() const { return weights_; }

 Q_SIGNALS:
  void load_started();
  void loaded(const fovea::gui::ModelFactsPtr& model);
  void load_failed(const fovea::Error& error);
  void piece(int id, const QString& text);
  void answered(const fovea::gui::RunPtr& run);
  void ask_failed(int id, const fovea::Error& error);

 private:
  void forget_pending(int id);

  struct Pending {
    int id;
    StopFlag stop;
  };
  QThread thread_;
  InferenceWorker* worker_;  // lives on thread_, which deletes it
  ModelFactsPtr model_;
  std::shared_ptr<const LlavaModel> weights_;
  std::vector<Pending> pending_;
  int loads_ = 0;
  int last_id_ = 0;
};

}  // namespace fovea::gui
