#include <string>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/survivors/survivors.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/survivors/survivors_cuda.h"
#endif

namespace fovea {
namespace {

Error wrong(const char* field, const std::string& message) {
  return make_error(ErrorCode::usage, message).in_field(field);
}

Status check(const Context& context, const SurvivorList& list, std::int64_t present,
             const ClosedRows& rows) {
  if (list.sources.shape.rank() != 1 || (!list.offsets.empty() && list.offsets.shape.rank() != 1)) {
    return wrong("close_up sources", "expected lists");
  }
  const std::int64_t sources = list.sources.shape[0], stay = list.count();
  FOVEA_CHECK(check_list(context, "close_up sources", list.sources, DType::i32, sources));
  if (!list.offsets.empty()) {
    FOVEA_CHECK(check_list(context, "close_up offsets", list.offsets, DType::i32, stay + 1));
  }
  if (!list.weights.empty()) {
    FOVEA_CHECK(check_list(context, "close_up weights", list.weights, DType::f32, sources));
  }
  const std::int64_t left = rows.firsts.rows();
  FOVEA_CHECK(check_list(context, "close_up firsts", rows.firsts, DType::i32, left));
  if (stay < 0 || list.appended < 0 || list.appended > stay || stay > present || left < stay) {
    return wrong("close_up", std::to_string(stay) + " survivors, " + std::to_string(list.appended) +
                                 " appended, of " + std::to_string(present) + " tokens in " +
                                 std::to_string(left) + " rows");
  }
  if (rows.offsets.empty()) return {};
  const std::int64_t all = left - stay + sources;
  FOVEA_CHECK(check_list(context, "close_up new offsets", rows.offsets, DType::i32, left + 1));
  FOVEA_CHECK(check_list(context, "close_up new sources", rows.sources, DType::i32, all));
  return check_list(context, "close_up new weights", rows.weights, DType::f32, all);
}

/// Writes one row after another.
class Writer {
 public:
  explicit Writer(const ClosedRows& rows) : rows_(rows) {
    if (!rows.offsets.empty()) rows.offsets.as<std::int32_t>()[0] = 0;
  }
  void begin(std::int32_t first) { rows_.firsts.as<std::int32_t>()[row_++] = first; }
  void add(std::int32_t source, float weight) {
    if (rows_.offsets.empty()) return;
    rows_.sources.as<std::int32_t>()[filled_] = source;
    rows_.weights.as<float>()[filled_++] = weight;
    rows_.offsets.as<std::int32_t>()[row_] = filled_;
  }

 private:
  const ClosedRows& rows_;
  std::int64_t row_ = 0;
  std::int32_t filled_ = 0;
};

}  // namespace

Status close_up(Context& context, const SurvivorList& list, std::span<const std::int32_t> visual,
                const ClosedRows& rows) {
  const auto present = static_cast<std::int64_t>(visual.size());
  FOVEA_CHECK(check(context, list, present, rows));
  if (rows.firsts.rows() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return close_up_cuda(context, list, visual, rows);
#endif
  const std::int64_t stay = list.count(), in_place = stay - list.appended;
  const std::int64_t total = rows.firsts.rows() - stay + present;
  const auto* sources = list.sources.as<std::int32_t>();
  const auto begin = [&](std::int64_t survivor) {
    return list.offsets.empty() ? static_cast<std::int32_t>(survivor)
                                : list.offsets.as<std::int32_t>()[survivor];
  };
  Writer writer(rows);
  const auto add = [&](std::int64_t survivor) {
    writer.begin(visual[static_cast<std::size_t>(sources[begin(survivor)])]);
    for (std::int32_t s = begin(survivor); s < begin(survivor + 1); ++s) {
      writer.add(visual[static_cast<std::size_t>(sources[s])],
                 list.weights.empty() ? 1.0f : list.weights.as<float>()[s]);
    }
  };
  std::int64_t place = 0, next = 0;  // among the visual tokens, among the survivors
  for (std::int32_t row = 0; row < total; ++row) {
    if (place >= present || visual[static_cast<std::size_t>(place)] != row) {
      writer.begin(row);
      writer.add(row, 1.0f);
      continue;
    }
    if (next < in_place && sources[begin(next)] == place) add(next++);
    if (++place < present) continue;
    while (next < stay) add(next++);
  }
  return {};
}

}  // namespace fovea
