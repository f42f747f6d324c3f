#include "kernels/base/csv.h"

#include <algorithm>

namespace fovea {

namespace {

constexpr std::size_t kMaxFields = 10'000'000;

Error csv_error(ErrorCode code, std::uint64_t line, const char* message) {
  return make_error(code, message).at(line);
}

}  // namespace

std::string csv_record(std::span<const std::string> fields) {
  std::string record;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) record += ',';
    if (fields[i].find_first_of(",\"\r\n") == std::string::npos) {
      record += fields[i];
      continue;
    }
    record += '"';
    for (const char c : fields[i]) {
      if (c == '"') record += '"';
      record += c;
    }
    record += '"';
  }
  return record + "\r\n";
}

Result<std::vector<CsvRecord>> parse_csv(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<CsvRecord> records;
  std::size_t at = 0, count = 0;
  std::uint64_t line = 1;
  while (at < text.size()) {
    CsvRecord record{line, {}};
    bool ended = false;
    while (!ended) {
      std::string field;
      if (at < text.size() && text[at] == '"') {
        for (++at;; ++at) {
          if (at >= text.size()) {
            return csv_error(ErrorCode::bad_input, record.line, "a quote is never closed");
          }
          if (text[at] == '\n') ++line;
          if (text[at] == '"') {
            ++at;
            if (at >= text.size() || text[at] != '"') break;
          }
          field += text[at];
        }
      } else {
        const std::size_t end = std::min(text.find_first_of(",\r\n", at), text.size());
        field = text.substr(at, end - at);
        at = end;
      }
      record.fields.push_back(std::move(field));
      if (++count > kMaxFields) {
        return csv_error(ErrorCode::too_large, line, "the table has over ten million fields");
      }
      if (at < text.size() && text[at] == ',') {
        ++at;
        continue;
      }
      if (at < text.size() && text[at] == '\r') ++at;
      if (at < text.size() && text[at] != '\n') {
        return csv_error(ErrorCode::bad_input, line, "text stands behind a closing quote");
      }
      ++at;
      ++line;
      ended = true;
    }
    const bool empty = record.fields.size() == 1 && record.fields.front().empty();
    if (!empty) records.push_back(std::move(record));
  }
  return records;
}

}  // namespace fovea
