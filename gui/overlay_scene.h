#pragma once
// Everything that is drawn over one picture, made from what is known and what is chosen; no widget
// is needed to make one.

#include <QImage>
#include <QRectF>
#include <QString>
#include <array>
#include <vector>

#include "gui/readings.h"
#include "vision/encoder_maps.h"

namespace fovea::gui {

enum class CellState : std::uint8_t {
  present,
  merged,      // its information went on in another token
  pruned,      // by an earlier stage (or, under an attention map, before the layer shown)
  pruned_now,  // by the stage looked at
  absent,      // the grid has no token here
};

struct OverlayScene {
  int rows = 0, cols = 0;         // 0: there is no grid, nothing is drawn
  QRectF rect;                    // where the grid lies on the picture, in its pixels
  std::vector<std::int32_t> ids;  // visual token of each cell, or -1
  std::vector<CellState> cells;
  std::vector<float> values;  // attention, [rows, cols]; empty under Lens::kept
  QImage heat;                // covers rect; null: no map
  bool smooth = true;         // how heat is enlarged
  double low = 0, high = 0;   // range of the colours; equal: no map
  QString caption;            // what is drawn
  QString range_text;         // how the range was chosen
  bool waiting = false;       // maps are still being computed

  int cell_of(int id) const;  // -1: not in this picture
};

/// The scene over picture number `picture` of the run. `view` says what is looked at; a token or
/// stage that this run does not have stands for its nearest one.
OverlayScene compose(const Run& run, int picture, const ViewState& view, Readings& readings);

/// While patches to keep are painted: which there are, and how many were painted.
OverlayScene compose_painting(const Run& run, int picture, const ViewState& view);

/// One of the vision tower's maps over the picture; null maps: they are being read. `run` (may be
/// null) gives the cells the ids of its prompt's tokens.
OverlayScene compose_encoder(const EncoderMaps* maps, const ViewState& view, const Run* run,
                             int picture);

/// The colour of a value that is `strength` (0 to 1) of the range.
std::array<std::uint8_t, 3> display_color(const Display& display, double strength);

/// A map as colours with transparency: one pixel a cell, or finer and bilinear between cell centres
/// when display.smooth. Cells without a value are transparent.
QImage heat_image(const GridMap& map, double low, double high, const Display& display);

/// A small map, one opaque pixel a cell, from 0 to its own largest value; cells without a value are
/// transparent.
QImage thumbnail_image(const GridMap& map, ColorMap color_map);

/// The stage's record as the picture's cells see it: which are kept, and which stage pruned them.
std::vector<CellState> cells_at_stage(const Run& run, const Run::Grid& grid, int stage);

}  // namespace fovea::gui
