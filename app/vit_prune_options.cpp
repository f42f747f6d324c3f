#include "app/vit_prune_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "app/prune_keys.h"
#include "app/text.h"
#include "kernels/base/file.h"

namespace fovea::app {
namespace {

constexpr std::size_t kMaxThresholdBytes = std::size_t{1} << 20;

// ---- Values of keys ----------------------------------------------------------------------------

/// False when an item is no number.
template <class Number>
bool read_list(const std::string& value, std::vector<Number>& items) {
  items.clear();
  for (const std::string& item : divided(value, kPruneListDividers)) {
    if (!read_number(item, items.emplace_back())) return false;
  }
  return true;
}

Status set_blocks(VitPruneSetting& setting, const std::string& value) {
  const bool good = read_list(value, setting.blocks) &&
                    std::ranges::all_of(setting.blocks, [](int block) { return block >= 0; });
  if (good) return {};
  return bad_value("numbers of blocks, counted from 0, such as 4,7,10", value);
}

Status set_thresholds(VitPruneSetting& setting, const std::string& value) {
  if (value.empty()) return bad_value("thresholds such as 0.001,0.002,0.003, or a file", value);
  setting.thresholds_file.clear();
  if (read_list(value, setting.thresholds)) return {};
  setting.thresholds.clear();
  setting.thresholds_file = value;
  return {};
}

Status set_score(VitPruneSetting& setting, const std::string& value) {
  setting.state = find_vit_score_state(value);
  if (setting.state) return {};
  return bad_value("last, accu or ema", value);
}

Status set_keep(VitPruneSetting& setting, const std::string& value) {
  const bool good =
      read_list(value, setting.keep) &&
      std::ranges::all_of(setting.keep, [](double share) { return share >= 0 && share <= 1; });
  if (good) return {};
  return bad_value("shares of the patches kept after each cut, such as 0.7,0.5,0.3", value);
}

Status set_flops(VitPruneSetting& setting, const std::string& value) {
  double share = 0;
  if (read_number(value, share) && share > 0 && share <= 1) {
    setting.flops = share;
    return {};
  }
  return bad_value("the share of the unpruned work, above 0 and at most 1, such as 0.65", value);
}

Status set_merge(VitPruneSetting& setting, const std::string& value) {
  constexpr std::int64_t most = 1'000'000;
  std::vector<std::int64_t> counts;
  const bool good = read_list(value, counts) && std::ranges::all_of(counts, [](std::int64_t count) {
                      return count >= 0 && count <= most;
                    });
  if (!good) return bad_value("patches merged in each block: one number, or 16+16+8", value);
  setting.tome.merges = std::move(counts);
  return {};
}

Status set_inflect(VitPruneSetting& setting, const std::string& value) {
  double inflect = 0;
  if (!read_number(value, inflect) || !(inflect >= -1 && inflect <= 1)) {
    return bad_value("a number from -1 (most in the first blocks) to 1", value);
  }
  setting.tome.inflect = inflect;
  return {};
}

Status set_proportional(VitPruneSetting& setting, const std::string& value) {
  if (value != "on" && value != "off") return bad_value("on or off", value);
  setting.tome.proportional = value == "on";
  return {};
}

Status set_seed(VitPruneSetting& setting, const std::string& value) {
  if (read_number(value, setting.seed)) return {};
  return bad_value("a whole number of at most 64 bits", value);
}

struct Key {
  const char* name;
  const char* type;
  const char* help;
  Status (*set)(VitPruneSetting& setting, const std::string& value);
};
constexpr std::array<Key, 9> kKeys{{
    {"thresholds", "LIST|FILE",
     "Scores that patches must exceed at each cut, or a file of fovea calibrate vit (default: the "
     "checkpoint's own)",
     set_thresholds},
    {"blocks", "LIST", "Blocks before which to cut (default: 4,7,10 of twelve, to scale)",
     set_blocks},
    {"score", "STATE", "What decides: last block's scores, their sum (accu), or ema", set_score},
    {"keep", "LIST",
     "topk and random: shares of the patches kept after each cut; tome: the share left at the end",
     set_keep},
    {"flops", "SHARE",
     "topk, random and tome, in place of keep: solve for this share of the unpruned work (topk and "
     "random: the same share of what is there at each cut)",
     set_flops},
    {"merge", "LIST", "tome, in place of keep: patches merged in each block, or block by block",
     set_merge},
    {"inflect", "F",
     "tome, with one number of merge: from -1, most in the first blocks, to 1 (default 0)",
     set_inflect},
    {"proportional", "on|off",
     "tome: a merged token draws attention by its size (default on, as for ViT and DeiT)",
     set_proportional},
    {"seed", "N", "random: seed of the draw (default 0)", set_seed},
}};

const Key* find_key(const std::string& name) {
  const auto* found = std::ranges::find(kKeys, name, &Key::name);
  return found == kKeys.end() ? nullptr : found;
}

struct NamedRule {
  const char* name;
  VitKeepRule rule;
  const char* help;
  std::string_view keys;  // it makes use of
  bool merges = false;
};
constexpr std::array<NamedRule, 5> kRules{{
    {"adaptive", VitKeepRule::threshold,
     "each picture keeps the patches above the thresholds (arXiv 2209.13802)",
     "thresholds blocks score"},
    {"adaptive-batch", VitKeepRule::batch_average,
     "the same, every picture of a batch keeping the mean count of its best, as the published code "
     "does",
     "thresholds blocks score"},
    {"topk", VitKeepRule::top_k, "every picture keeps the same share, the best by the same scores",
     "keep flops blocks score"},
    {"random", VitKeepRule::random, "every picture keeps the same share, by lot",
     "keep flops blocks seed"},
    {"tome", VitKeepRule::top_k,
     "in every block the patches most alike become one (arXiv 2210.09461)",
     "keep flops merge inflect proportional", true},
}};

bool counts(VitKeepRule rule) {
  return rule == VitKeepRule::top_k || rule == VitKeepRule::random;
}

const NamedRule* find_rule(const std::string& written) {
  const auto* rule =
      std::ranges::find(kRules, written.substr(0, written.find(':')), &NamedRule::name);
  return rule == kRules.end() ? nullptr : rule;
}

/// Which keys a rule makes use of.
bool uses(const NamedRule& rule, const std::string& key) {
  const std::string words = " " + std::string(rule.keys) + " ";
  return words.find(" " + key + " ") != std::string::npos;
}

/// A way of saying how many are left, and one alone. Errors: usage.
Status check_counts(const NamedRule& rule, const VitPruneSetting& setting) {
  const int said = (setting.keep.empty() ? 0 : 1) + (setting.flops ? 1 : 0) +
                   (setting.tome.merges.empty() ? 0 : 1);
  if (said != 1) {
    return make_error(ErrorCode::usage,
                      format("%s needs one way of saying how many patches are left", rule.name))
        .in_field("--vit-prune")
        .with_remedy(rule.merges ? "Write, for example, tome:keep=0.5, tome:flops=0.65 or "
                                   "tome:merge=16"
                                 : "Write, for example, " + std::string(rule.name) +
                                       ":keep=0.7+0.5+0.3 or " + rule.name + ":flops=0.65");
  }
  if (rule.merges && setting.keep.size() > 1) {
    return make_error(ErrorCode::usage, "tome keeps one share of the patches, at the end")
        .in_field("--vit-prune");
  }
  if (rule.merges && setting.tome.inflect != 0 && setting.tome.merges.size() != 1) {
    return make_error(ErrorCode::usage, "an inflection bends one number of merges")
        .in_field("--vit-prune")
        .with_remedy("Write, for example, tome:merge=16:inflect=-1");
  }
  return {};
}

// ---- Settings ----------------------------------------------------------------------------------

Result<VitPruneSetting> read_setting(const std::string& written,
                                     const std::map<std::string, std::string>& shared) {
  const std::vector<std::string> parts = divided(written, ":");
  VitPruneSetting setting;
  setting.name = written;
  if (parts.size() == 1 && parts.front() == "none") return setting;
  const NamedRule* rule = find_rule(parts.front());
  if (rule == nullptr) {
    std::string names = "none";
    for (const NamedRule& known : kRules) names += std::string(", ") + known.name;
    return make_error(ErrorCode::usage,
                      format("no way of pruning a ViT is called \"%.60s\"", parts.front().c_str()))
        .in_field("--vit-prune")
        .with_remedy("There are: " + names);
  }
  setting.prunes = true;
  setting.rule = rule->rule;
  setting.merges = rule->merges;
  const auto says_how_many = [](const std::string& key) {
    return key == "keep" || key == "flops" || key == "merge";
  };
  const bool own_number = std::any_of(parts.begin() + 1, parts.end(), [&](const std::string& part) {
    return says_how_many(part.substr(0, part.find('=')));
  });
  for (const auto& [key, value] : shared) {
    if (own_number && says_how_many(key)) continue;
    if (uses(*rule, key)) FOVEA_CHECK(find_key(key)->set(setting, value));
  }
  std::set<std::string> said;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t sign = parts[i].find('=');
    const std::string key = parts[i].substr(0, sign);
    const Key* known = find_key(key);
    if (sign == std::string::npos || known == nullptr || !uses(*rule, key) ||
        !said.insert(key).second) {
      std::string keys;
      for (const Key& each : kKeys) {
        if (uses(*rule, each.name)) keys += (keys.empty() ? "" : ", ") + std::string(each.name);
      }
      return make_error(ErrorCode::usage,
                        format("%s makes nothing of \"%.60s\"", rule->name, parts[i].c_str()))
          .in_field("--vit-prune")
          .with_remedy("Write NAME:KEY=VALUE with each KEY once; it has: " + keys);
    }
    if (const Status set = known->set(setting, parts[i].substr(sign + 1)); !set) {
      return make_error(ErrorCode::usage, key + " " + set.error().message).in_field("--vit-prune");
    }
  }
  if (counts(setting.rule)) FOVEA_CHECK(check_counts(*rule, setting));
  return setting;
}

/// The line's thresholds, its file's or the checkpoint's, with their blocks.
Result<VitThresholds> find_thresholds(const VitPruneSetting& setting, const VitEncoder& encoder,
                                      const WeightFiles* checkpoint, std::string& from) {
  VitThresholds found;
  if (!setting.thresholds.empty()) {
    from = "command line";
    found.thresholds = setting.thresholds;
    found.blocks = setting.blocks.empty() ? default_vit_cuts(encoder.run_layers()) : setting.blocks;
  } else if (!setting.thresholds_file.empty()) {
    from = setting.thresholds_file;
    FOVEA_TRY(found, read_vit_thresholds(setting.thresholds_file));
    if (!setting.blocks.empty()) found.blocks = setting.blocks;
  } else {
    from = "checkpoint";
    std::optional<VitThresholds> own;
    if (checkpoint != nullptr) {
      FOVEA_TRY(own, checkpoint_vit_thresholds(*checkpoint, encoder.config(), setting.blocks));
    }
    if (!own) {
      return make_error(ErrorCode::usage, "the checkpoint holds no thresholds")
          .in_field("--vit-prune")
          .with_remedy(
              "Find some with `fovea calibrate vit` and write --vit-prune "
              "adaptive:thresholds=FILE");
    }
    found = std::move(*own);
  }
  if (found.blocks.size() != found.thresholds.size()) {
    return make_error(ErrorCode::usage, format("%zu thresholds for %zu cuts",
                                               found.thresholds.size(), found.blocks.size()))
        .in_field("--vit-prune")
        .with_remedy("Name as many blocks, or as many thresholds");
  }
  return found;
}

}  // namespace

Result<VitThresholds> read_vit_thresholds(const std::string& path) {
  FOVEA_TRY(const std::string text, read_file(path, kMaxThresholdBytes));
  auto json = parse_json(text);
  if (!json) return std::move(json).error().in_file(path);
  return parse_vit_thresholds(*json, path);
}

namespace {

/// checkpoint: where thresholds may lie; null: nowhere.
Result<VitPruneSetup> setup_for(const VitPruneSetting& setting, const VitEncoder& encoder,
                                const WeightFiles* checkpoint) {
  VitPruneSetup setup;
  if (!setting.prunes) return setup;
  const int layers = encoder.run_layers();
  const VitConfig& config = encoder.config();
  if (setting.merges) {
    ToMeSettings tome = setting.tome;
    if (!setting.keep.empty()) tome.keep = setting.keep.front();
    if (setting.flops) {
      auto keep =
          tome_keep_for_work(vit_work(config), layers, config.prefix_tokens(), *setting.flops);
      if (!keep) return std::move(keep).error().in_field("--vit-prune");
      tome.keep = *keep;
    }
    auto merges = tome_merges(tome, layers, config.patches(), config.prefix_tokens());
    if (!merges) return std::move(merges).error().in_field("--vit-prune");
    setup.tome = std::move(tome);
    return setup;
  }
  VitPruneSettings settings;
  if (counts(setting.rule)) {
    const std::vector<int> blocks =
        setting.blocks.empty() ? default_vit_cuts(layers) : setting.blocks;
    std::vector<double> shares = setting.keep;
    if (setting.flops) {
      auto solved =
          keep_for_work(vit_work(config), blocks, layers, config.prefix_tokens(), *setting.flops);
      if (!solved) return std::move(solved).error().in_field("--vit-prune");
      shares = std::move(*solved);
    }
    if (blocks.size() != shares.size()) {
      return make_error(ErrorCode::usage,
                        format("%zu shares to keep for %zu cuts", shares.size(), blocks.size()))
          .in_field("--vit-prune")
          .with_remedy("Name as many blocks, or as many shares");
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      settings.cuts.push_back({.block = blocks[i], .threshold = 0, .keep_share = shares[i]});
    }
  } else {
    FOVEA_TRY(const VitThresholds thresholds,
              find_thresholds(setting, encoder, checkpoint, setup.thresholds_from));
    settings = thresholds.settings_for(encoder.config().patches());
  }
  settings.rule = setting.rule;
  settings.seed = setting.seed;
  if (setting.state) settings.state = *setting.state;
  if (const Status checked = check_vit_prune(settings, layers); !checked) {
    Error error = checked.error();
    return error.in_field("--vit-prune");
  }
  setup.settings = std::move(settings);
  return setup;
}

}  // namespace

Result<VitPruneSetup> make_vit_prune_setup(const VitPruneSetting& setting,
                                           const VitClassifier& model) {
  return setup_for(setting, model.encoder(), &model.weights());
}

Result<VitPruneSetup> make_vit_prune_setup(const VitPruneSetting& setting,
                                           const VitEncoder& tower) {
  return setup_for(setting, tower, nullptr);
}

Result<VitPruneSetting> read_vit_prune_setting(const std::string& written) {
  return read_setting(written, {});
}

Status read_vit_prune_settings(VitPruneOptions& options) {
  options.settings.clear();
  for (const std::string& written : options.written) {
    FOVEA_TRY(VitPruneSetting setting, read_setting(written, options.shared));
    options.settings.push_back(std::move(setting));
  }
  if (options.settings.empty()) options.settings.emplace_back();
  for (const auto& [key, value] : options.shared) {
    const bool used = std::ranges::any_of(options.settings, [&](const VitPruneSetting& setting) {
      const NamedRule* rule = find_rule(setting.name);
      return rule != nullptr && uses(*rule, key);
    });
    if (used) continue;
    return make_error(ErrorCode::usage, "nothing is pruned that this could apply to")
        .in_field("--vit-prune-" + key)
        .with_remedy("Name a way of pruning with --vit-prune");
  }
  return {};
}

// ---- Declarations ------------------------------------------------------------------------------

void add_vit_prune_options(CLI::App& command, VitPruneOptions& options) {
  const std::string group = "Pruning inside the ViT";
  command
      .add_option("--vit-prune", options.written,
                  "none, or a way below, alone or with its choices: NAME:KEY=VALUE:... with the "
                  "names of the options here as keys (lists with +); may be given several times")
      ->allow_extra_args(false)
      ->group(group)
      ->type_name("SETTING");
  for (const Key& key : kKeys) {
    const auto* set = &key.set;
    command
        .add_option_function<std::string>(
            "--vit-prune-" + std::string(key.name),
            [&options, name = std::string(key.name)](const std::string& value) {
              options.shared[name] = value;
            },
            key.help)
        ->check(CLI::Validator(
            [set](std::string& value) -> std::string {
              VitPruneSetting scratch;
              const Status status = (*set)(scratch, value);
              return status ? "" : status.error().message;
            },
            ""))
        ->group(group)
        ->type_name(key.type);
  }
  std::string text = "Ways of pruning inside the ViT:\n";
  for (const NamedRule& rule : kRules) text += format("  %-15s %s\n", rule.name, rule.help);
  command.footer(text);
}

}  // namespace fovea::app
