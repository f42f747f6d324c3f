#include "app/option_checks.h"

#include <algorithm>

#include "app/text.h"

namespace fovea::app {

CLI::Validator in_range(double low, double high) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high) return {};
        return "must be a number from " + CLI::detail::to_string(low) + " to " +
               CLI::detail::to_string(high) + ", got " + text;
      },
      "");
}

CLI::Validator whole_number(std::uint64_t low, std::uint64_t high) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        std::uint64_t value = 0;
        if (read_number(text, value) && value >= low && value <= high) return {};
        return "must be a whole number from " + std::to_string(low) + " to " +
               std::to_string(high) + ", got " + text;
      },
      "");
}

CLI::Validator non_empty(const std::string& what) {
  return CLI::Validator(
      [=](std::string& text) -> std::string { return text.empty() ? what + " is empty" : ""; }, "");
}

CLI::Validator device_name() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        if (text == "auto" || text == "cpu" || text == "cuda") return {};
        const std::string prefix = "cuda:";
        const bool indexed = text.rfind(prefix, 0) == 0 && text.size() > prefix.size() &&
                             text.size() <= prefix.size() + 3 &&
                             std::all_of(text.begin() + static_cast<std::ptrdiff_t>(prefix.size()),
                                         text.end(), [](char c) { return c >= '0' && c <= '9'; });
        return indexed ? "" : "must be auto, cpu, cuda or cuda:N, got " + text;
      },
      "");
}

CLI::Validator one_of(std::vector<std::string> choices) {
  std::string list;
  for (const std::string& choice : choices) list += (list.empty() ? "" : "|") + choice;
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        if (std::find(choices.begin(), choices.end(), text) != choices.end()) return {};
        return "must be one of " + list + ", got " + text;
      },
      "");
}

}  // namespace fovea::app
