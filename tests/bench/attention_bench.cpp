// Speed of attention and of the score recomputation on the CPU.
//   attention_bench [threads]
// Prefill lines give GFLOP/s (two per multiply-add, visible keys only), decode lines GB/s of keys
// and values read. Compare with the machine's FMA peak and read bandwidth.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "kernels/base/parallel.h"
#include "kernels/ops/attention/attention.h"

namespace {

using namespace fovea;

struct Shape4 {
  const char* name;
  std::int32_t rows, length, heads, kv_heads, head_dim;
  MaskKind mask;
  DType dtype;
};

double median_seconds(const std::function<void()>& run) {
  run();
  std::vector<double> seconds;
  double total = 0.0;
  while (seconds.size() < 9 || (total < 0.4 && seconds.size() < 2000)) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    total += seconds.back();
  }
  std::nth_element(seconds.begin(),
                   seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2),
                   seconds.end());
  return seconds[seconds.size() / 2];
}

/// Small numbers that are not all alike, as f32 or bf16.
Tensor filled(Shape shape, DType dtype) {
  Result<Tensor> made = Tensor::allocate(shape, dtype);
  if (!made) std::exit(1);
  Tensor tensor = std::move(made).value();
  std::uint32_t state = 12345;
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    state = state * 1664525u + 1013904223u;
    const float value = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
    if (dtype == DType::f32) {
      tensor.as<float>()[i] = value;
    } else {
      tensor.as<bf16>()[i] = to_bf16(value);
    }
  }
  return tensor;
}

/// Keys and values of as many layers as it takes to push each other out of the caches, so that
/// decoding reads memory as it does in a model.
class Layers {
 public:
  Layers(const Shape4& shape, int layers) : length_(shape.length) {
    const std::int64_t pages = (shape.length + kPageTokens - 1) / kPageTokens;
    for (int layer = 0; layer < layers; ++layer) {
      for (std::vector<Tensor>* side : {&keys_, &values_}) {
        side->push_back(filled({pages, shape.kv_heads, kPageTokens, shape.head_dim}, shape.dtype));
      }
      std::vector<const std::byte*> key_pages, value_pages;
      const std::size_t page_bytes = keys_.back().bytes() / static_cast<std::size_t>(pages);
      for (std::size_t page = 0; page < static_cast<std::size_t>(pages); ++page) {
        key_pages.push_back(keys_.back().view().data + page * page_bytes);
        value_pages.push_back(values_.back().view().data + page * page_bytes);
      }
      key_pages_.push_back(std::move(key_pages));
      value_pages_.push_back(std::move(value_pages));
      KvView view;
      view.key_pages = key_pages_.back().data();
      view.value_pages = value_pages_.back().data();
      view.page_tokens = kPageTokens;
      view.length = &length_;
      view.kv_heads = shape.kv_heads;
      view.head_dim = shape.head_dim;
      view.key_head_stride = view.value_head_stride = kPageTokens * shape.head_dim;
      view.key_token_stride = view.value_token_stride = shape.head_dim;
      view.dtype = shape.dtype;
      views_.push_back(view);
    }
  }
  const KvView& next() { return views_[turn_++ % views_.size()]; }

 private:
  static constexpr std::int32_t kPageTokens = 64;

  std::int32_t length_;
  std::vector<Tensor> keys_, values_;
  std::vector<std::vector<const std::byte*>> key_pages_, value_pages_;
  std::vector<KvView> views_;
  std::size_t turn_ = 0;
};

double time_attention(const Shape4& shape, int threads, int layers) {
  Layers kv(shape, layers);
  const Tensor query = filled({shape.rows, shape.heads, shape.head_dim}, DType::f32);
  Tensor out = filled({shape.rows, shape.heads, shape.head_dim}, DType::f32);
  const std::int32_t offsets[] = {0, shape.rows};
  Context context;
  context.threads = threads;
  return median_seconds([&] {
    AttentionArgs args;
    args.query = query.view();
    args.row_offsets = offsets;
    args.kv = {&kv.next(), 1};
    args.mask = shape.mask;
    args.scale = 0.125f;
    args.out = out.view();
    if (!attention(context, args)) std::exit(1);
  });
}

void prefill(const Shape4& shape, int threads) {
  const double seconds = time_attention(shape, threads, 1);
  double pairs = static_cast<double>(shape.rows) * shape.length;
  if (shape.mask == MaskKind::causal) pairs -= 0.5 * shape.rows * (shape.rows - 1.0);
  const double flops = 4.0 * pairs * shape.heads * shape.head_dim;
  std::printf("%-46s %9.3f ms %8.1f GFLOP/s\n", shape.name, seconds * 1e3, flops / seconds * 1e-9);
}

void decode(const Shape4& shape, int threads) {
  const double bytes = 2.0 * shape.length * shape.kv_heads * shape.head_dim *
                       static_cast<double>(dtype_size(shape.dtype));
  const int layers = static_cast<int>(std::clamp(256e6 / bytes, 1.0, 64.0));
  const double seconds = time_attention(shape, threads, layers);
  std::printf("%-46s %9.3f ms %8.1f GB/s\n", shape.name, seconds * 1e3, bytes / seconds * 1e-9);
}

void scores(const Shape4& shape, int threads) {
  Layers kv(shape, 1);
  const Tensor query = filled({shape.rows, shape.heads, shape.head_dim}, DType::f32);
  const Tensor lse = filled({shape.heads, shape.rows}, DType::f32);
  Tensor out = filled({shape.length}, DType::f32);
  std::vector<std::int32_t> columns;
  for (std::int32_t column = 0; column < shape.length; ++column) columns.push_back(column);
  Context context;
  context.threads = threads;
  const double seconds = median_seconds([&] {
    ScoreArgs args;
    args.query = query.view();
    args.lse = lse.view();
    args.kv = kv.next();
    args.scale = 0.125f;
    args.columns = columns;
    args.rows = Reduction::sum;
    args.heads = Reduction::mean;
    args.out = out.view();
    if (!attention_scores(context, args)) std::exit(1);
  });
  const double flops = 2.0 * shape.rows * shape.length * shape.heads * shape.head_dim;
  std::printf("%-46s %9.3f ms %8.1f GFLOP/s\n", shape.name, seconds * 1e3, flops / seconds * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  using enum MaskKind;
  const int threads = argc > 1 ? std::atoi(argv[1]) : available_threads();
  std::printf("%d threads\n", threads);
  prefill({"prefill 640 causal, 32/4 heads, d 64, f32", 640, 640, 32, 4, 64, causal, DType::f32},
          threads);
  prefill({"prefill 640 causal, 32/4 heads, d 64, bf16", 640, 640, 32, 4, 64, causal, DType::bf16},
          threads);
  prefill(
      {"prefill 640 causal, 32/32 heads, d 128, bf16", 640, 640, 32, 32, 128, causal, DType::bf16},
      threads);
  prefill({"vision 577 full, 16 heads, d 64, f32", 577, 577, 16, 16, 64, full, DType::f32},
          threads);
  prefill({"vision 577 full, 8 heads, d 32, f32", 577, 577, 8, 8, 32, full, DType::f32}, threads);
  prefill({"prefill 640 causal, 10/10 heads, d 32, f32", 640, 640, 10, 10, 32, causal, DType::f32},
          threads);
  prefill({"vision 577 full, 16 heads, d 80, f32", 577, 577, 16, 16, 80, full, DType::f32},
          threads);
  decode({"decode 2000 keys, 32/4 heads, d 64, f32", 1, 2000, 32, 4, 64, causal, DType::f32},
         threads);
  decode({"decode 2000 keys, 32/4 heads, d 64, bf16", 1, 2000, 32, 4, 64, causal, DType::bf16},
         threads);
  decode({"decode 2000 keys, 32/32 heads, d 128, f32", 1, 2000, 32, 32, 128, causal, DType::f32},
         threads);
  decode({"decode 2000 keys, 32/32 heads, d 128, bf16", 1, 2000, 32, 32, 128, causal, DType::bf16},
         threads);
  decode({"decode 640 keys, 10/10 heads, d 32, bf16", 1, 640, 10, 10, 32, causal, DType::bf16},
         threads);
  scores(
      {"scores 1 row, 640 columns, 32/32 heads, d 128", 1, 640, 32, 32, 128, causal, DType::bf16},
      threads);
  scores({"scores 64 rows, 640 columns, 32/32 heads, d 128", 64, 640, 32, 32, 128, causal,
          DType::bf16},
         threads);
  scores({"scores 64 rows, 640 columns, 32/4 heads, d 64", 64, 640, 32, 4, 64, causal, DType::bf16},
         threads);
  return 0;
}
