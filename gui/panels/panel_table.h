#pragma once
// The panels beside the picture. A new one is a file in this folder that defines
// make_NAME_panel(), and a line in the table.

#include <QWidget>
#include <span>

#include "gui/viewer.h"

namespace fovea::gui {

// NAME, title, what it is for, where it starts
#define FOVEA_PANELS(PANEL)                                                                     \
  PANEL(pictures, "Pictures", "The pictures that are open", Qt::LeftDockWidgetArea)             \
  PANEL(answers, "Answers", "Questions asked and their answers", Qt::RightDockWidgetArea)       \
  PANEL(layers, "Layers", "Attention by layer and head", Qt::RightDockWidgetArea)               \
  PANEL(pruning, "Pruning", "What was kept at each stage, and your own choice",                 \
        Qt::RightDockWidgetArea)                                                                \
  PANEL(encoder, "Tower", "Where the vision tower itself looks, and how local its heads are",   \
        Qt::RightDockWidgetArea)                                                                \
  PANEL(patch, "Patch", "Which words looked at the patch you clicked", Qt::RightDockWidgetArea) \
  PANEL(colors, "Colours", "How maps are drawn", Qt::RightDockWidgetArea)

struct PanelRow {
  const char* name;
  const char* title;
  const char* tip;
  Qt::DockWidgetArea area;
  QWidget* (*make)(Viewer& viewer);  // the viewer outlives the panel
};
std::span<const PanelRow> panel_table();

}  // namespace fovea::gui
