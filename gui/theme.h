#pragma once
// Light and dark. The window follows the system's palette unless the user wants one of the two.

#include <QColor>
#include <QPalette>
#include <QString>

namespace fovea::gui {

/// "system", "light" or "dark"; anything else counts as "system".
void apply_appearance(const QString& appearance);

bool is_dark(const QPalette& palette);
/// Text that matters less: a mix of the palette's text and window.
QColor muted(const QPalette& palette);
/// Lines between parts.
QColor hairline(const QPalette& palette);
/// Behind pictures: a step darker than the window.
QColor stage_color(const QPalette& palette);
/// Warnings and errors, readable on the window colour.
QColor alarm_color(const QPalette& palette);

}  // namespace fovea::gui
