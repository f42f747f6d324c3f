#include "vision/config_fields.h"

#include <cmath>
#include <utility>

namespace fovea {

namespace {

/// What stands in the file, short enough for a message.
std::string excerpt(const Json& value) {
  std::string text = value.dump();
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

}  // namespace

const Json* ConfigFields::find(std::string_view name) const {
  const Json* member = object_->find(name);
  return member != nullptr && !member->is_null() ? member : nullptr;
}

Error ConfigFields::error(std::string_view name, std::string message, ErrorCode code) const {
  return make_error(code, std::move(message)).in_file(file_).in_field(prefix_ + std::string(name));
}

Result<bool> ConfigFields::boolean(std::string_view name, bool absent) const {
  const Json* member = find(name);
  if (member == nullptr) return absent;
  if (!member->is_bool()) return error(name, "expected true or false, found " + excerpt(*member));
  return member->as_bool();
}

Result<std::int64_t> ConfigFields::integer(std::string_view name, std::int64_t absent,
                                           std::int64_t low, std::int64_t high) const {
  const Json* member = find(name);
  if (member == nullptr) return absent;
  if (!member->is_int() || member->as_int() < low || member->as_int() > high) {
    return error(name, "expected a whole number from " + std::to_string(low) + " to " +
                           std::to_string(high) + ", found " + excerpt(*member));
  }
  return member->as_int();
}

Result<double> ConfigFields::number(std::string_view name, double absent, double low,
                                    double high) const {
  const Json* member = find(name);
  if (member == nullptr) return absent;
  if (!member->is_number() || !(member->as_double() >= low && member->as_double() <= high)) {
    return error(name, "expected a number from " + Json(low).dump() + " to " + Json(high).dump() +
                           ", found " + excerpt(*member));
  }
  return member->as_double();
}

Result<std::string> ConfigFields::text(std::string_view name, const std::string& absent) const {
  const Json* member = find(name);
  if (member == nullptr) return absent;
  if (!member->is_string()) return error(name, "expected text, found " + excerpt(*member));
  return member->as_string();
}

}  // namespace fovea
