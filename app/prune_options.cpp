#include "app/prune_options.h"

#include <algorithm>
#include <array>
#include <set>

#include "app/option_checks.h"
#include "app/prune_keys.h"
#include "app/text.h"

namespace fovea::app {
namespace {

// ---- Settings ----------------------------------------------------------------------------------

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
  for (const PruneKey& key : prune_keys()) known.emplace_back(key.name);
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
  FOVEA_CHECK(find_prune_key(key)->set(setting, value));
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
    if (find_prune_key(key) == nullptr && !has_option(*method, key))
      return unknown_key(*method, key);
  }
  for (const auto& [key, value] : options.shared) {
    const bool applies = method != nullptr || is_of_tower(key);
    if (applies && !own.contains(key)) FOVEA_CHECK(set_prune_key(setting, key, value));
  }
  for (const auto& [key, value] : options.method_options) {
    if (method != nullptr && has_option(*method, key)) own.emplace(key, value);
  }
  for (const auto& [key, value] : own) {
    if (find_prune_key(key) == nullptr) {
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
          divided(shared->second, kPruneListDividers).size() > 1) {
        part = parts.insert(part, key + "=" + shared->second);
      }
      if (part == parts.end()) {
        next.push_back(setting);
        continue;
      }
      for (const std::string& value : divided(key_and_value(*part).second, kPruneListDividers)) {
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
        .in_field(find_prune_key(key)->option())
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

  for (const PruneKey& key : prune_keys()) {
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
                   lists ? divided(value, kPruneListDividers) : std::vector<std::string>{value}) {
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
