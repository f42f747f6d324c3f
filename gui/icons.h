#pragma once
// The program's icons, drawn as strokes in the palette's text colour at any size.

#include <QIcon>

namespace fovea::gui {

enum class Glyph {
  open,
  folder,
  previous,
  next,
  fit,
  actual_size,
  overlay,
  attention,
  kept,
  tower,
  compare,
  paint,
  save,
  ask,
  stop,
  warning,
  close,
  follow_up,
  help,
};

QIcon icon(Glyph glyph);

}  // namespace fovea::gui
