#include "gui/overlay_scene.h"

#include <QObject>
#include <algorithm>
#include <cmath>
#include <numeric>

namespace fovea::gui {
namespace {

/// Least opacity of a map whose low values do not fade, relative to its strongest place.
constexpr double kFloor = 0.5;
constexpr int kSmoothSide = 384;  // of the smooth image's longer side, about

QRgb premultiplied(const std::array<std::uint8_t, 3>& color, double alpha) {
  return qPremultiply(qRgba(color[0], color[1], color[2], static_cast<int>(alpha * 255 + 0.5)));
}

double percentile(std::vector<float> values, double part) {
  std::erase_if(values, [](float value) { return !std::isfinite(value); });
  if (values.empty()) return 0;
  const auto place = static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<std::size_t>(place)];
}

/// The grid alone, with all its patches.
OverlayScene bare_scene(const Run::Grid& grid) {
  OverlayScene scene;
  if (grid.rows == 0) {
    scene.caption = QObject::tr("This answer did not get as far as looking at the picture");
    return scene;
  }
  scene.rows = grid.rows;
  scene.cols = grid.cols;
  scene.rect = {grid.rect.x, grid.rect.y, grid.rect.width, grid.rect.height};
  scene.ids = grid.ids;
  scene.cells.reserve(grid.ids.size());
  for (const std::int32_t id : grid.ids) {
    scene.cells.push_back(id < 0 ? CellState::absent : CellState::present);
  }
  return scene;
}

double largest(const std::vector<float>& values) {
  double high = 0;
  for (const float value : values) {
    if (std::isfinite(value)) high = std::max(high, static_cast<double>(value));
  }
  return high;
}

QString encoder_text(const EncoderChoice& choice) {
  if (choice.map == EncoderChoice::Map::rollout) {
    QString text = QObject::tr("Vision tower: rollout, %1 of heads")
                       .arg(QString::fromLatin1(head_fusion_name(choice.rollout.fusion)));
    if (choice.rollout.discard > 0) {
      text += QObject::tr(", the lowest %1 % left out").arg(100 * choice.rollout.discard);
    }
    return text;
  }
  return QObject::tr("Vision tower: attention %1 \u00b7 %2 \u00b7 %3")
      .arg(choice.map == EncoderChoice::Map::class_token ? QObject::tr("of the class token")
                                                         : QObject::tr("received"),
           choice.layer == EncoderChoice::kMean ? QObject::tr("mean of layers")
                                                : QObject::tr("layer %1").arg(choice.layer),
           choice.head == EncoderChoice::kMean ? QObject::tr("mean of heads")
                                               : QObject::tr("head %1").arg(choice.head));
}

QString word_text(const Run& run, int token) {
  if (token == ViewState::kWholeAnswer || run.tokens.empty())
    return QObject::tr("the whole answer");
  const auto last = static_cast<int>(run.tokens.size()) - 1;
  const AnswerToken& chosen = run.tokens[static_cast<std::size_t>(std::min(token, last))];
  const QString word = chosen.text.trimmed();
  return word.isEmpty() ? QObject::tr("the end") : QObject::tr("\u201c%1\u201d").arg(word);
}

void add_attention(OverlayScene& scene, const Run& run, const Run::Grid& grid,
                   const ViewState& view, Readings& readings) {
  const MapChoice choice = within(view.choice(), run.model->layers, run.model->heads);
  scene.caption = QObject::tr("Attention of %1 \u00b7 %2 \u00b7 %3")
                      .arg(word_text(run, view.token()), layer_text(choice, run.model->layers),
                           head_text(choice));
  if (run.by_guide()) scene.caption = QObject::tr("Guide: %1").arg(scene.caption);
  if (!run.has_trace()) {
    scene.caption =
        run.words() == 0
            ? QObject::tr("Stopped before the first word: there is no attention to show")
            : QObject::tr("Attention of older answers is not kept: ask again");
    return;
  }
  const Reading* reading = readings.of(run, view.token());
  if (reading == nullptr) {
    scene.waiting = true;
    return;
  }
  const GridMap map = place_on_grid(reading->values, grid);
  const Display& display = view.display();
  switch (display.range) {
    case Range::shared:
      scene.high = readings.shared_high(run);
      scene.range_text = QObject::tr("range shared by all words");
      break;
    case Range::own:
      scene.high = reading->high;
      scene.range_text = QObject::tr("range of this map");
      break;
    case Range::clipped:
      scene.high = percentile(reading->values, 0.99);
      scene.range_text = QObject::tr("up to the 99th percentile");
      break;
  }
  scene.values = map.values;
  scene.heat = heat_image(map, scene.low, scene.high, display);
  scene.smooth = display.smooth;
  for (std::size_t cell = 0; cell < scene.cells.size(); ++cell) {
    if (scene.cells[cell] == CellState::present && std::isnan(map.values[cell])) {
      scene.cells[cell] = CellState::pruned;
    }
  }
}

void add_kept(OverlayScene& scene, const Run& run, const Run::Grid& grid, const ViewState& view) {
  const auto& stages = run.answer.pruning.stages;
  const int stage = std::min(view.stage(), static_cast<int>(stages.size()));
  scene.cells = cells_at_stage(run, grid, stage);
  if (run.by_guide()) {
    scene.caption = QObject::tr(
                        "The guide answered: all %1 patches went through it, none through "
                        "the large model")
                        .arg(run.answer.pruning.initial);
  } else if (stages.empty()) {
    scene.caption = QObject::tr("Nothing was pruned: all %1 patches went through every layer")
                        .arg(run.answer.pruning.initial);
  } else if (stage == 0) {
    scene.caption = QObject::tr("Before pruning: all %1 patches").arg(run.answer.pruning.initial);
  } else {
    const StageRecord& record = stages[static_cast<std::size_t>(stage - 1)];
    const auto kept = static_cast<qlonglong>(record.tokens());
    const QString place = record.when == Hook::vit_block
                              ? QObject::tr("tower block %1").arg(record.layer)
                              : QObject::tr("layer %1").arg(record.layer);
    scene.caption =
        QObject::tr("Stage %1 of %2, %3: %4 of %5 patches kept (%6 %)")
            .arg(stage)
            .arg(stages.size())
            .arg(place)
            .arg(kept)
            .arg(run.answer.pruning.initial)
            .arg(100.0 * static_cast<double>(kept) /
                     static_cast<double>(std::max<std::int64_t>(run.answer.pruning.initial, 1)),
                 0, 'f', 1);
  }
}

/// Faint values are lifted, if that was chosen.
double lifted(const Display& display, double strength) {
  return display.lift ? std::sqrt(strength) : strength;
}

}  // namespace

std::array<std::uint8_t, 3> display_color(const Display& display, double strength) {
  const double place = lifted(display, strength);
  return color_of(display.color_map, display.reversed ? 1 - place : place);
}

int OverlayScene::cell_of(int id) const {
  if (id < 0) return -1;
  const auto found = std::find(ids.begin(), ids.end(), id);
  return found == ids.end() ? -1 : static_cast<int>(found - ids.begin());
}

std::vector<CellState> cells_at_stage(const Run& run, const Run::Grid& grid, int stage) {
  const auto& stages = run.answer.pruning.stages;
  std::vector<CellState> by_id(run.layout().visual.size(), CellState::present);
  for (int s = 0; s < std::min(stage, static_cast<int>(stages.size())); ++s) {
    const StageRecord& record = stages[static_cast<std::size_t>(s)];
    std::vector<CellState> after(by_id.size(),
                                 s + 1 == stage ? CellState::pruned_now : CellState::pruned);
    for (std::size_t id = 0; id < by_id.size(); ++id) {
      if (by_id[id] == CellState::pruned || by_id[id] == CellState::pruned_now) {
        after[id] = CellState::pruned;
      } else if (by_id[id] == CellState::merged) {
        after[id] = CellState::merged;
      }
    }
    for (const auto& sources : record.sources) {
      for (const std::int32_t id : sources) {
        if (static_cast<std::size_t>(id) < after.size()) {
          after[static_cast<std::size_t>(id)] = CellState::merged;
        }
      }
    }
    for (const std::int32_t id : record.kept) {
      if (static_cast<std::size_t>(id) < after.size()) {
        after[static_cast<std::size_t>(id)] = CellState::present;
      }
    }
    by_id = std::move(after);
  }
  std::vector<CellState> cells;
  for (const std::int32_t id : grid.ids) {
    cells.push_back(id < 0 ? CellState::absent : by_id[static_cast<std::size_t>(id)]);
  }
  return cells;
}

OverlayScene compose_painting(const Run& run, int picture, const ViewState& view) {
  OverlayScene scene = bare_scene(run.grid(picture));
  if (scene.rows == 0) return scene;
  const auto painted = std::count_if(scene.ids.begin(), scene.ids.end(),
                                     [&](std::int32_t id) { return view.painted().contains(id); });
  scene.caption = QObject::tr(
                      "Choosing by hand: %1 of %2 patches \u00b7 drag keeps, with Ctrl or the "
                      "right button it drops")
                      .arg(painted)
                      .arg(scene.ids.size());
  return scene;
}

OverlayScene compose_encoder(const EncoderMaps* maps, const ViewState& view, const Run* run,
                             int picture) {
  OverlayScene scene;
  const EncoderChoice& choice = view.encoder();
  scene.caption = encoder_text(choice);
  if (maps == nullptr) {
    scene.waiting = true;
    return scene;
  }
  const auto part = [](int chosen, std::int64_t count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return chosen == EncoderChoice::kMean ? all : std::vector<int>{std::min(chosen, all.back())};
  };
  const GridMap map =
      choice.map == EncoderChoice::Map::rollout
          ? maps->grid(maps->rollout)
          : maps->mean(
                choice.map == EncoderChoice::Map::received ? maps->received_maps : maps->class_maps,
                part(choice.layer, maps->layers), part(choice.head, maps->heads));
  scene.rows = map.rows;
  scene.cols = map.cols;
  scene.rect = {map.rect.x, map.rect.y, map.rect.width, map.rect.height};
  scene.cells.assign(map.values.size(), CellState::present);
  scene.ids.resize(map.values.size());
  std::iota(scene.ids.begin(), scene.ids.end(), 0);
  if (run != nullptr) {
    const Run::Grid grid = run->grid(picture);
    if (grid.ids.size() == scene.ids.size()) scene.ids = grid.ids;
  }
  const Display& display = view.display();
  const bool clipped = display.range == Range::clipped;
  scene.high = clipped ? percentile(map.values, 0.99) : largest(map.values);
  scene.range_text =
      clipped ? QObject::tr("up to the 99th percentile") : QObject::tr("range of this map");
  scene.values = map.values;
  scene.heat = heat_image(map, scene.low, scene.high, display);
  scene.smooth = display.smooth;
  return scene;
}

OverlayScene compose(const Run& run, int picture, const ViewState& view, Readings& readings) {
  if (view.lens() == Lens::none) return {};
  const Run::Grid grid = run.grid(picture);
  OverlayScene scene = bare_scene(grid);
  if (grid.rows == 0) return scene;
  if (view.lens() == Lens::attention) {
    add_attention(scene, run, grid, view, readings);
  } else {
    add_kept(scene, run, grid, view);
  }
  return scene;
}

QImage heat_image(const GridMap& map, double low, double high, const Display& display) {
  if (map.rows < 1 || map.cols < 1) return {};
  std::array<QRgb, 1025> table{};
  for (std::size_t step = 0; step < table.size(); ++step) {
    const double strength = static_cast<double>(step) / static_cast<double>(table.size() - 1);
    const double floor = display.fade ? 0.0 : kFloor;
    table[step] =
        premultiplied(display_color(display, strength),
                      display.opacity * (floor + (1 - floor) * lifted(display, strength)));
  }
  const auto color = [&](double value) {
    const double strength = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0.0;
    return table[static_cast<std::size_t>(strength * static_cast<double>(table.size() - 1))];
  };
  const auto value_at = [&](int row, int col) {
    return map.values[static_cast<std::size_t>(row) * static_cast<std::size_t>(map.cols) +
                      static_cast<std::size_t>(col)];
  };
  const int fine =
      display.smooth ? std::clamp(kSmoothSide / std::max(map.rows, map.cols), 1, 64) : 1;
  QImage image(map.cols * fine, map.rows * fine, QImage::Format_ARGB32_Premultiplied);
  for (int y = 0; y < image.height(); ++y) {
    auto* line = reinterpret_cast<QRgb*>(image.scanLine(y));
    const double row_place = std::max((y + 0.5) / fine - 0.5, 0.0);
    const int row = static_cast<int>(row_place), below = std::min(row + 1, map.rows - 1);
    const double down = row_place - row;
    for (int x = 0; x < image.width(); ++x) {
      if (std::isnan(value_at(y / fine, x / fine))) {
        line[x] = 0;
        continue;
      }
      if (!display.smooth) {
        line[x] = color(value_at(y, x));
        continue;
      }
      const double col_place = std::max((x + 0.5) / fine - 0.5, 0.0);
      const int col = static_cast<int>(col_place), right = std::min(col + 1, map.cols - 1);
      const double across = col_place - col;
      double sum = 0, total = 0;  // bilinear among the cells that were not pruned
      const auto add = [&](int r, int c, double weight) {
        const float value = value_at(r, c);
        if (std::isnan(value)) return;
        sum += weight * static_cast<double>(value);
        total += weight;
      };
      add(row, col, (1 - down) * (1 - across));
      add(row, right, (1 - down) * across);
      add(below, col, down * (1 - across));
      add(below, right, down * across);
      line[x] = total > 0 ? color(sum / total) : 0;
    }
  }
  return image;
}

QImage thumbnail_image(const GridMap& map, ColorMap color_map) {
  if (map.rows < 1 || map.cols < 1) return {};
  float high = 0;
  for (const float value : map.values) {
    if (std::isfinite(value)) high = std::max(high, value);
  }
  QImage image(map.cols, map.rows, QImage::Format_ARGB32_Premultiplied);
  for (int cell = 0; cell < map.rows * map.cols; ++cell) {
    const float value = map.values[static_cast<std::size_t>(cell)];
    const auto color = color_of(color_map, high > 0 ? static_cast<double>(value / high) : 0.0);
    image.setPixel(cell % map.cols, cell / map.cols,
                   std::isnan(value) ? 0U : qRgb(color[0], color[1], color[2]));
  }
  return image;
}

}  // namespace fovea::gui
