#include "gui/panels/panel_table.h"

#include <array>

namespace fovea::gui {

#define FOVEA_DECLARE(name, title, tip, area) QWidget* make_##name##_panel(Viewer& viewer);
FOVEA_PANELS(FOVEA_DECLARE)
#undef FOVEA_DECLARE

std::span<const PanelRow> panel_table() {
#define FOVEA_ROW(name, title, tip, area) PanelRow{#name, title, tip, area, make_##name##_panel},
  static constexpr std::array rows{FOVEA_PANELS(FOVEA_ROW)};
#undef FOVEA_ROW
  return rows;
}

}  // namespace fovea::gui
