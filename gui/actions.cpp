#include "gui/actions.h"

#include <vector>

#include "gui/main_window.h"

namespace fovea::gui {

std::span<const ActionRow> action_table() {
  using W = MainWindow;
  constexpr auto none = std::nullopt;
  static const std::vector<ActionRow> table{
      // name, menu, text, keys, tip, icon, checkable, what it does
      {"open", "File", "Open pictures \u2026", "Ctrl+O", "Open one or more pictures", Glyph::open,
       false, [](W& w) { w.open_files(); }},
      {"open_folder", "File", "Open folder \u2026", "Ctrl+U", "Open all pictures of a folder",
       Glyph::folder, false, [](W& w) { w.open_folder(); }},
      {"model", "File", "Model \u2026", "Ctrl+M",
       "Load another model, with what that takes of memory", none, false,
       [](W& w) { w.choose_model(); }},
      {"export", "File", "Export view \u2026", "Ctrl+S",
       "Save what is seen, the overlay, the map or all heads as PNG, with values as .npy and JSON",
       Glyph::save, false, [](W& w) { w.export_view(); }},
      {"copy", "File", "Copy view", "Ctrl+C", "Copy what is seen to the clipboard", none, false,
       [](W& w) { w.copy_view(); }},
      {"quit", "File", "Quit", "Ctrl+Q", "Leave", none, false, [](W& w) { w.close(); }},

      {"focus_question", "Ask", "Write a question", "Ctrl+L | /", "Go to the question line", none,
       false, [](W& w) { w.focus_question(); }},
      {"stop", "Ask", "Stop", "Esc", "Stop the answer; else dismiss notices and selections",
       Glyph::stop, false, [](W& w) { w.escape(); }},
      {"ask_again", "Ask", "Ask again", "Ctrl+R",
       "The question on screen once more, pruned as chosen now", none, false,
       [](W& w) { w.viewer().ask_again(); }},
      {"ask_painted", "Ask", "Ask with the painted patches", "Ctrl+K",
       "The question once more, with only the patches that were painted", none, false,
       [](W& w) { w.viewer().ask_with_painted(); }},
      {"compare", "Ask", "Compare with the unpruned answer", "C",
       "Show the answer with and without pruning side by side", Glyph::compare, true,
       [](W& w) { w.viewer().set_comparing(!w.viewer().comparing()); }},
      {"forget", "Ask", "New conversation", "Ctrl+N", "Forget the answers so far", none, false,
       [](W& w) { w.viewer().forget(); }},

      {"previous", "Picture", "Previous picture", "A", "Previous picture of the list",
       Glyph::previous, false, [](W& w) { w.viewer().pictures().previous(); }},
      {"next", "Picture", "Next picture", "D", "Next picture of the list", Glyph::next, false,
       [](W& w) { w.viewer().pictures().next(); }},
      {"zoom_in", "Picture", "Zoom in", "Ctrl++ | Ctrl+=", "Larger", none, false,
       [](W& w) { w.zoom_by(1.25); }},
      {"zoom_out", "Picture", "Zoom out", "Ctrl+-", "Smaller", none, false,
       [](W& w) { w.zoom_by(0.8); }},
      {"actual_size", "Picture", "100 %", "Ctrl+0", "One screen pixel for each pixel",
       Glyph::actual_size, false, [](W& w) { w.zoom_to_actual_size(); }},
      {"fit", "Picture", "Fit", "Ctrl+F", "The whole picture", Glyph::fit, false,
       [](W& w) { w.transform().fit(); }},
      {"fit_width", "Picture", "Fit width", "Ctrl+Shift+F", "The picture's whole width", none,
       false, [](W& w) { w.transform().fit_width(); }},

      {"overlay", "Look", "Overlay", "T", "Show or hide what is drawn over the picture",
       Glyph::overlay, true,
       [](W& w) { w.view().set_overlay_visible(!w.view().overlay_visible()); }},
      {"attention", "Look", "Attention", "E", "Where the chosen word looked", Glyph::attention,
       true, [](W& w) { w.view().set_lens(Lens::attention); }},
      {"kept", "Look", "Kept and pruned", "P", "Which patches survived each stage", Glyph::kept,
       true, [](W& w) { w.view().set_lens(Lens::kept); }},
      {"encoder", "Look", "Vision tower", "V", "Where the vision tower itself looks", Glyph::tower,
       true, [](W& w) { w.view().set_lens(Lens::encoder); }},
      {"paint", "Look", "Choose patches by hand", "K",
       "Paint the patches to keep, then ask again with them alone", Glyph::paint, true,
       [](W& w) { w.view().set_painting(!w.view().painting()); }},
      {"previous_word", "Look", "Previous word", "W", "Previous word of the answer", none, false,
       [](W& w) { w.view().step_token(-1); }},
      {"next_word", "Look", "Next word", "S", "Next word of the answer", none, false,
       [](W& w) { w.view().step_token(1); }},
      {"previous_layer", "Look", "Previous layer", "[", "One layer towards the picture", none,
       false, [](W& w) { w.view().step_layer(-1); }},
      {"next_layer", "Look", "Next layer", "]", "One layer towards the answer", none, false,
       [](W& w) { w.view().step_layer(1); }},
      {"previous_head", "Look", "Previous head", ",", "Through mean, largest and each head", none,
       false, [](W& w) { w.view().step_head(-1); }},
      {"next_head", "Look", "Next head", ".", "Through mean, largest and each head", none, false,
       [](W& w) { w.view().step_head(1); }},
      {"mean", "Look", "Mean of layers and heads", "M", "Back to the means", none, false,
       [](W& w) { w.view().choose(MapChoice{}); }},
      {"previous_stage", "Look", "Previous pruning stage", "Ctrl+[", "One stage back", none, false,
       [](W& w) { w.step_stage(-1); }},
      {"next_stage", "Look", "Next pruning stage", "Ctrl+]", "One stage on", none, false,
       [](W& w) { w.step_stage(1); }},
      {"smooth", "Look", "Smooth maps", "N", "Smooth between patches, or each patch flat", none,
       true, [](W& w) { w.toggle_smooth(); }},

      {"full_screen", "Window", "Full screen", "F11", "The whole screen", none, true,
       [](W& w) { w.toggle_full_screen(); }},
      {"reset_docks", "Window", "Put panels back", "", "Panels as they were at first", none, false,
       [](W& w) { w.reset_docks(); }},
      {"help", "Help", "Keys", "? | H | F1", "Every key of this window", Glyph::help, false,
       [](W& w) { w.show_keys(); }},
  };
  return table;
}

std::span<const KeyRow> key_table() {
  static const std::vector<KeyRow> table{
      {"Left, Right", "on the picture: previous, next picture; on the words: previous, next word"},
      {"1 \u2026 9", "first to ninth picture"},
      {"Home, End", "on the words: the whole answer, the last word"},
      {"Space (hold)", "the picture without overlay, for as long as it is held"},
      {"Shift+arrows", "on the picture: choose a patch"},
      {"Wheel, pinch", "zoom about the mouse"},
      {"Drag", "move the picture"},
      {"Double click", "fit the picture"},
      {"Drag, Ctrl+drag", "while choosing by hand: keep, drop the patches under the mouse"},
      {"Enter", "while choosing by hand, on the picture: keep or drop the chosen patch"},
      {"Enter", "in the question line: ask"},
  };
  return table;
}

}  // namespace fovea::gui
