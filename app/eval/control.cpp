#include "app/eval/control.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "app/eval/random.h"
#include "app/text.h"
#include "pruning/draw.h"
#include "pruning/methods/given_tokens.h"

namespace fovea::app {
namespace {

constexpr std::uint64_t kShuffleSeed = 1;
constexpr std::uint64_t kLotSeed = 1;
constexpr double kCommonWord = 0.05;       // of a category's questions
constexpr std::size_t kSmallestForm = 10;  // questions

struct Row {
  const char* name;
  Control::Kind kind;
  bool cuts;
};
constexpr std::array<Row, 5> kControls{{{"majority", Control::Kind::majority, false},
                                        {"shuffled", Control::Kind::shuffled, false},
                                        {"no-visual", Control::Kind::no_visual, true},
                                        {"evidence-only", Control::Kind::evidence_only, true},
                                        {"drop-evidence", Control::Kind::drop_evidence, true}}};

/// Lower-case words in order.
std::vector<std::string> words_in(const std::string& text) {
  std::vector<std::string> words;
  for (const std::string& piece : divided(normalised_answer(text), " ")) {
    const std::string word = normalised_answer(piece);
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

/// The form of each question: its category and its common words.
std::vector<std::string> forms_of(const std::vector<EvalItem>& items) {
  std::map<std::string, std::map<std::string, std::size_t>> having;  // category, word
  std::map<std::string, std::size_t> in_category;
  for (const EvalItem& item : items) {
    const auto words = words_in(item.text);
    for (const std::string& word : std::set<std::string>(words.begin(), words.end())) {
      ++having[item.category][word];
    }
    ++in_category[item.category];
  }
  std::vector<std::string> forms;
  std::map<std::string, std::size_t> in_form;
  for (const EvalItem& item : items) {
    const double least = kCommonWord * static_cast<double>(in_category[item.category]);
    std::string form = item.category + "\n";
    for (const std::string& word : words_in(item.text)) {
      if (static_cast<double>(having[item.category][word]) >= least) form += word + " ";
    }
    ++in_form[form];
    forms.push_back(std::move(form));
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (in_form[forms[i]] < kSmallestForm) forms[i] = items[i].category;
  }
  return forms;
}

}  // namespace

Result<Control> read_control(const std::string& written) {
  const std::vector<std::string> parts = divided(written, ":");
  const auto row = std::find_if(kControls.begin(), kControls.end(),
                                [&](const Row& known) { return parts.front() == known.name; });
  if (row == kControls.end()) {
    std::string names;
    for (const Row& known : kControls)
      names += (names.empty() ? "" : ", ") + std::string(known.name);
    return make_error(ErrorCode::usage,
                      format("no control is called \"%.60s\"", parts.front().c_str()))
        .in_field("--control")
        .with_remedy("There are: " + names);
  }
  Control control;
  control.name = written;
  control.kind = row->kind;
  PruneSetting setting;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t sign = parts[i].find('=');
    const std::string key = parts[i].substr(0, sign);
    const bool known = row->cuts && sign != std::string::npos &&
                       (key == "layers" || key == "positions" || key == "budget");
    if (!known) {
      return make_error(ErrorCode::usage,
                        format("%s has no option \"%.60s\"", row->name, parts[i].c_str()))
          .in_field("--control")
          .with_remedy(row->cuts ? "It has: layers=L, budget=N, positions=original|compact"
                                 : "It stands alone");
    }
    if (const Status set = set_prune_key(setting, key, parts[i].substr(sign + 1)); !set) {
      return make_error(ErrorCode::usage, key + " " + set.error().message).in_field("--control");
    }
  }
  const std::vector<int>& layers = setting.request.schedule.layers;
  if (layers.size() > 1) {
    return make_error(ErrorCode::usage, "a control cuts once, before one layer")
        .in_field("--control");
  }
  if (!layers.empty()) control.layer = layers.front();
  control.budget = setting.request.schedule.budget;
  control.budget_is_share = setting.request.schedule.budget_is_share;
  if (control.budget && !layers.empty() && control.kind == Control::Kind::no_visual) {
    return make_error(ErrorCode::usage, "no-visual reaches a budget by the layer of its cut")
        .in_field("--control")
        .with_remedy("Name layers or a budget");
  }
  control.positions = setting.positions;
  return control;
}

namespace {

double budget_tokens(const Control& control, const ControlPrompt& prompt) {
  return *control.budget *
         (control.budget_is_share ? static_cast<double>(prompt.visual) : 1.0);
}

/// Tokens kept before the control's layer for a mean of its budget entering each layer.
Result<std::int64_t> kept_for_budget(const Control& control, const ControlPrompt& prompt) {
  const double before = static_cast<double>(control.layer) * static_cast<double>(prompt.visual);
  const double behind = prompt.layers - control.layer;
  const double wanted = budget_tokens(control, prompt) * prompt.layers - before;
  const double kept = behind > 0 ? std::round(wanted / behind) : -1;
  if (!(kept >= 0) || kept > static_cast<double>(prompt.visual)) {
    return make_error(
               ErrorCode::usage,
               format("%s is out of reach: with a cut before layer %d the mean lies between "
                      "%.1f and %lld",
                      control.name.c_str(), control.layer, before / std::max(1, prompt.layers),
                      static_cast<long long>(prompt.visual)))
        .in_field("--control");
  }
  return static_cast<std::int64_t>(kept);
}

/// `first`, as many as fit, filled up from `others`, both by lot. Ascending.
std::vector<std::int32_t> drawn_up_to(const std::vector<std::int32_t>& first,
                                      const std::vector<std::int32_t>& others, std::int64_t count,
                                      std::uint64_t key) {
  const auto by_lot = [&](std::vector<std::int32_t> ids, std::size_t most) {
    const auto end = ids.begin() + static_cast<std::ptrdiff_t>(std::min(most, ids.size()));
    std::partial_sort(ids.begin(), end, ids.end(), [&](std::int32_t a, std::int32_t b) {
      const auto lot = [&](std::int32_t id) { return drawn(key, static_cast<std::uint64_t>(id)); };
      return lot(a) < lot(b);
    });
    ids.erase(end, ids.end());
    return ids;
  };
  const auto room = static_cast<std::size_t>(count);
  std::vector<std::int32_t> ids = by_lot(first, room);
  const std::vector<std::int32_t> more = by_lot(others, room - ids.size());
  ids.insert(ids.end(), more.begin(), more.end());
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

Result<std::optional<PruneSetup>> control_setup(const Control& control, const EvalItem& item,
                                                const ControlPrompt& prompt) {
  PruneSetup setup;
  setup.positions = control.positions;
  const auto cut = [&](std::vector<std::int32_t> ids, GivenTokens::Named named, int layer) {
    setup.policy = std::make_shared<GivenTokens>(std::move(ids), named, layer);
  };
  if (control.kind == Control::Kind::majority || control.kind == Control::Kind::shuffled) {
    return std::optional<PruneSetup>(std::move(setup));
  }
  if (control.kind == Control::Kind::no_visual) {
    int layer = control.layer;
    if (control.budget && prompt.visual > 0) {
      layer = static_cast<int>(
          std::lround(budget_tokens(control, prompt) /
                                           static_cast<double>(prompt.visual) * prompt.layers));
    }
    // Behind the last layer nothing is left to cut.
    if (layer < prompt.layers || !control.budget) cut({}, GivenTokens::Named::kept, layer);
    return std::optional<PruneSetup>(std::move(setup));
  }
  if (!item.has_evidence()) return std::optional<PruneSetup>();
  const bool only = control.kind == Control::Kind::evidence_only;
  if (!control.budget) {
    cut(*item.evidence, only ? GivenTokens::Named::kept : GivenTokens::Named::dropped,
        control.layer);
    return std::optional<PruneSetup>(std::move(setup));
  }
  FOVEA_TRY(const std::int64_t kept, kept_for_budget(control, prompt));
  std::vector<std::int32_t> others;
  for (std::int32_t id = 0; id < prompt.visual; ++id) {
    if (!std::binary_search(item.evidence->begin(), item.evidence->end(), id)) others.push_back(id);
  }
  const std::uint64_t key = draw_key(kLotSeed, item.line);
  const std::vector<std::int32_t> first = only ? *item.evidence : std::vector<std::int32_t>();
  cut(drawn_up_to(first, others, kept, key), GivenTokens::Named::kept, control.layer);
  return std::optional<PruneSetup>(std::move(setup));
}

std::vector<std::vector<std::string>> shuffled_pictures(const std::vector<EvalItem>& items) {
  // Every list of pictures gets the next one of a seeded order, among lists of its length.
  std::map<std::size_t, std::vector<std::vector<std::string>>> lists;
  std::set<std::vector<std::string>> seen;
  for (const EvalItem& item : items) {
    if (!item.error && !item.images.empty() && seen.insert(item.images).second) {
      lists[item.images.size()].push_back(item.images);
    }
  }
  std::map<std::vector<std::string>, std::vector<std::string>> other;
  RandomStream random(kShuffleSeed);
  for (auto& [count, order] : lists) {
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    for (std::size_t i = 0; i < order.size() && order.size() > 1; ++i) {
      other[order[i]] = order[(i + 1) % order.size()];
    }
  }
  std::vector<std::vector<std::string>> shuffled;
  for (const EvalItem& item : items) {
    const auto found = other.find(item.images);
    shuffled.push_back(found == other.end() ? std::vector<std::string>() : found->second);
  }
  return shuffled;
}

std::vector<std::string> majority_answers(const std::vector<EvalItem>& items) {
  const std::vector<std::string> forms = forms_of(items);
  std::map<std::string, std::map<std::string, std::size_t>> counts;  // form, answer
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].label.accepted.empty()) {
      ++counts[forms[i]][normalised_answer(items[i].label.accepted.front())];
    }
  }
  std::vector<std::string> answers;
  for (const std::string& form : forms) {
    const auto& known = counts[form];
    const auto most =
        std::max_element(known.begin(), known.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    answers.push_back(most == known.end() ? "" : most->first);
  }
  return answers;
}

}  // namespace fovea::app
