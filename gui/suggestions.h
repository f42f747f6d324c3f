#pragma once
// Questions worth trying about a picture.

#include <QStringList>

namespace fovea::gui {

/// Those that samples.jsonl beside the picture lists for it ({"image", "question"} a line), else a
/// few that fit any picture. A list that cannot be read counts as absent.
QStringList suggested_questions(const QString& picture_path);

}  // namespace fovea::gui
