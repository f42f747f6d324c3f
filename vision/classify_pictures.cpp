#include "vision/classify_pictures.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "kernels/base/parallel.h"
#include "vision/preprocess.h"

namespace fovea {

namespace {

class Lap {
 public:
  double ms() {
    const auto now = std::chrono::steady_clock::now();
    const double passed = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return passed;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

Result<PreparedImage> read_picture(const std::string& path, const PreprocessConfig& steps) {
  FOVEA_TRY(const Image image, load_image(path));
  Context alone;  // pictures share the threads, not one picture's rows
  auto prepared = preprocess(alone, image, steps);
  if (!prepared && prepared.error().file.empty()) {
    return std::move(prepared).error().in_file(path);
  }
  return prepared;
}

/// One batch: those of `pictures` that can be read go into `pixels`, packed; the answer says which.
std::vector<std::size_t> read_batch(const Context& context, const VitClassifier& model,
                                    std::span<ClassifiedPicture> pictures, TensorView pixels) {
  const auto count = static_cast<std::int64_t>(pictures.size());
  std::vector<std::optional<Tensor>> prepared(pictures.size());
  parallel_for(context.threads, count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      auto read = read_picture(pictures[i].path, model.config().preprocess);
      if (read) {
        prepared[i] = std::move(read->pixels);
      } else {
        pictures[i].error = std::move(read).error();
      }
    }
  });
  std::vector<std::size_t> good;
  for (std::size_t i = 0; i < prepared.size(); ++i) {
    if (!prepared[i]) continue;
    std::copy_n(prepared[i]->as<float>(), pixels.inner_elements(),
                pixels.row<float>(static_cast<std::int64_t>(good.size())));
    good.push_back(i);
  }
  return good;
}

}  // namespace

Result<std::vector<ClassifiedPicture>> classify_pictures(
    Context& context, const VitClassifier& model, std::span<const std::string> paths,
    const ClassifySettings& settings, const ClassifyProgress& progress, ClassifyTimes* times) {
  const VitConfig& vit = model.config().vit;
  const VitWork work = vit_work(vit);
  const double whole = work.gflops(std::vector<std::int64_t>(
      static_cast<std::size_t>(model.encoder().run_layers()), vit.tokens()));
  std::optional<VitPruneReducer> reducer;
  VitHooks hooks;
  if (settings.prune) {
    reducer.emplace(*settings.prune, vit);
    hooks.reducer = &*reducer;
  }
  std::optional<ToMeMerger> merger;
  if (settings.tome) {
    FOVEA_TRY(merger, ToMeMerger::create(*settings.tome, model.encoder()));
    hooks.merger = &*merger;
  }
  const auto batch = static_cast<std::size_t>(std::max<std::int64_t>(settings.batch, 1));
  const auto room = static_cast<std::int64_t>(std::min(batch, paths.size()));
  FOVEA_TRY(Tensor pixels,
            Tensor::allocate({room, vit.channels, vit.image_size, vit.image_size}, DType::f32));
  FOVEA_TRY(Tensor logits, Tensor::allocate({room, model.classes()}, DType::f32));

  std::vector<ClassifiedPicture> all(paths.size());
  for (std::size_t i = 0; i < paths.size(); ++i) all[i].path = paths[i];
  for (std::size_t first = 0; first < all.size(); first += batch) {
    if (context.cancelled()) {
      return make_error(ErrorCode::cancelled, "stopped between two pictures");
    }
    const std::span<ClassifiedPicture> part =
        std::span(all).subspan(first, std::min(batch, all.size() - first));
    Lap lap;
    const std::vector<std::size_t> good = read_batch(context, model, part, pixels.view());
    if (times != nullptr) times->read_ms += lap.ms();
    const auto count = static_cast<std::int64_t>(good.size());
    if (reducer) {
      std::vector<std::uint64_t> places;  // draws by lot do not depend on the batches
      for (const std::size_t i : good) places.push_back(first + i);
      reducer->name_pictures(std::move(places));
    }
    if (count > 0) {
      FOVEA_CHECK(model.logits(context, pixels.view().slice(0, count),
                               logits.view().slice(0, count), hooks));
    }
    if (times != nullptr) times->run_ms += lap.ms();
    for (std::size_t i = 0; i < good.size(); ++i) {
      ClassifiedPicture& picture = part[good[i]];
      const std::span<const float> row(logits.view().row<float>(static_cast<std::int64_t>(i)),
                                       static_cast<std::size_t>(model.classes()));
      picture.top = top_classes(row, settings.top);
      if (settings.keep_logits) picture.logits.assign(row.begin(), row.end());
      picture.gflops = whole;
      if (!reducer && !merger) continue;
      picture.pruning = reducer ? reducer->records()[i] : merger->records()[i];
      picture.gflops =
          work.gflops(picture.pruning.tokens_entering, picture.pruning.tokens_after_attention);
    }
    if (progress) progress(std::min(first + batch, all.size()));
  }
  return all;
}

}  // namespace fovea
