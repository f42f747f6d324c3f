#include "gui/exported_picture.h"

#include <algorithm>
#include <cmath>

#include "gui/head_grid.h"

namespace fovea::gui {
namespace {

constexpr double kLeastSide = 512, kMostSide = 4096;  // of the longer side, in pixels

QImage draw_overlay(const PictureView& pane) {
  const OverlayScene& scene = pane.scene();
  QRectF frame(0, 0, pane.picture()->width(), pane.picture()->height());
  if (scene.rows > 0) frame |= scene.rect;
  const double side = std::max(frame.width(), frame.height());
  const double scale = std::clamp(side, kLeastSide, kMostSide) / side;
  ViewTransform fit;
  PictureView whole(fit);
  whole.set_picture(pane.picture());
  whole.set_scene(scene);
  whole.resize((frame.size() * scale).toSize().expandedTo(QSize(1, 1)));
  return whole.grab().toImage();
}

QImage draw_map(const OverlayScene& scene, const Display& display) {
  QImage cells(scene.cols, scene.rows, QImage::Format_ARGB32_Premultiplied);
  for (int cell = 0; cell < scene.rows * scene.cols; ++cell) {
    const auto value = static_cast<double>(scene.values[static_cast<std::size_t>(cell)]);
    const double strength =
        scene.high > scene.low
            ? std::clamp((value - scene.low) / (scene.high - scene.low), 0.0, 1.0)
            : 0.0;
    const auto color = display_color(display, std::isnan(value) ? 0.0 : strength);
    cells.setPixel(cell % scene.cols, cell / scene.cols,
                   std::isnan(value) ? 0U : qRgb(color[0], color[1], color[2]));
  }
  // Whole multiples: every patch as large as its neighbours.
  const int times = std::max(1, static_cast<int>(kLeastSide) / std::max(scene.rows, scene.cols));
  return cells.scaled(cells.size() * times, Qt::IgnoreAspectRatio,
                      display.smooth ? Qt::SmoothTransformation : Qt::FastTransformation);
}

}  // namespace

const ExportedRow& find_exported(const QString& name) {
  const auto* found = std::ranges::find_if(
      kExported, [&](const ExportedRow& row) { return name == QLatin1String(row.name); });
  return found == kExported.end() ? kExported.front() : *found;
}

Result<QImage> exported_picture(Exported kind, Viewer& viewer, const PictureView& pane,
                                const QImage& view) {
  switch (kind) {
    case Exported::view:
      return view;
    case Exported::overlay:
      if (!pane.picture()) break;
      return draw_overlay(pane);
    case Exported::map:
      if (pane.scene().values.empty()) break;
      return draw_map(pane.scene(), viewer.view().display());
    case Exported::heads: {
      HeadGrid grid(viewer);
      if (!grid.has_maps()) break;
      grid.resize(grid.largest_size());
      return grid.grab().toImage();
    }
  }
  return make_error(ErrorCode::usage, "there is nothing of this kind on screen to export")
      .with_remedy("Ask, wait for the attention maps, and look at them (E) or at the tower (V)");
}

}  // namespace fovea::gui
