#include "app/eval/answer_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "app/score_dump.h"
#include "app/text.h"
#include "kernels/base/file.h"

namespace fovea::app {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;

Error not_written(const std::string& path) {
  return make_error(ErrorCode::io, format("the answer was not written: %s", std::strerror(errno)))
      .in_file(path);
}

}  // namespace

Result<AnswerFile> AnswerFile::open(const std::string& path, const AnswerSource& source,
                                    bool resume) {
  AnswerFile file;
  file.path_ = path;
  file.source_ = source;
  std::string kept;
  std::error_code ignored;
  if (resume && std::filesystem::exists(path, ignored)) {
    FOVEA_TRY(std::string text, read_file(path, kMaxFileBytes));
    text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
    std::size_t number = 0;
    for (const std::string& line : divided(text, "\n")) {
      ++number;
      if (trimmed(line).empty()) continue;
      const auto json = parse_json(line);
      const Json* id = json ? json->find("question_id") : nullptr;
      const Json* metadata = json ? json->find("metadata") : nullptr;
      if (id == nullptr || metadata == nullptr) {
        return make_error(ErrorCode::bad_input, format("line %zu is no answer", number))
            .in_file(path)
            .with_remedy("Remove it, or name another file with --answers");
      }
      const Json* run = metadata->find("run");
      if (run == nullptr || !run->is_string() || run->as_string() != source.fingerprint) {
        return make_error(
                   ErrorCode::usage,
                   format("line %zu was answered by another model, setting or generation", number))
            .in_file(path)
            .in_field("--resume")
            .with_remedy("Ask as before, or name another file with --answers");
      }
      const std::string key = question_key(*id);
      if (file.lines_.insert_or_assign(key, *json).second) file.order_.push_back(key);
    }
    kept = std::move(text);
  }
  FOVEA_CHECK(write_file_atomically(path, kept));
  file.file_.reset(std::fopen(path.c_str(), "ab"));
  if (file.file_ == nullptr) return not_written(path);
  return file;
}

std::optional<Outcome> AnswerFile::earlier(const EvalItem& item) const {
  const auto found = lines_.find(question_key(item.id));
  if (found == lines_.end()) return std::nullopt;
  const Json* prompt = found->second.find("prompt");
  if (prompt == nullptr || !prompt->is_string() || prompt->as_string() != item.text) {
    return std::nullopt;  // the question was another one then
  }
  return outcome_from_line(found->second, item.label);
}

Status AnswerFile::append(const EvalItem& item, const Outcome& outcome) {
  Json metadata = outcome_metadata(outcome);
  metadata.set("prune", source_.setting);
  metadata.set("run", source_.fingerprint);
  Json line = Json::object();
  line.set("question_id", item.id);
  line.set("prompt", item.text);
  line.set("text", trimmed(outcome.text));
  line.set("answer_id", format("%s-%zu", source_.model_id.c_str(), item.line));
  line.set("model_id", source_.model_id);
  line.set("metadata", std::move(metadata));
  const std::string text = line.dump() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() ||
      std::fflush(file_.get()) != 0) {
    return not_written(path_);
  }
  const std::string key = question_key(item.id);
  if (lines_.insert_or_assign(key, std::move(line)).second) order_.push_back(key);
  return {};
}

Status AnswerFile::finish(const std::vector<EvalItem>& items) {
  std::string text;
  std::map<std::string, Json> left = lines_;
  const auto take = [&](const std::string& key) {
    const auto found = left.find(key);
    if (found == left.end()) return;
    text += found->second.dump() + "\n";
    left.erase(found);
  };
  for (const EvalItem& item : items) take(question_key(item.id));
  for (const std::string& key : order_) take(key);
  file_.reset();
  return write_file_atomically(path_, text);
}

std::string answer_path(const std::string& path, const std::string& run) {
  const std::string name = file_name(run);
  const std::filesystem::path whole(path);
  return (whole.parent_path() / (whole.stem().string() + "-" + name + whole.extension().string()))
      .string();
}

}  // namespace fovea::app
