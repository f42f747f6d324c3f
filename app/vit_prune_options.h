#pragma once
// How pruning inside a classifying ViT is asked for: one method with its choices, written
// NAME[:KEY=VALUE...] ("adaptive:thresholds=T.json", "topk:keep=0.7+0.5+0.3"), so that one line can
// compare several; --vit-prune-KEY says the same for all settings of a line that do not say it.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "vision/adaptive_vit.h"
#include "vision/classifier.h"
#include "vision/tome_merger.h"

namespace CLI {
class App;
}

namespace fovea::app {

/// One setting, checked as far as that goes without a model.
struct VitPruneSetting {
  std::string name = "none";  // as it was written: what tables and JSON call it
  bool prunes = false;
  VitKeepRule rule = VitKeepRule::threshold;
  bool merges = false;                 // ToMe: no rule holds
  std::vector<int> blocks;             // empty: the checkpoint's, the file's, or the default
  std::vector<double> thresholds;      // of the line itself
  std::string thresholds_file;         // or of a file
  std::optional<VitScoreState> state;  // none: the file's, or last
  std::vector<double> keep;            // shares, of rules that count; ToMe: the one at the end
  std::optional<double> flops;         // or the share of the unpruned work that gives them
  ToMeSettings tome;
  std::uint64_t seed = 0;
};

struct VitPruneOptions {
  std::vector<std::string> written;           // --vit-prune, in order
  std::map<std::string, std::string> shared;  // KEY and VALUE of each --vit-prune-KEY

  /// Filled by read_vit_prune_settings(): at least one, "none" when the line does not say.
  std::vector<VitPruneSetting> settings;
};

/// Declares --vit-prune and its companions. `options` must outlive the parsing.
void add_vit_prune_options(CLI::App& command, VitPruneOptions& options);

/// Errors: usage, naming what there is (methods, keys, values), and for companions that no setting
/// makes use of.
Status read_vit_prune_settings(VitPruneOptions& options);

/// One setting by itself, for commands that declare --vit-prune on their own. Errors: as below.
Result<VitPruneSetting> read_vit_prune_setting(const std::string& written);

/// A setting ready to run: nothing for "none".
struct VitPruneSetup {
  std::optional<VitPruneSettings> settings;
  std::optional<ToMeSettings> tome;
  std::string
      thresholds_from;  // "checkpoint", "command line", the file's name; empty: no thresholds
};

/// Thresholds are those of the line, else of its file, else of the checkpoint. Errors: usage (no
/// thresholds anywhere, counts that disagree, blocks the model does not have), those of reading the
/// file.
Result<VitPruneSetup> make_vit_prune_setup(const VitPruneSetting& setting,
                                           const VitClassifier& model);
/// The same for the tower of a vision-language model, whose checkpoint holds no thresholds.
Result<VitPruneSetup> make_vit_prune_setup(const VitPruneSetting& setting, const VitEncoder& tower);

/// Reads a file of thresholds. Errors: not_found, io, too_large, bad_input.
Result<VitThresholds> read_vit_thresholds(const std::string& path);

}  // namespace fovea::app
