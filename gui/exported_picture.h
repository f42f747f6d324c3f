#pragma once
// What can be exported: the view as it is seen, and its parts for papers and slides.

#include <QImage>
#include <QString>
#include <array>

#include "gui/picture_view.h"
#include "gui/viewer.h"

namespace fovea::gui {

enum class Exported {
  view,     // the panes as they are seen
  overlay,  // the whole picture with what is drawn over it, at the picture's own size
  map,      // the map's colours alone
  heads,    // every layer and head of the word, as small maps
};

struct ExportedRow {
  Exported kind;
  const char* name;    // in settings, scripts and file names
  const char* filter;  // of the file dialog, untranslated
};
inline constexpr std::array<ExportedRow, 4> kExported{{
    {Exported::view, "view", "What is seen (*.png)"},
    {Exported::overlay, "overlay", "The overlay, at the picture's size (*.png)"},
    {Exported::map, "map", "The map's colours alone (*.png)"},
    {Exported::heads, "heads", "Every layer and head (*.png)"},
}};

/// The row with this name; the first for a name that none has.
const ExportedRow& find_exported(const QString& name);

/// `view`: the panes as they are seen. Errors: usage, where there is nothing of this kind to draw.
Result<QImage> exported_picture(Exported kind, Viewer& viewer, const PictureView& pane,
                                const QImage& view);

}  // namespace fovea::gui
