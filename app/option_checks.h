#pragma once
// Checks of single option values, shared by the files that declare options. Each answers with what
// would have been right, and with what was given.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace fovea::app {

/// Accepts numbers in [low, high]. CLI::Range lets not-a-number through.
CLI::Validator in_range(double low, double high);
/// Accepts decimal digits alone: CLI11 reads -1 as the largest unsigned number and cuts off what
/// does not fit.
CLI::Validator whole_number(std::uint64_t low, std::uint64_t high);
CLI::Validator non_empty(const std::string& what);
/// auto, cpu, cuda or cuda:N.
CLI::Validator device_name();
CLI::Validator one_of(std::vector<std::string> choices);

}  // namespace fovea::app
