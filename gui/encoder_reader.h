#pragma once
// What the vision tower itself looks at in a picture, question or not: read on a thread of its own,
// for the pictures that were asked about last.

#include <QObject>
#include <QThread>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "gui/picture.h"
#include "vision/encoder_maps.h"
#include "vlm/llava_model.h"

namespace fovea::gui {

using ModelPtr = std::shared_ptr<const LlavaModel>;
using EncoderMapsPtr = std::shared_ptr<const EncoderMaps>;

struct EncoderRequest {
  ModelPtr model;
  PicturePtr picture;
  RolloutOptions rollout;

  bool operator==(const EncoderRequest& other) const {
    return model == other.model && picture == other.picture &&
           rollout.fusion == other.rollout.fusion && rollout.discard == other.rollout.discard;
  }
};

/// Reads on its own thread; one request at a time.
class EncoderWorker : public QObject {
  Q_OBJECT

 public:
  explicit EncoderWorker(const std::atomic<bool>& stop) : stop_(stop) {}
  void read(const EncoderRequest& request);

 Q_SIGNALS:
  void done(const fovea::gui::EncoderRequest& request, const fovea::gui::EncoderMapsPtr& maps);
  void failed(const fovea::gui::EncoderRequest& request, const fovea::Error& error);

 private:
  Result<EncoderMaps> read_maps(const EncoderRequest& request);

  const std::atomic<bool>& stop_;
  Context context_;  // on the model's device; one thread: the answer that may be running wants more
};

class EncoderReader : public QObject {
  Q_OBJECT

 public:
  explicit EncoderReader(QObject* parent = nullptr);
  /// Stops what is read and waits for it.
  ~EncoderReader() override;

  /// The tower that is read from now on (null: none); what was read of another is forgotten.
  void set_model(ModelPtr model);
  /// Null while they are not there: they are read next, and changed() says when. Null for good
  /// without a picture or a model, and where reading failed.
  EncoderMapsPtr maps(const PicturePtr& picture, const RolloutOptions& rollout);
  bool idle() const { return !reading_; }

 Q_SIGNALS:
  void changed();
  void failed(const fovea::Error& error);

 private:
  struct Entry {
    EncoderRequest request;
    EncoderMapsPtr maps;  // null: it failed
  };
  void read_next();
  void arrived(const EncoderRequest& request, const EncoderMapsPtr& maps);

  QThread thread_;
  std::atomic<bool> stop_ = false;
  EncoderWorker* worker_;  // lives on thread_, which deletes it
  ModelPtr model_;
  std::vector<Entry> entries_;  // most recently used last
  std::optional<EncoderRequest> wanted_;
  bool reading_ = false;
};

}  // namespace fovea::gui
