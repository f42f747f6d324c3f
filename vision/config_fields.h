#pragma once
// Typed reading of a model's JSON configuration: absent (or null) fields take a default, anything
// else is checked and refused by name.

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/base/error.h"
#include "kernels/base/json.h"

namespace fovea {

/// Views one object of a configuration file. `object` must outlive it.
class ConfigFields {
 public:
  /// prefix: where the object lies in the file, "vision_config." for example.
  ConfigFields(const Json& object, std::string file, std::string prefix = "")
      : object_(&object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  /// The member, or null when it is absent or null.
  const Json* find(std::string_view name) const;
  Result<bool> boolean(std::string_view name, bool absent) const;
  Result<std::int64_t> integer(std::string_view name, std::int64_t absent, std::int64_t low,
                               std::int64_t high) const;
  /// A finite number in [low, high].
  Result<double> number(std::string_view name, double absent, double low, double high) const;
  Result<std::string> text(std::string_view name, const std::string& absent) const;

  /// An error of this field: bad_model unless said otherwise.
  Error error(std::string_view name, std::string message,
              ErrorCode code = ErrorCode::bad_model) const;

 private:
  const Json* object_;
  std::string file_;
  std::string prefix_;
};

}  // namespace fovea
