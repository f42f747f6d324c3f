#pragma once
// Random attention problems with paged keys and values, and their dense solution in double.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <ostream>
#include <vector>

#include "kernels/ops/attention/attention.h"
#include "support/devices.h"

namespace fovea::testing {

enum class KvLayout {
  head_major,   // page: [kv heads, tokens, head_dim], as a cache keeps it
  token_major,  // page: [tokens, kv heads, key and value, head_dim], as a fused product leaves it
};

/// Keys and values of one sequence. Slots beyond the length hold NaN: whoever reads them shows it.
class PagedKv {
 public:
  PagedKv(Random& random, std::int32_t length, std::int32_t kv_heads, std::int32_t head_dim,
          std::int32_t page_tokens, DType dtype, KvLayout layout, float key_deviation)
      : length_(length),
        kv_heads_(kv_heads),
        head_dim_(head_dim),
        page_tokens_(page_tokens),
        dtype_(dtype),
        layout_(layout) {
    const std::int64_t count = std::int64_t{length} * kv_heads * head_dim;
    keys_ = rounded(random.normals(count, key_deviation), dtype);
    values_ = rounded(random.normals(count), dtype);
    fill_pages();
  }

  KvView view() const {
    KvView view;
    view.key_pages = key_pages_.data();
    view.value_pages = value_pages_.data();
    view.page_tokens = page_tokens_;
    view.length = &length_;
    view.kv_heads = kv_heads_;
    view.head_dim = head_dim_;
    view.key_head_stride = view.value_head_stride = head_stride();
    view.key_token_stride = view.value_token_stride = token_stride();
    view.dtype = dtype_;
    return view;
  }
  std::int32_t length() const { return length_; }
  std::int64_t page_bytes() const {
    return std::int64_t{2} * page_tokens_ * kv_heads_ * head_dim_ *
           static_cast<std::int64_t>(dtype_size(dtype_));
  }
  /// Channels of one token's key or value.
  const float* key(std::int64_t token, std::int64_t head) const {
    return keys_.data() + (token * kv_heads_ + head) * head_dim_;
  }
  const float* value(std::int64_t token, std::int64_t head) const {
    return values_.data() + (token * kv_heads_ + head) * head_dim_;
  }

 private:
  bool head_major() const { return layout_ == KvLayout::head_major; }
  std::int64_t head_stride() const {
    return head_major() ? std::int64_t{page_tokens_} * head_dim_ : std::int64_t{2} * head_dim_;
  }
  std::int64_t token_stride() const {
    return head_major() ? head_dim_ : std::int64_t{2} * kv_heads_ * head_dim_;
  }
  void store(std::byte* page, std::int64_t element, float value) const {
    if (dtype_ == DType::f32) {
      std::memcpy(page + element * 4, &value, 4);
    } else {
      const std::uint16_t bits = dtype_ == DType::bf16 ? to_bf16(value).bits : to_f16(value).bits;
      std::memcpy(page + element * 2, &bits, 2);
    }
  }
  void fill_pages() {
    const std::int64_t block = std::int64_t{page_tokens_} * kv_heads_ * head_dim_;
    const auto bytes = static_cast<std::size_t>(2 * block) * dtype_size(dtype_);
    const std::int64_t pages = (std::int64_t{length_} + page_tokens_ - 1) / page_tokens_;
    // Head-major pages keep values behind all keys, token-major ones behind each key.
    const std::int64_t value_offset = head_major() ? block : head_dim_;
    for (std::int64_t p = 0; p < pages; ++p) {
      auto page = std::make_unique<std::byte[]>(bytes);
      std::memset(page.get(), 0xFF, bytes);
      for (std::int64_t slot = 0; slot < page_tokens_; ++slot) {
        const std::int64_t token = p * page_tokens_ + slot;
        if (token >= length_) break;
        for (std::int64_t head = 0; head < kv_heads_; ++head) {
          for (std::int64_t c = 0; c < head_dim_; ++c) {
            const std::int64_t at = head * head_stride() + slot * token_stride() + c;
            store(page.get(), at, key(token, head)[c]);
            store(page.get(), at + value_offset, value(token, head)[c]);
          }
        }
      }
      key_pages_.push_back(page.get());
      value_pages_.push_back(page.get() +
                             static_cast<std::size_t>(value_offset) * dtype_size(dtype_));
      pages_.push_back(std::move(page));
    }
  }

  std::int32_t length_, kv_heads_, head_dim_, page_tokens_;
  DType dtype_;
  KvLayout layout_;
  std::vector<float> keys_, values_;  // [tokens, kv heads, head_dim], rounded as stored
  std::vector<std::unique_ptr<std::byte[]>> pages_;
  std::vector<const std::byte*> key_pages_, value_pages_;
};

/// The same where a context works. The bound of the length may lie above it.
class PlacedKv {
 public:
  PlacedKv(Context& context, const PagedKv& kv, std::int32_t beyond = 0)
      : view_(kv.view()), length_(context, {kv.length()}), keys_(context, {}), values_(context, {}) {
    if (context.device.kind == DeviceKind::cpu) return;
    view_.length = length_.data();
    view_.max_length = kv.length() + beyond;
    if (kv.length() == 0) return;
    const std::int32_t pages = (kv.length() + view_.page_tokens - 1) / view_.page_tokens;
    const std::int64_t value_offset = view_.value_pages[0] - view_.key_pages[0];
    std::vector<const std::byte*> keys, values;
    for (std::int32_t page = 0; page < pages; ++page) {
      const std::byte* from = view_.key_pages[page];
      pages_.emplace_back(context, std::vector<std::byte>(from, from + kv.page_bytes()));
      keys.push_back(pages_.back().data());
      values.push_back(keys.back() + value_offset);
    }
    keys_ = OnDevice<const std::byte*>(context, keys);
    values_ = OnDevice<const std::byte*>(context, values);
    view_.key_pages = keys_.data();
    view_.value_pages = values_.data();
  }
  KvView view() const { return view_; }

 private:
  KvView view_;
  OnDevice<std::int32_t> length_;
  OnDevice<const std::byte*> keys_, values_;
  std::vector<OnDevice<std::byte>> pages_;
};

struct Sequence {
  std::int32_t rows = 1, length = 1;
};

struct Problem {
  std::vector<Sequence> sequences;
  std::int32_t heads = 2, kv_heads = 2, head_dim = 16, page_tokens = 16;
  MaskKind mask = MaskKind::causal;
  bool bias = false;
  float key_deviation = 1.0f;  // times 1/sqrt(head_dim) is about the deviation of a logit
  KvLayout layout = KvLayout::head_major;
};

/// What one device and storage of keys and values promises. The reference uses the values as stored,
/// so the tolerance covers float32 arithmetic: 640 products and sums of rounding error 6e-8 each, of
/// which a random walk shows some 25. On a GPU, queries and outputs are of the keys' type; the tensor
/// cores round probabilities to it too, and truncate sums.
struct KvCase {
  const char* name;
  DeviceKind device;
  DType dtype;
  double tolerance;
  double lse_tolerance = 4e-6;

  DType activation() const { return device == DeviceKind::cpu ? DType::f32 : dtype; }
};
inline void PrintTo(const KvCase& kv, std::ostream* stream) { *stream << kv.name; }
inline constexpr KvCase kKvCases[] = {
    {"cpu_f32", DeviceKind::cpu, DType::f32, 4e-6},
    {"cpu_bf16", DeviceKind::cpu, DType::bf16, 4e-6},
    {"cuda_f32", DeviceKind::cuda, DType::f32, 4e-6},
    {"cuda_f16", DeviceKind::cuda, DType::f16, 2e-3, 1e-5},
    {"cuda_bf16", DeviceKind::cuda, DType::bf16, 1.6e-2, 1e-5},
};

/// A problem with its inputs, its dense solution, and whatever attention() answers.
class Solved {
 public:
  Solved(const Problem& what, const KvCase& kv_case, std::uint64_t stream)
      : problem(what), where(kv_case), scale(1.0f / std::sqrt(static_cast<float>(problem.head_dim))) {
    Random random(stream);
    offsets.push_back(0);
    for (const Sequence& sequence : problem.sequences) {
      offsets.push_back(offsets.back() + sequence.rows);
      kv.emplace_back(random, sequence.length, problem.kv_heads, problem.head_dim,
                      problem.page_tokens, where.dtype, problem.layout, problem.key_deviation);
      biases.push_back(random.normals(problem.bias ? sequence.length : 0));
    }
    query = rounded(random.normals(std::int64_t{rows()} * problem.heads * problem.head_dim),
                    where.activation());
  }

  std::int32_t rows() const { return offsets.back(); }
  Shape query_shape() const { return {rows(), problem.heads, problem.head_dim}; }
  const float* bias_of(std::size_t s) const { return problem.bias ? biases[s].data() : nullptr; }
  /// Keys that a row of sequence s sees.
  std::int32_t visible(std::size_t s, std::int32_t row) const {
    const Sequence& sequence = problem.sequences[s];
    if (problem.mask == MaskKind::full) return sequence.length;
    return std::max(0, sequence.length - sequence.rows + row - offsets[s] + 1);
  }

  double logit(std::size_t s, std::int32_t row, std::int32_t head, std::int32_t token) const {
    const float* q = query.data() + (std::int64_t{row} * problem.heads + head) * problem.head_dim;
    const float* k = kv[s].key(token, head / (problem.heads / problem.kv_heads));
    double sum = 0.0;
    for (std::int32_t c = 0; c < problem.head_dim; ++c) sum += static_cast<double>(q[c]) * k[c];
    return sum * scale + (problem.bias ? biases[s][static_cast<std::size_t>(token)] : 0.0f);
  }
  /// Probabilities of all keys of the sequence, and the natural log-sum-exp.
  std::vector<double> dense_row(std::size_t s, std::int32_t row, std::int32_t head,
                                double* lse) const {
    std::vector<double> p(static_cast<std::size_t>(problem.sequences[s].length), 0.0);
    const std::int32_t seen = visible(s, row);
    double maximum = -std::numeric_limits<double>::infinity();
    for (std::int32_t t = 0; t < seen; ++t) {
      p[static_cast<std::size_t>(t)] = logit(s, row, head, t);
      maximum = std::max(maximum, p[static_cast<std::size_t>(t)]);
    }
    double sum = 0.0;
    for (std::int32_t t = 0; t < seen; ++t) {
      double& value = p[static_cast<std::size_t>(t)];
      value = std::isinf(maximum) ? 0.0 : std::exp(value - maximum);
      sum += value;
    }
    if (sum > 0.0) {
      for (double& value : p) value /= sum;
    }
    *lse = sum > 0.0 ? maximum + std::log(sum) : -std::numeric_limits<double>::infinity();
    return p;
  }
  /// Fills expected_out [rows, heads, head_dim] and expected_lse [heads, rows].
  void solve_dense() {
    expected_out.assign(query.size(), 0.0);
    expected_lse.assign(static_cast<std::size_t>(rows()) * problem.heads, 0.0);
    for (std::size_t s = 0; s < kv.size(); ++s) {
      for (std::int32_t row = offsets[s]; row < offsets[s + 1]; ++row) {
        for (std::int32_t head = 0; head < problem.heads; ++head) {
          double lse = 0.0;
          const std::vector<double> p = dense_row(s, row, head, &lse);
          expected_lse[static_cast<std::size_t>(head * rows() + row)] = lse;
          double* out =
              expected_out.data() + (std::int64_t{row} * problem.heads + head) * problem.head_dim;
          for (std::int32_t t = 0; t < kv[s].length(); ++t) {
            const float* v = kv[s].value(t, head / (problem.heads / problem.kv_heads));
            for (std::int32_t c = 0; c < problem.head_dim; ++c) {
              out[c] += p[static_cast<std::size_t>(t)] * v[c];
            }
          }
        }
      }
    }
  }

  struct Answer {
    Status status;
    std::vector<float> out, lse;
    ::testing::AssertionResult guards = ::testing::AssertionSuccess();
  };
  struct Options {
    bool with_lse = true;
    std::int64_t padding = 7;  // elements between rows; 8 leaves rows of 16-bit types aligned
    std::int32_t beyond = 0;   // of the lengths' bounds above the lengths
    bool history_settled = false;
  };
  /// Runs attention() with every block padded and guarded.
  Answer run(int threads) const { return run(threads, Options{}); }
  Answer run(int threads, const Options& options) const {
    Context context = test_context(where.device, threads);
    GuardedTensor q(query_shape(), query, options.padding);
    GuardedTensor out(query_shape(), options.padding);
    GuardedTensor lse({problem.heads, rows()}, 3);
    Placed placed_q(context, q, where.activation()), placed_out(context, out, where.activation());
    Placed placed_lse(context, lse);
    std::vector<PlacedKv> placed_kv;
    std::vector<OnDevice<float>> placed_bias;
    std::vector<KvView> views;
    std::vector<const float*> bias;
    for (std::size_t s = 0; s < kv.size(); ++s) {
      placed_kv.emplace_back(context, kv[s], options.beyond);
      views.push_back(placed_kv.back().view());
      placed_bias.emplace_back(context, biases[s]);
      if (problem.bias) bias.push_back(placed_bias.back().data());
    }
    AttentionArgs args;
    args.query = placed_q.view();
    args.row_offsets = offsets;
    args.kv = views;
    args.mask = problem.mask;
    args.scale = scale;
    args.key_bias = bias;
    args.out = placed_out.view();
    if (options.with_lse) args.lse = placed_lse.view();
    args.history_settled = options.history_settled;
    Answer answer{attention(context, args), {}, {}};
    placed_out.fetch();
    placed_lse.fetch();
    answer.out = out.values();
    answer.lse = lse.values();
    if (!out.guards_intact()) answer.guards = out.guards_intact();
    if (!lse.guards_intact()) answer.guards = lse.guards_intact();
    return answer;
  }

  Problem problem;
  KvCase where;
  float scale;
  std::vector<std::int32_t> offsets;
  std::vector<PagedKv> kv;
  std::vector<std::vector<float>> biases;
  std::vector<float> query;
  std::vector<double> expected_out, expected_lse;
};

}  // namespace fovea::testing
