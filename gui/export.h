#pragma once
// What is seen, as files.

#include <QImage>
#include <QString>

#include "gui/overlay_scene.h"
#include "gui/viewer.h"

namespace fovea::gui {

/// Writes the picture to `png_path`, and beside it, under the same name, the map's values as .npy
/// (f32 [rows, columns], NaN where pruned; only when the scene has values) and, when there is an
/// answer, a .json that says what they are. All files or none. Errors: io.
Status export_files(const QString& png_path, const QImage& picture, Viewer& viewer,
                    const OverlayScene& scene);

}  // namespace fovea::gui
