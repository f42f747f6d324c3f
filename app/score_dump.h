#pragma once
// --dump-scores: the scores behind every cut of an answer, as .npy files.

#include <memory>
#include <string>

#include "app/prune_options.h"
#include "pruning/score_record.h"
#include "vlm/session.h"

namespace fovea::app {

/// Makes the setting write down its scores; null where it ranks by none. Errors: those of
/// make_policy().
Result<std::shared_ptr<ScoreRecord>> record_scores(PruneSetting& setting);

/// Writes FOLDER/stage-1-before-3.npy and so on (the number of the cut, where it acts, its layer):
/// float32 [visual tokens of the prompt], as ranked, debiasing included; not a number for tokens
/// that earlier cuts dropped. The folder is made. Forgets the scores. Errors: io.
Status write_scores(const std::string& folder, ScoreRecord& record, const Answer& answer);

/// A name that a file or folder may have: everything but letters, digits and . _ = + - becomes -.
std::string file_name(const std::string& name);

}  // namespace fovea::app
