// WeightFiles: which files of a model folder hold its weights, and the tensors in them.

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "kernels/base/sha256.h"
#include "kernels/weights/safetensors.h"

namespace fovea {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr std::size_t kMaxIndexBytes = 100'000'000;

/// Even a link that leads nowhere counts: opening it then says what is wrong with it.
bool has_entry(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

Error no_weights(const std::string& folder) {
  std::error_code failure;
  if (!fs::is_directory(folder, failure)) {
    return make_error(ErrorCode::not_found, "expected a folder with a model")
        .in_file(folder)
        .with_remedy("Check the path given to --model.");
  }
  std::string other;
  for (fs::directory_iterator it(folder, failure), end; !failure && it != end;
       it.increment(failure)) {
    const std::string extension = it->path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".gguf") {
      other = it->path().filename().string();
    }
  }
  return make_error(ErrorCode::not_found,
                    std::string("the folder has neither ") + kSingleName + " nor " + kIndexName +
                        (other.empty() ? "" : "; " + other + " is in a format that is not read"))
      .in_file(folder)
      .with_remedy(
          "Fovea reads weights in the safetensors format: download that variant of the model, or "
          "convert it with transformers' save_pretrained.");
}

/// Is `path` inside `folder`? Both canonical.
bool is_inside(const fs::path& path, const fs::path& folder) {
  const auto [folder_end, ignored] = std::ranges::mismatch(folder, path);
  return folder_end == folder.end();
}

/// The shards that an index names, with the index's tensor -> shard table.
struct Index {
  std::string path;
  std::string text;
  Json root;
  std::size_t map_member = 0;  // place of weight_map in the index

  const Json::Object& weight_map() const { return root.as_object()[map_member].second.as_object(); }
  Error bad_entry(std::string message, std::size_t entry) const {
    const std::array<std::size_t, 2> place = {map_member, entry};
    return make_error(ErrorCode::bad_model, std::move(message))
        .in_file(path)
        .in_field(weight_map()[entry].first.substr(0, 256))
        .at(json_offset(text, place))
        .with_remedy(
            "Download the model folder again; its index and its shards do not belong together.");
  }
};

Result<Index> read_index(const fs::path& folder) {
  Index index;
  index.path = (folder / kIndexName).string();
  FOVEA_TRY(index.text, read_file(index.path, kMaxIndexBytes));
  auto parsed = parse_json(index.text);
  if (!parsed) {
    Error error = std::move(parsed.error());
    if (error.code == ErrorCode::bad_input) error.code = ErrorCode::bad_model;
    return error.in_file(index.path).with_remedy("Download the index again.");
  }
  index.root = std::move(*parsed);
  const Json* map = index.root.find("weight_map");
  if (map == nullptr || !map->is_object() || map->as_object().empty()) {
    return make_error(ErrorCode::bad_model, "expected an object that is not empty")
        .in_file(index.path)
        .in_field("weight_map")
        .at(0)
        .with_remedy("Download the index again.");
  }
  const Json::Object& members = index.root.as_object();
  index.map_member = static_cast<std::size_t>(
      std::ranges::find(members, "weight_map", &Json::Object::value_type::first) - members.begin());
  return index;
}

/// Real path of a shard, or an error when its name leads out of the folder.
Result<std::string> resolve_shard(const fs::path& folder, const Index& index, std::size_t entry) {
  const Json& value = index.weight_map()[entry].second;
  if (!value.is_string() || value.as_string().empty()) {
    return index.bad_entry("expected the name of a shard", entry);
  }
  const std::string& name = value.as_string();
  const fs::path relative(name);
  const bool climbs =
      std::ranges::any_of(relative, [](const fs::path& part) { return part == ".."; });
  if (relative.is_absolute() || climbs || name.find('\0') != std::string::npos) {
    return index.bad_entry("the shard's path leads out of the model folder", entry);
  }
  const std::string path = (folder / relative).string();
  std::error_code failure;
  const fs::path real = fs::canonical(path, failure);
  if (failure) {
    return make_error(ErrorCode::not_found,
                      "a shard named by the index cannot be opened: " + failure.message())
        .in_file(path)
        .in_field(index.weight_map()[entry].first.substr(0, 256))
        .with_remedy("Download the shards that are missing into the folder.");
  }
  const fs::path home = fs::canonical(folder, failure);
  if (failure) {
    return make_error(ErrorCode::io, "cannot resolve the folder: " + failure.message())
        .in_file(folder.string());
  }
  // A Hugging Face cache keeps the files of <repository>/snapshots/<revision> as links into
  // <repository>/blobs.
  const fs::path snapshots = home.parent_path();
  const bool in_cache =
      snapshots.filename() == "snapshots" && is_inside(real, snapshots.parent_path() / "blobs");
  if (!is_inside(real, home) && !in_cache) {
    return index.bad_entry("the shard is a link that leads out of the model folder", entry)
        .with_remedy("Copy the shard into the folder.");
  }
  return path;
}

std::optional<DType> float_type(const std::string& name) {
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  return std::nullopt;
}

std::string shape_text(const std::vector<std::int64_t>& extents) {
  std::string text = "[";
  for (const std::int64_t extent : extents) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  }
  return text + "]";
}

}  // namespace

Result<WeightFiles> WeightFiles::open(const std::string& folder) {
  const fs::path root(folder);
  std::optional<Index> index;
  WeightFiles files;
  files.source_ = (root / kSingleName).string();
  std::map<std::string, std::string> shard_paths;  // shard name -> path, one entry per shard
  if (has_entry(root / kSingleName)) {
    files.paths_.push_back(files.source_);
  } else if (has_entry(root / kIndexName)) {
    FOVEA_TRY(index, read_index(root));
    files.source_ = index->path;
    const Json::Object& map = index->weight_map();
    for (std::size_t entry = 0; entry < map.size(); ++entry) {
      const Json& shard = map[entry].second;
      if (shard.is_string() && shard_paths.contains(shard.as_string())) continue;
      FOVEA_TRY(std::string path, resolve_shard(root, *index, entry));
      shard_paths.emplace(shard.as_string(), std::move(path));
    }
    for (const auto& [name, path] : shard_paths) files.paths_.push_back(path);
  } else {
    return no_weights(folder);
  }

  for (std::size_t file = 0; file < files.paths_.size(); ++file) {
    const std::string& path = files.paths_[file];
    auto opened = MappedFile::open(path);
    if (!opened) return opened.error().with_remedy("Download the model folder again.");
    MappedFile mapping = std::move(*opened);
    auto parsed = parse_safetensors(mapping.bytes());
    if (!parsed) return std::move(parsed.error().in_file(path));
    files.mappings_.push_back(std::move(mapping));
    for (SafetensorsEntry& entry : parsed->tensors) {
      const std::string name = entry.name;
      const auto [at, fresh] = files.entries_.try_emplace(name, Located{std::move(entry), file});
      if (!fresh) {
        return make_error(ErrorCode::bad_model,
                          "the tensor is also in " + files.paths_[at->second.file])
            .in_file(path)
            .in_field(name)
            .with_remedy("Keep only the shards of one download in the folder.");
      }
    }
  }

  if (index) {
    const Json::Object& map = index->weight_map();
    for (std::size_t entry = 0; entry < map.size(); ++entry) {
      const auto& [name, shard] = map[entry];
      const auto found = files.entries_.find(name);
      if (found == files.entries_.end() ||
          files.paths_[found->second.file] != shard_paths.at(shard.as_string())) {
        return index->bad_entry("the tensor is not in its shard " + shard.as_string(), entry);
      }
    }
  }

  for (auto& [name, located] : files.entries_) {
    const auto type = float_type(located.entry.dtype);
    const auto& bytes = located.entry.bytes;
    if (!type || reinterpret_cast<std::uintptr_t>(bytes.data()) % dtype_size(*type) == 0) continue;
    auto copy = Tensor::allocate({static_cast<std::int64_t>(bytes.size())}, DType::u8);
    if (!copy) return std::move(copy.error().in_file(files.paths_[located.file]).in_field(name));
    std::memcpy(copy->as<std::byte>(), bytes.data(), bytes.size());
    located.entry.bytes = {copy->as<std::byte>(), bytes.size()};
    files.realigned_.push_back(std::move(*copy));
  }
  return files;
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, located] : entries_) names.push_back(name);
  return names;
}

const SafetensorsEntry* WeightFiles::find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second.entry;
}

Result<ConstTensorView> WeightFiles::get(const std::string& name, const Shape& expected) const {
  const auto wrong = [&](std::string message) {
    return make_error(ErrorCode::bad_model, std::move(message))
        .in_file(file_of(name))
        .in_field(name)
        .with_remedy("Check that config.json and the weights belong to the same model.");
  };
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr) {
    return wrong("the tensor is missing; expected shape " + expected.to_string());
  }
  if (!std::ranges::equal(entry->shape, expected.extents())) {
    return wrong("expected shape " + expected.to_string() + ", found " + shape_text(entry->shape));
  }
  const auto type = float_type(entry->dtype);
  if (!type) return wrong("expected type F32, F16 or BF16, found " + entry->dtype);
  return ConstTensorView(entry->bytes.data(), *type, expected);
}

std::string WeightFiles::file_of(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? source_ : paths_[found->second.file];
}

std::uint64_t WeightFiles::bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, located] : entries_) total += located.entry.bytes.size();
  return total;
}

std::string WeightFiles::sha256() const {
  Sha256 digest;
  for (const MappedFile& mapping : mappings_) digest.update(mapping.bytes());
  return digest.hex();
}

}  // namespace fovea
