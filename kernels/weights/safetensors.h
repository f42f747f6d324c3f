#pragma once
// The safetensors format: bytes in, named tensor views out. No knowledge of models.
//
// Layout: u64 little-endian header length N, N bytes of JSON, then the data. Each tensor entry has
// dtype, shape and data_offsets relative to the data. Checked as strictly as the Rust reference
// does (header of at most 100 MB, no holes, no overlaps, sizes that match), plus caps of our own:
// 100,000 tensors, names of at most 256 bytes without control characters, no duplicate names.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/mapped_file.h"
#include "kernels/tensor.h"

namespace fovea {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;                 // as written in the file: "F32", "BF16", "I64", ...
  std::vector<std::int64_t> shape;   // any rank
  std::span<const std::byte> bytes;  // inside the parsed buffer
};

struct Safetensors {
  std::vector<SafetensorsEntry> tensors;  // in order of their data
  std::map<std::string, std::string> metadata;
};

/// The views point into `file`. Errors: bad_model with field (tensor name) and offset.
Result<Safetensors> parse_safetensors(std::span<const std::byte> file);

/// All weights of one model folder, mapped: `model.safetensors`, or the shards named by
/// `model.safetensors.index.json` (which must stay inside the folder: no absolute path, no "..",
/// no link that leads out, except into the `blobs` of a Hugging Face cache around the folder).
/// Where both exist, `model.safetensors` is read, as transformers does.
class WeightFiles {
 public:
  /// Errors: not_found (neither file is there; says which formats are accepted), bad_model.
  static Result<WeightFiles> open(const std::string& folder);

  bool contains(const std::string& name) const { return entries_.contains(name); }
  /// Names of all tensors, sorted.
  std::vector<std::string> names() const;
  /// Shape and type as stored, without judging them; null when absent.
  const SafetensorsEntry* find(const std::string& name) const;
  /// A float tensor (F32, F16 or BF16) of exactly this shape, aligned for its type. Errors:
  /// bad_model naming the tensor, its file, and expected and found shape or type.
  Result<ConstTensorView> get(const std::string& name, const Shape& expected) const;
  /// File that holds a tensor, for messages; of an absent one, the single file or the index.
  std::string file_of(const std::string& name) const;
  /// Total bytes of tensor data.
  std::uint64_t bytes() const;
  const std::vector<std::string>& files() const { return paths_; }
  /// SHA-256 over the files one after the other, in name order, as 64 hexadecimal digits
  /// (identifies a model in reports). Reads every byte: seconds for large models.
  std::string sha256() const;

 private:
  struct Located {
    SafetensorsEntry entry;
    std::size_t file = 0;
  };
  std::string source_;
  std::vector<MappedFile> mappings_;
  std::vector<std::string> paths_;
  std::map<std::string, Located> entries_;
  std::vector<Tensor> realigned_;  // copies of float tensors that a file places at odd addresses
};

}  // namespace fovea
