#pragma once
// How pruning is asked for. A setting is one method with its choices, written NAME[:KEY=VALUE...]
// ("fastv:layers=2:keep=144"), so that one line can carry several; --prune-KEY (and --debias with
// its companions) says the same for all settings of a line that do not say it themselves.

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "app/vit_prune_options.h"
#include "kernels/base/error.h"
#include "pruning/debias.h"
#include "pruning/method.h"

namespace CLI {
class App;
}

namespace fovea::app {

/// What a setting says about debiasing.
struct DebiasChoice {
  DebiasRequest request;
  bool padding_said = false, stages_said = false;
};

/// Pruning in the vision tower beside the method's own: a method that acts there, or a way of
/// pruning between the tower's blocks.
struct TowerChoice {
  std::string name;  // as it was written
  std::variant<MethodRequest, VitPruneSetting> choice;
};

/// One setting, checked as far as that goes without a model and a prompt.
struct PruneSetting {
  std::string name = "none";              // as it was written: what tables and JSON call it
  MethodRequest request;                  // its name is empty for "none"
  std::optional<PositionMode> positions;  // the method's own when nobody says
  DebiasChoice debias;                    // already in request.adjustments
  /// Everything that was said about it, shared options included: KEY and VALUE.
  std::map<std::string, std::string> choices;
  std::optional<TowerChoice> tower;  // none: the vision tower runs whole

  bool prunes() const { return !request.name.empty(); }
  /// A small model must answer first.
  bool needs_guide() const { return request.name == "sgl"; }
};

/// What a line says about pruning.
struct PruneOptions {
  std::vector<std::string> written;                   // --prune, in order
  std::map<std::string, std::string> shared;          // KEY and VALUE of each option with a KEY
  std::map<std::string, std::string> method_options;  // --prune-option KEY=VALUE, --guide-KEY
  std::string keep, scores;                           // --keep, --scores: files; empty: none
  std::string guide;                                  // --guide: a model folder; empty: none
  bool several = false;                               // settings are allowed

  /// Filled by read_prune_settings(): at least one, "none" when the line does not say.
  std::vector<PruneSetting> settings;
};

/// Declares --prune and its companions, and lists the methods below the command's help. `options`
/// must outlive the parsing; its `several` says whether --prune may be given several times.
void add_prune_options(CLI::App& command, PruneOptions& options);

/// Reads one setting; what `options` says for all settings applies where the setting does not say
/// it. Errors: usage, naming what there is (methods, keys, a method's own options, values).
Result<PruneSetting> read_prune_setting(const std::string& written, const PruneOptions& options);

/// What `--prune-KEY VALUE` says, for one setting. Precondition: preset, layers, keep, budget,
/// positions or seed. Errors: usage, "must be ..., got ...".
Status set_prune_key(PruneSetting& setting, const std::string& key, const std::string& value);

/// Fills options.settings from --prune. Where several are allowed, a list of budgets or seeds makes
/// one setting of each: "random:budget=288+192:seed=1+2" is four. A guide
/// alone means sgl. Errors: those of read_prune_setting, and usage for companions that no setting
/// makes use of, for settings given twice, for sgl without a guide and for a guide without sgl.
Status read_prune_settings(PruneOptions& options);

}  // namespace fovea::app
