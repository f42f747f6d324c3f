#pragma once
// Every action of the window in one table: its menu, its name, its keys and what it does. Menus,
// tool bar and the page of shortcuts are made from it.

#include <optional>
#include <span>

#include "gui/icons.h"

namespace fovea::gui {

class MainWindow;

struct ActionRow {
  const char* name;
  const char* menu;  // "" : keys only
  const char* text;
  const char* keys;  // "Ctrl+O", several divided by " | "
  const char* tip;
  std::optional<Glyph> glyph;
  bool checkable;
  void (*run)(MainWindow& window);
};

std::span<const ActionRow> action_table();

/// Keys that are no actions, for the page of shortcuts: what they do, and where.
struct KeyRow {
  const char* keys;
  const char* meaning;
};
std::span<const KeyRow> key_table();

}  // namespace fovea::gui
