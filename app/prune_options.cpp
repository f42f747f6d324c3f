#include "app/prune_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "app/option_checks.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr int kMaxLayer = 9999;
constexpr double kMaxTokens = 1e6;

// ---- Values of keys ----------------------------------------------------------------------------

template <class Number>
bool read_number(const std::string& text, Number& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size();
}

Error bad_value(const std::string& wanted, const std::string& value) {
  return make_error(ErrorCode::usage, format("must be %s, got %.60s", wanted.c_str(),
                                             value.empty() ? "nothing" : value.c_str()));
}

/// Lists are written with commas, or with plus signs where a comma already divides settings.
constexpr const char* kListDividers = ",+";

Status set_preset(PruneSetting& setting, const std::string& value) {
  if (value.empty()) return bad_value("the name of one of the method's presets", value);
  setting.request.schedule.preset = value;
  return {};
}

Status set_layers(PruneSetting& setting, const std::string& value) {
  std::vector<int> layers;
  for (const std::string& item : divided(value, kListDividers)) {
    int layer = -1;
    if (!read_number(item, layer) || layer < 0 || layer > kMaxLayer) {
      return bad_value("layer numbers from 0 on, such as 1,3", value);
    }
    layers.push_back(layer);
  }
  setting.request.schedule.layers = std::move(layers);
  return {};
}

Status set_keep(PruneSetting& setting, const std::string& value) {
  std::vector<KeepCount> counts;
  for (const std::string& item : divided(value, kListDividers)) {
    KeepCount count;
    count.is_ratio = item.find('.') != std::string::npos;
    const double most = count.is_ratio ? 1.0 : kMaxTokens;
    const bool plain = item.find_first_not_of("0123456789.") == std::string::npos;
    if (!plain || !read_number(item, count.value) || !(count.value <= most)) {
      return bad_value("counts of tokens kept, or ratios with a point, such as 200,50 or 0.35",
                       value);
    }
    counts.push_back(count);
  }
  setting.request.schedule.keep = std::move(counts);
  return {};
}

Status set_budget(PruneSetting& setting, const std::string& value) {
  double budget = 0;
  if (!read_number(value, budget) || !(budget >= 0 && budget <= kMaxTokens)) {
    return bad_value(
        "the mean number of visual tokens entering each layer, or a share of the prompt's with a "
        "point, such as 288 or 0.5",
        value);
  }
  setting.request.schedule.budget = budget;
  setting.request.schedule.budget_is_share =
      value.find('.') != std::string::npos && budget <= 1;
  return {};
}

Status set_positions(PruneSetting& setting, const std::string& value) {
  if (value != "original" && value != "compact") return bad_value("original or compact", value);
  setting.positions = value == "compact" ? PositionMode::compact : PositionMode::original;
  return {};
}

Status set_seed(PruneSetting& setting, const std::string& value) {
  if (!read_number(value, setting.request.seed)) {
    return bad_value("a whole number of at most 64 bits", value);
  }
  return {};
}

Status set_config(PruneSetting& setting, const std::string& value) {
  if (value.empty()) return bad_value("the path of a file", value);
  setting.request.config = value;
  return {};
}

Status set_debias(PruneSetting& setting, const std::string& value) {
  const auto weights = IndexWeights::parse(value);
  if (weights) {
    setting.debias.request.weights = *weights;
    return {};
  }
  // One message holds all there is to say: those of options have no other parts.
  const Error& error = weights.error();
  return make_error(ErrorCode::usage, "is not usable: " + error.message +
                                          (error.file.empty() ? "" : " (file " + error.file + ")") +
                                          (error.remedy.empty() ? "" : ". " + error.remedy));
}

Status set_debias_padding(PruneSetting& setting, const std::string& value) {
  setting.debias.padding_said = true;
  setting.debias.request.padding_theta.reset();
  if (value == "off") return {};
  double theta = 0;
  if (!read_number(value, theta) || !(theta >= 0 && theta < 1)) {
    return bad_value("off, or the share of a cell from 0 to below 1 that may be padding", value);
  }
  setting.debias.request.padding_theta = theta;
  return {};
}

Status set_debias_stages(PruneSetting& setting, const std::string& value) {
  if (value != "first" && value != "all") return bad_value("first or all", value);
  setting.debias.stages_said = true;
  setting.debias.request.stages = value == "all" ? AdjustedStages::all : AdjustedStages::first;
  return {};
}

/// A method of the vision tower, or nothing when the name is none. Errors: those of its choices.
Result<std::optional<MethodRequest>> read_tower_method(const std::string& written) {
  MethodRequest request;
  request.name = written.substr(0, written.find(':'));
  if (find_method(request.name) == nullptr) return std::optional<MethodRequest>();
  FOVEA_TRY(const auto policy, make_policy(request));
  if (!policy->in_vision_tower()) return std::optional<MethodRequest>();
  FOVEA_TRY(PruneSetting own, read_prune_setting(written, {}));
  if (own.positions || own.tower) {
    return make_error(ErrorCode::usage, "takes no positions and no vit-prune of its own");
  }
  return std::optional<MethodRequest>(std::move(own.request));
}

/// Inside a setting that ":" already divides, "@" divides the tower's.
Status set_vit_prune(PruneSetting& setting, const std::string& value) {
  setting.tower.reset();
  if (value == "none") return {};
  std::string written = value;
  std::replace(written.begin(), written.end(), '@', ':');
  FOVEA_TRY(auto method, read_tower_method(written));
  if (method) {
    setting.tower = TowerChoice{value, std::move(*method)};
    return {};
  }
  auto between_blocks = read_vit_prune_setting(written);
  if (!between_blocks) {
    return make_error(ErrorCode::usage, "is not usable: " + between_blocks.error().message + ". " +
                                            between_blocks.error().remedy + " (or visionzip)");
  }
  setting.tower = TowerChoice{value, std::move(*between_blocks)};
  return {};
}

/// What a setting may say beside its method's own options; also declares the option of that name.
struct Key {
  const char* name;
  const char* prefix;  // of the option: "--prune-" or "--"
  const char* type;
  const char* help;
  Status (*set)(PruneSetting& setting, const std::string& value);

  std::string option() const { return std::string(prefix) + name; }
};
constexpr std::array<Key, 11> kKeys{{
    {"preset", "--prune-", "NAME",
     "Layers and counts as published, moved to this model's depth and tokens", set_preset},
    {"layers", "--prune-", "LIST", "Layers at which the method cuts, counted from 0, such as 1,3",
     set_layers},
    {"keep", "--prune-", "LIST", "Visual tokens kept at each cut: counts, or ratios such as 0.35",
     set_keep},
    {"budget", "--prune-", "N",
     "Solve the counts for a mean of N visual tokens entering each layer; 0.5 is half of each "
     "prompt's",
     set_budget},
    {"positions", "--prune-", "MODE",
     "Positions after a cut: original or compact (default: the method's own)", set_positions},
    {"seed", "--prune-", "N", "Seed of methods that draw by lot (default 0)", set_seed},
    {"config", "--prune-", "FILE",
     "Calibration file of a method that reads one: a schedule (adaptinfer), a recipe (fitprune), "
     "an "
     "exit threshold (sgl)",
     set_config},
    {"debias", "--", "WEIGHTS",
     "Take the trend by index out of the scores: sigma of exp(-sigma i/(L-1)), a FILE.json of "
     "`calibrate debias`, a FILE.npy of L weights, or published ones (fastv, gqa/himap, ...)",
     set_debias},
    {"debias-padding", "--", "SHARE",
     "Scores of cells with more padding count as 0: off, or a share of the cell (default: off, and "
     "with --debias as published for the method)",
     set_debias_padding},
    {"debias-stages", "--", "WHICH", "Debias the first cut (default) or all", set_debias_stages},
    {"vit-prune", "--", "SETTING",
     "Prune in the vision tower too: visionzip, or between its blocks adaptive, topk, random or "
     "tome, with choices as --prune takes them (adaptive:thresholds=T.json, calibrated and scaled "
     "to the number of patches, not trained; topk:keep=0.8+0.6+0.4; tome:keep=0.5)",
     set_vit_prune},
}};

// ---- Settings ----------------------------------------------------------------------------------

const Key* find_key(const std::string& name) {
  const auto found =
      std::find_if(kKeys.begin(), kKeys.end(), [&](const Key& key) { return name == key.name; });
  return found == kKeys.end() ? nullptr : &*found;
}

/// Keys that mean something without a method of the decoder.
bool is_of_tower(const std::string& key) {
  return key == "vit-prune" || key == "positions";
}

bool has_option(const Method& method, const std::string& name) {
  return std::any_of(method.options.begin(), method.options.end(),
                     [&](const MethodOption& option) { return name == option.name; });
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Error unknown_method(const std::string& name) {
  std::string names = "none";
  for (const Method& method : methods()) names += ", " + std::string(method.name);
  return make_error(ErrorCode::usage, format("no pruning method is called \"%.60s\"", name.c_str()))
      .in_field("--prune")
      .with_remedy("There are: " + names);
}

Error unknown_key(const Method& method, const std::string& name) {
  std::vector<std::string> known;
  for (const Key& key : kKeys) known.emplace_back(key.name);
  for (const MethodOption& option : method.options) known.emplace_back(option.name);
  return make_error(ErrorCode::usage,
                    format("%s has no option \"%.60s\"", method.name, name.c_str()))
      .in_field("--prune")
      .with_remedy("It has: " + joined(known));
}

/// Options of sgl that have a flag of their own.
struct GuideFlag {
  const char* key;
  const char* type;
  const char* help;
};
constexpr std::array<GuideFlag, 5> kGuideFlags{{
    {"guide-layer", "F", "The large model cuts before layer int(F x layers) (default 0.4)"},
    {"guide-ratio", "F", "and keeps int(F x visual tokens) (default 0.4)"},
    {"guide-rows", "SET",
     "Rows of the guide that count: text (the paper's, the default) or from-last-visual (the "
     "released code's)"},
    {"exit-threshold", "F",
     "Take the guide's answer where its score, from 0 to 1, is above F (default: never)"},
    {"exit-by", "WHAT",
     "What is held against the threshold: score (the default), confidence or random"},
}};

bool is_guide_option(const std::string& key) {
  return std::any_of(kGuideFlags.begin(), kGuideFlags.end(),
                     [&](const GuideFlag& flag) { return key == flag.key; });
}

/// Debiasing as published takes padding out too, unless the setting says otherwise.
Status add_debiasing(PruneSetting& setting) {
  DebiasChoice& debias = setting.debias;
  if (debias.request.weights && !debias.padding_said) {
    debias.request.padding_theta = published_padding_theta(setting.request.name);
  }
  if (debias.stages_said && !debias.request.weights && !debias.request.padding_theta) {
    return make_error(ErrorCode::usage, "nothing is debiased that this could apply to")
        .in_field("--debias-stages")
        .with_remedy("Say how with --debias or --debias-padding");
  }
  FOVEA_TRY(setting.request.adjustments, debias_adjustments(debias.request, setting.request.name));
  return {};
}

std::pair<std::string, std::string> key_and_value(const std::string& text) {
  const std::size_t sign = text.find('=');
  if (sign == std::string::npos) return {text, ""};
  return {text.substr(0, sign), text.substr(sign + 1)};
}

}  // namespace

Status set_prune_key(PruneSetting& setting, const std::string& key, const std::string& value) {
  FOVEA_CHECK(find_key(key)->set(setting, value));
  setting.choices[key] = value;
  return {};
}

Result<PruneSetting> read_prune_setting(const std::string& written, const PruneOptions& options) {
  const std::vector<std::string> parts = divided(written, ":");
  PruneSetting setting;
  setting.name = written;
  const std::string& name = parts.front();
  const Method* method = find_method(name);
  if (method == nullptr && name != "none") return unknown_method(name);
  if (method != nullptr) setting.request.name = name;

  std::map<std::string, std::string> own;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const auto [key, value] = key_and_value(parts[i]);
    if (parts[i].find('=') == std::string::npos || !own.emplace(key, value).second) {
      return make_error(
                 ErrorCode::usage,
                 format("\"%.60s\" is no KEY=VALUE that was not there before", parts[i].c_str()))
          .in_field("--prune")
          .with_remedy("Write a setting as NAME:KEY=VALUE:KEY=VALUE");
    }
    if (method == nullptr && !is_of_tower(key)) {
      return make_error(ErrorCode::usage, "\"none\" takes vit-prune and positions alone")
          .in_field("--prune");
    }
    if (find_key(key) == nullptr && !has_option(*method, key)) return unknown_key(*method, key);
  }
  for (const auto& [key, value] : options.shared) {
    const bool applies = method != nullptr || is_of_tower(key);
    if (applies && !own.contains(key)) FOVEA_CHECK(set_prune_key(setting, key, value));
  }
  for (const auto& [key, value] : options.method_options) {
    if (method != nullptr && has_option(*method, key)) own.emplace(key, value);
  }
  for (const auto& [key, value] : own) {
    if (find_key(key) == nullptr) {
      setting.request.options[key] = value;
      setting.choices[key] = value;
    } else if (const Status set = set_prune_key(setting, key, value); !set) {
      return make_error(ErrorCode::usage, key + " " + set.error().message).in_field("--prune");
    }
  }
  if (method == nullptr) return setting;
  FOVEA_CHECK(add_debiasing(setting));
  FOVEA_CHECK(make_policy(setting.request));  // values of the method's own options
  return setting;
}

namespace {

/// The settings that one with lists of budgets or seeds stands for.
std::vector<std::string> expanded(const std::string& written, const PruneOptions& options) {
  std::vector<std::string> all{written};
  for (const std::string key : {"budget", "seed"}) {
    const auto shared = options.shared.find(key);
    std::vector<std::string> next;
    for (const std::string& setting : all) {
      std::vector<std::string> parts = divided(setting, ":");
      auto part = std::find_if(parts.begin() + 1, parts.end(), [&](const std::string& text) {
        return key_and_value(text).first == key;
      });
      if (part == parts.end() && parts.front() != "none" && shared != options.shared.end() &&
          divided(shared->second, kListDividers).size() > 1) {
        part = parts.insert(part, key + "=" + shared->second);
      }
      if (part == parts.end()) {
        next.push_back(setting);
        continue;
      }
      for (const std::string& value : divided(key_and_value(*part).second, kListDividers)) {
        *part = key + "=" + value;
        std::string one;
        for (const std::string& text : parts) one += (one.empty() ? "" : ":") + text;
        next.push_back(std::move(one));
      }
    }
    all = std::move(next);
  }
  return all;
}

}  // namespace

namespace {

/// The settings that --keep and --scores stand for.
Result<std::vector<PruneSetting>> settings_of_files(const PruneOptions& options) {
  struct Choice {
    const char* method;
    const std::string& file;
    const char* option;
  };
  std::vector<PruneSetting> settings;
  for (const Choice& choice : {Choice{"given_tokens", options.keep, "--keep"},
                               Choice{"given_scores", options.scores, "--scores"}}) {
    if (choice.file.empty()) continue;
    if (!options.several && (!options.written.empty() || !settings.empty())) {
      return make_error(ErrorCode::usage, "a choice of your own is a setting by itself")
          .in_field(choice.option)
          .with_remedy("Leave out --prune and --guide, and name one of --keep and --scores");
    }
    FOVEA_TRY(PruneSetting setting, read_prune_setting(choice.method, options));
    FOVEA_CHECK(set_prune_key(setting, "config", choice.file));
    FOVEA_CHECK(make_policy(setting.request));  // reads the file
    setting.name += ":config=" + choice.file;
    settings.push_back(std::move(setting));
  }
  return settings;
}

}  // namespace

Status read_prune_settings(PruneOptions& options) {
  options.settings.clear();
  if (!options.guide.empty() && options.written.empty()) options.written = {"sgl"};
  FOVEA_TRY(const auto own, settings_of_files(options));
  std::set<std::string> names;
  std::vector<std::string> asked = options.written;
  if (asked.empty() && own.empty()) asked = {"none"};
  for (const std::string& written : asked) {
    const auto each =
        options.several ? expanded(written, options) : std::vector<std::string>{written};
    for (const std::string& one : each) {
      FOVEA_TRY(PruneSetting setting, read_prune_setting(one, options));
      if (!names.insert(setting.name).second) {
        return make_error(ErrorCode::usage,
                          format("the setting \"%.60s\" was given twice", one.c_str()))
            .in_field("--prune");
      }
      options.settings.push_back(std::move(setting));
    }
  }
  options.settings.insert(options.settings.end(), own.begin(), own.end());

  const auto any = [&](auto&& holds) {
    return std::any_of(options.settings.begin(), options.settings.end(), holds);
  };
  const bool guided = any([](const PruneSetting& s) { return s.needs_guide(); });
  if (guided && options.guide.empty()) {
    return make_error(ErrorCode::usage, "sgl prunes by what a small model finds, and none is named")
        .in_field("--guide")
        .with_remedy("Name its folder with --guide DIR");
  }
  if (!guided && !options.guide.empty()) {
    return make_error(ErrorCode::usage, "a guide serves sgl, which is not what --prune names")
        .in_field("--guide")
        .with_remedy("Leave out --prune, or --guide");
  }
  for (const auto& [key, value] : options.shared) {
    if (any([&](const PruneSetting& s) { return s.prunes() || (s.tower && is_of_tower(key)); }) ||
        (key == "vit-prune" && value == "none")) {
      continue;
    }
    return make_error(ErrorCode::usage, "nothing is pruned that this could apply to")
        .in_field(find_key(key)->option())
        .with_remedy("Name a method with --prune");
  }
  for (const auto& [key, value] : options.method_options) {
    if (any([&](const PruneSetting& s) { return s.request.options.contains(key); })) continue;
    if (is_guide_option(key)) {
      return make_error(ErrorCode::usage, "there is no guide that this could apply to")
          .in_field("--" + key)
          .with_remedy("Name a small model with --guide DIR");
    }
    for (const PruneSetting& setting : options.settings) {
      if (setting.prunes()) {
        return unknown_key(*find_method(setting.request.name), key).in_field("--prune-option");
      }
    }
    return make_error(ErrorCode::usage, "nothing is pruned that this could apply to")
        .in_field("--prune-option")
        .with_remedy("Name a method with --prune");
  }
  return {};
}

// ---- Declarations ------------------------------------------------------------------------------

namespace {

std::string methods_help() {
  std::string text = "Pruning methods, their presets (* the default) and own options:\n";
  for (const Method& method : methods()) {
    text += format("  %-12s %s", method.name, method.summary);
    if (*method.paper != '\0') text += format(" (arXiv %s)", method.paper);
    text += "\n               presets:";
    for (const SchedulePreset& preset : method.presets()) {
      text += " " + preset.name + (preset.name == method.default_preset ? "*" : "");
    }
    text += "\n";
    for (const MethodOption& option : method.options) {
      text += format("               %s=%s: %s\n", option.name, option.values, option.meaning);
    }
  }
  return text;
}

}  // namespace

void add_prune_options(CLI::App& command, PruneOptions& options) {
  const std::string group = "Pruning";
  std::string help =
      "none, or a method below, alone or with its choices: NAME:KEY=VALUE:... with the names of "
      "the options here as keys (fastv:layers=2:keep=144, lists with +)";
  if (options.several) {
    help +=
        "; may be given several times, and a list of budgets or seeds makes one setting of each";
  }
  auto* prune = command.add_option("--prune", options.written, help);
  prune->allow_extra_args(false)->group(group)->type_name("SETTING");
  if (!options.several) prune->expected(1);

  for (const Key& key : kKeys) {
    const bool lists = options.several && std::string(key.name) == "budget";
    command
        .add_option_function<std::string>(
            key.option(),
            [&options, name = std::string(key.name)](const std::string& value) {
              options.shared[name] = value;
            },
            key.help)
        ->check(CLI::Validator(
            [set = key.set, lists](std::string& value) -> std::string {
              PruneSetting scratch;
              for (const std::string& one :
                   lists ? divided(value, kListDividers) : std::vector<std::string>{value}) {
                if (const Status status = set(scratch, one); !status) return status.error().message;
              }
              return "";
            },
            ""))
        ->group(group)
        ->type_name(key.type);
  }
  command
      .add_option_function<std::vector<std::string>>(
          "--prune-option",
          [&options](const std::vector<std::string>& words) {
            for (const std::string& word : words) {
              const auto [key, value] = key_and_value(word);
              options.method_options[key] = value;
            }
          },
          "An option of the method's own; may be given several times")
      ->check(CLI::Validator(
          [](std::string& word) -> std::string {
            const std::size_t sign = word.find('=');
            return sign == 0 || sign == std::string::npos ? "must be KEY=VALUE, got " + word : "";
          },
          ""))
      ->allow_extra_args(false)
      ->group(group)
      ->type_name("KEY=VALUE");
  command
      .add_option("--keep", options.keep,
                  "Keep these visual tokens, by id, and no others: a JSON list, or numbers divided "
                  "by blanks or commas (before layer 0, or that of --prune-layers)")
      ->check(non_empty("the file's name"))
      ->group(group)
      ->type_name("FILE");
  command
      .add_option("--scores", options.scores,
                  "Rank the visual tokens by these numbers, one for each id (counts as for random)")
      ->check(non_empty("the file's name"))
      ->group(group)
      ->type_name("FILE.npy");
  const std::string guide_group = "Guide (SGL)";
  command
      .add_option("--guide", options.guide,
                  "A small model of the same family that answers first and ranks the visual tokens "
                  "(means --prune sgl)")
      ->check(non_empty("the guide's folder"))
      ->group(guide_group)
      ->type_name("DIR");
  for (const GuideFlag& flag : kGuideFlags) {
    command
        .add_option_function<std::string>(
            "--" + std::string(flag.key),
            [&options, key = std::string(flag.key)](const std::string& value) {
              options.method_options[key] = value;
            },
            flag.help)
        ->group(guide_group)
        ->type_name(flag.type);
  }
  command.footer(methods_help());
}

}  // namespace fovea::app
