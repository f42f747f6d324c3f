// Speed of the GPU's kernels beside what the card can do, all measured here.
//   cuda_bench
// Medians of events around several launches, on random data, over more memory than the cache holds
// where a model would read from memory too. The floor is the larger of the operations over the
// measured matrix rate and the bytes over the measured read bandwidth.

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/copy.h"
#include "kernels/cuda/runtime.h"
#include "kernels/device.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/ops/reduce/reduce.h"

namespace {

using namespace fovea;

constexpr int kBatches = 15;       // of which the median counts
constexpr int kWorkspaceMiB = 32;  // of cuBLASLt

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "cuda_bench: %s\n", what.c_str());
  std::exit(1);
}
void must(cudaError_t code, const char* what) {
  if (code != cudaSuccess) fail(std::string(what) + ": " + cudaGetErrorString(code));
}
void must(cublasStatus_t code, const char* what) {
  if (code != CUBLAS_STATUS_SUCCESS) fail(std::string(what) + ": " + cublasLtGetStatusString(code));
}
void must(const Status& status) {
  if (!status) fail(status.error().to_string());
}
template <class T>
T must(Result<T> result) {
  if (!result) fail(result.error().to_string());
  return std::move(result).value();
}

struct Event {
  Event() { must(cudaEventCreate(&event), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t event = nullptr;
};

/// Seconds of one run(i), i counting upward; `each` runs between two events.
double median_seconds(cudaStream_t stream, int each, const std::function<void(int)>& run) {
  const Event begin, end;
  int number = 0;
  for (int i = 0; i < each; ++i) run(number++);
  std::vector<double> seconds;
  for (int batch = 0; batch < kBatches; ++batch) {
    must(cudaEventRecord(begin.event, stream), "cudaEventRecord");
    for (int i = 0; i < each; ++i) run(number++);
    must(cudaEventRecord(end.event, stream), "cudaEventRecord");
    must(cudaEventSynchronize(end.event), "cudaEventSynchronize");
    float milliseconds = 0;
    must(cudaEventElapsedTime(&milliseconds, begin.event, end.event), "cudaEventElapsedTime");
    seconds.push_back(milliseconds / 1e3 / each);
  }
  std::nth_element(seconds.begin(), seconds.begin() + kBatches / 2, seconds.end());
  return seconds[kBatches / 2];
}

/// The same through a recorded graph of `each` runs, which leaves out what launching costs the host.
double graph_seconds(Context& context, int each, const std::function<void(int)>& run) {
  cudaStream_t stream = nullptr;
  must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  run(0);
  must(cudaStreamSynchronize(context.cuda->stream), "before the recording");
  std::swap(stream, context.cuda->stream);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  must(cudaStreamBeginCapture(context.cuda->stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  for (int i = 0; i < each; ++i) run(i);
  must(cudaStreamEndCapture(context.cuda->stream, &graph), "cudaStreamEndCapture");
  must(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
  const double seconds = median_seconds(context.cuda->stream, 1, [&](int) {
    must(cudaGraphLaunch(exec, context.cuda->stream), "cudaGraphLaunch");
  });
  must(cudaGraphExecDestroy(exec), "cudaGraphExecDestroy");
  must(cudaGraphDestroy(graph), "cudaGraphDestroy");
  std::swap(stream, context.cuda->stream);
  must(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return seconds / each;
}

/// Random numbers on the device; a stretch of a million repeats.
Tensor filled(Context& context, Shape shape, DType dtype, float deviation = 1.0f) {
  constexpr std::int64_t kStretch = 1 << 20;
  std::mt19937 engine(12345);
  std::normal_distribution<float> normal(0.0f, deviation);
  Tensor wide = must(Tensor::allocate({kStretch}, DType::f32));
  for (std::int64_t i = 0; i < kStretch; ++i) wide.as<float>()[i] = normal(engine);
  Tensor narrow = must(Tensor::allocate({kStretch}, dtype));
  must(convert(ConstTensorView(std::as_const(wide).view()), narrow.view()));
  Tensor tensor = must(Tensor::allocate(shape, dtype, context.device));
  const std::int64_t count = shape.elements();
  for (std::int64_t first = 0; first < count; first += kStretch) {
    const std::int64_t here = std::min(kStretch, count - first);
    const ConstTensorView from(std::as_const(narrow).view().data, dtype, {here});
    const TensorView to(tensor.view().data + static_cast<std::size_t>(first) * dtype_size(dtype), dtype, {here},
                        context.device);
    must(copy(context, from, to));
  }
  return tensor;
}

template <class T>
Tensor sent(Context& context, const std::vector<T>& values) {
  const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(T));
  Tensor tensor = must(Tensor::allocate({bytes}, DType::u8, context.device));
  must(copy(context, ConstTensorView(reinterpret_cast<const std::byte*>(values.data()), DType::u8, {bytes}),
            tensor.view()));
  return tensor;
}

struct Ceilings {
  double copy = 0, matrix = 0;  // bytes read and written a second; operations a second
};

void print(const char* name, double seconds, double floor_seconds) {
  std::printf("%-58s %9.2f us", name, seconds * 1e6);
  if (floor_seconds > 0) std::printf("   floor %8.2f   x %.2f", floor_seconds * 1e6, seconds / floor_seconds);
  std::printf("\n");
  std::fflush(stdout);
}

// ---- Products ------------------------------------------------------------------------------------

/// y[rows, outputs] = x[rows, inputs] W[outputs, inputs]^T in bf16 by the best of cuBLASLt's ways.
double best_product_seconds(Context& context, std::int64_t rows, std::int64_t inputs, std::int64_t outputs) {
  cublasLtHandle_t handle = nullptr;
  must(cublasLtCreate(&handle), "cublasLtCreate");
  const std::int64_t weight_bytes = inputs * outputs * 2;
  const auto copies = static_cast<int>(std::clamp<std::int64_t>((std::int64_t{400} << 20) / weight_bytes, 1, 16));
  const Tensor x = filled(context, {rows, inputs}, DType::bf16);
  const Tensor weights = filled(context, {copies, outputs, inputs}, DType::bf16, 0.02f);
  Tensor y = must(Tensor::allocate({rows, outputs}, DType::bf16, context.device));
  const std::size_t workspace_bytes = std::size_t{kWorkspaceMiB} << 20;
  Tensor workspace = must(Tensor::allocate({static_cast<std::int64_t>(workspace_bytes)}, DType::u8, context.device));

  cublasLtMatmulDesc_t how = nullptr;
  must(cublasLtMatmulDescCreate(&how, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  must(cublasLtMatmulDescSetAttribute(how, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)), "transposition");
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  const auto u = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  must(cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, u(inputs), u(outputs), inputs), "layout");
  must(cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, u(inputs), u(rows), inputs), "layout");
  must(cublasLtMatrixLayoutCreate(&c, CUDA_R_16BF, u(outputs), u(rows), outputs), "layout");
  cublasLtMatmulPreference_t preference = nullptr;
  must(cublasLtMatmulPreferenceCreate(&preference), "preference");
  must(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                            sizeof(workspace_bytes)),
       "preference");
  std::array<cublasLtMatmulHeuristicResult_t, 12> ways{};
  int found = 0;
  must(cublasLtMatmulAlgoGetHeuristic(handle, how, a, b, c, c, preference, static_cast<int>(ways.size()), ways.data(),
                                      &found),
       "cublasLtMatmulAlgoGetHeuristic");
  const float one = 1.0f, zero = 0.0f;
  double best = 1e30;
  for (int way = 0; way < found; ++way) {
    const double seconds = median_seconds(stream_of(context), rows > 4096 ? 2 : 16, [&](int i) {
      const std::byte* weight = weights.view().data + (i % copies) * weight_bytes;
      must(cublasLtMatmul(handle, how, &one, weight, a, x.view().data, b, &zero, y.view().data, c, y.view().data, c,
                          &ways[static_cast<std::size_t>(way)].algo, workspace.view().data, workspace_bytes,
                          stream_of(context)),
           "cublasLtMatmul");
    });
    best = std::min(best, seconds);
  }
  cublasLtMatmulPreferenceDestroy(preference);
  for (cublasLtMatrixLayout_t layout : {a, b, c}) cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulDescDestroy(how);
  cublasLtDestroy(handle);
  return best;
}

Ceilings measure_ceilings(Context& context) {
  Ceilings ceilings;
  constexpr std::size_t kBytes = std::size_t{2} << 30;
  const Tensor from = filled(context, {static_cast<std::int64_t>(kBytes / 2)}, DType::bf16);
  Tensor to = must(Tensor::allocate({static_cast<std::int64_t>(kBytes)}, DType::u8, context.device));
  const double copied = median_seconds(stream_of(context), 4, [&](int) {
    must(cudaMemcpyAsync(to.view().data, from.view().data, kBytes, cudaMemcpyDeviceToDevice, stream_of(context)),
         "cudaMemcpyAsync");
  });
  ceilings.copy = 2.0 * kBytes / copied;
  constexpr std::int64_t kSide = 8192;
  ceilings.matrix = 2.0 * std::pow(static_cast<double>(kSide), 3) / best_product_seconds(context, kSide, kSide, kSide);
  std::printf("%-58s %9.2f TB/s\n", "ceiling: copy, bytes read and written", ceilings.copy / 1e12);
  std::printf("%-58s %9.0f TFLOP/s\n", "ceiling: bf16 product of 8192 x 8192 x 8192", ceilings.matrix / 1e12);
  return ceilings;
}

void time_decoder_products(Context& context) {
  struct Product {
    std::int64_t inputs, outputs;
  };
  constexpr Product kProducts[] = {{4096, 12288}, {4096, 4096}, {4096, 22016}, {11008, 4096}};
  for (const std::int64_t rows : {640, 512, 256, 128, 64}) {
    double layer = 0;
    for (const Product& product : kProducts) layer += best_product_seconds(context, rows, product.inputs, product.outputs);
    const std::string name = "cuBLASLt, one decoder layer of 7B, " + std::to_string(rows) + " tokens (x 32 = " +
                             std::to_string(layer * 32 * 1e3).substr(0, 5) + " ms)";
    print(name.c_str(), layer, 0);
  }
}

/// The same products by the library's own kernels, weights coming from memory.
void time_few_rows(Context& context, const Ceilings& ceilings) {
  struct Product {
    const char* name;
    std::int64_t inputs, outputs;
  };
  for (const Product& product : {Product{"query, key, value", 4096, 12288}, Product{"attention's output", 4096, 4096},
                                 Product{"gate and up", 4096, 22016}, Product{"down", 11008, 4096}}) {
    constexpr int kCopies = 6;
    std::vector<Linear> linears;
    for (int copy = 0; copy < kCopies; ++copy) {
      const Tensor weight = filled(context, {product.outputs, product.inputs}, DType::bf16, 0.02f);
      linears.push_back(must(Linear::create(context, weight.view(), {}, LinearDType::bf16)));
    }
    for (const std::int64_t rows : {2, 32, 64}) {
      const Tensor x = filled(context, {rows, product.inputs}, DType::bf16);
      Tensor y = must(Tensor::allocate({rows, product.outputs}, DType::bf16, context.device));
      const double seconds = graph_seconds(context, 2 * kCopies, [&](int i) {
        must(linears[static_cast<std::size_t>(i % kCopies)].apply(context, x.view(), y.view()));
      });
      const std::string name = "products of " + std::to_string(rows) + " rows, " + product.name;
      print(name.c_str(), seconds, 2.0 * static_cast<double>(product.inputs * product.outputs) / ceilings.copy);
    }
  }
}

// ---- Attention -----------------------------------------------------------------------------------

/// Keys and values of several layers, so that a decode step reads from memory; or of a layer's sequences.
struct Cache {
  Cache(Context& context, std::int32_t tokens, std::int32_t kv_heads, std::int32_t head_dim, int layers, DType dtype)
      : length(sent(context, std::vector<std::int32_t>{tokens})) {
    constexpr std::int32_t kPage = 64;
    const std::int32_t pages = (tokens + kPage - 1) / kPage;
    const std::int64_t page_elements = std::int64_t{kPage} * kv_heads * head_dim;
    memory = filled(context, {layers * 2, pages, page_elements}, dtype);
    std::vector<const std::byte*> table;
    for (std::int64_t page = 0; page < std::int64_t{layers} * 2 * pages; ++page) {
      table.push_back(std::as_const(memory).view().data +
                      page * page_elements * static_cast<std::int64_t>(dtype_size(dtype)));
    }
    tables = sent(context, table);
    const auto* const* first = std::as_const(tables).as<const std::byte*>();
    for (int layer = 0; layer < layers; ++layer) {
      KvView view;
      view.key_pages = first + std::int64_t{layer} * 2 * pages;
      view.value_pages = view.key_pages + pages;
      view.page_tokens = kPage;
      view.length = std::as_const(length).as<std::int32_t>();
      view.max_length = tokens;
      view.kv_heads = kv_heads;
      view.head_dim = head_dim;
      view.key_head_stride = view.value_head_stride = std::int64_t{kPage} * head_dim;
      view.key_token_stride = view.value_token_stride = head_dim;
      view.dtype = dtype;
      views.push_back(view);
    }
  }
  Tensor length, memory, tables;
  std::vector<KvView> views;
};

struct AttentionShape {
  const char* name;
  std::int32_t rows, tokens, heads, kv_heads, head_dim;
  MaskKind mask;
  DType dtype;
};

void time_attention(Context& context, const AttentionShape& shape, const Ceilings& ceilings) {
  const int layers = shape.rows == 1 ? 16 : 4;
  const Cache cache(context, shape.tokens, shape.kv_heads, shape.head_dim, layers, shape.dtype);
  const Tensor query = filled(context, {shape.rows, shape.heads, shape.head_dim}, shape.dtype);
  Tensor out = must(Tensor::allocate({shape.rows, shape.heads, shape.head_dim}, shape.dtype, context.device));
  Tensor lse = must(Tensor::allocate({shape.heads, shape.rows}, DType::f32, context.device));
  const std::int32_t offsets[2] = {0, shape.rows};
  AttentionArgs args;
  args.query = query.view();
  args.row_offsets = offsets;
  args.mask = shape.mask;
  args.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  args.out = out.view();
  args.lse = lse.view();
  const double seconds = graph_seconds(context, shape.rows > 4096 ? 2 : 32, [&](int i) {
    args.kv = std::span(&cache.views[static_cast<std::size_t>(i % layers)], 1);
    must(attention(context, args));
  });
  double pairs = static_cast<double>(shape.rows) * shape.tokens;
  if (shape.mask == MaskKind::causal) pairs -= shape.rows * (shape.rows - 1.0) / 2;
  const double operations = 4 * pairs * shape.heads * shape.head_dim;
  const double bytes = 2.0 * static_cast<double>(dtype_size(shape.dtype)) * shape.head_dim *
                       (static_cast<double>(shape.tokens) * shape.kv_heads + static_cast<double>(shape.rows) * shape.heads);
  print(shape.name, seconds, std::max(operations / ceilings.matrix, bytes / ceilings.copy));
}

/// A step of 32 sequences, with and without the keys read early.
void time_batched_decode(Context& context, std::int32_t tokens, const Ceilings& ceilings) {
  constexpr std::int32_t kSequences = 32, kHeads = 32, kHeadDim = 128;
  const int layers = tokens < 300 ? 8 : 3;
  const Cache cache(context, tokens, kHeads, kHeadDim, layers * kSequences, DType::bf16);
  const Tensor query = filled(context, {kSequences, kHeads, kHeadDim}, DType::bf16);
  Tensor out = must(Tensor::allocate({kSequences, kHeads, kHeadDim}, DType::bf16, context.device));
  std::array<std::int32_t, kSequences + 1> offsets;
  std::iota(offsets.begin(), offsets.end(), 0);
  AttentionArgs args;
  args.query = query.view();
  args.row_offsets = offsets;
  args.scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
  args.out = out.view();
  for (const bool settled : {false, true}) {
    args.history_settled = settled;
    const double seconds = graph_seconds(context, 24, [&](int i) {
      args.kv = std::span(cache.views).subspan(static_cast<std::size_t>(i % layers) * kSequences, kSequences);
      must(attention(context, args));
    });
    const double bytes = 4.0 * kHeadDim * kHeads * kSequences * (tokens + 1.0);
    const std::string name = "decode of 32 sequences at " + std::to_string(tokens) + (settled ? ", read early" : "");
    print(name.c_str(), seconds, bytes / ceilings.copy);
  }
}

struct ScoreShape {
  const char* name;
  std::int32_t rows, columns;
  Reduction reduce_rows, reduce_heads;
};

void time_scores(Context& context, const ScoreShape& shape) {
  constexpr std::int32_t kTokens = 640, kHeads = 32, kHeadDim = 128;
  const Cache cache(context, kTokens, kHeads, kHeadDim, 4, DType::bf16);
  const Tensor query = filled(context, {shape.rows, kHeads, kHeadDim}, DType::bf16);
  const Tensor lse = filled(context, {kHeads, shape.rows}, DType::f32);
  Shape out_shape{shape.columns};
  if (shape.reduce_rows == Reduction::none) out_shape = Shape{shape.rows, shape.columns};
  if (shape.reduce_heads == Reduction::none) out_shape = Shape{kHeads, shape.columns};
  Tensor out = must(Tensor::allocate(out_shape, DType::f32, context.device));
  std::vector<std::int32_t> columns, visible;
  for (std::int32_t c = 0; c < shape.columns; ++c) columns.push_back(35 + c);
  for (std::int32_t r = 0; r < shape.rows; ++r) visible.push_back(kTokens - shape.rows + r + 1);
  ScoreArgs args;
  args.query = query.view();
  args.lse = lse.view();
  args.visible = visible;
  args.scale = 0.0884f;
  args.columns = columns;
  args.rows = shape.reduce_rows;
  args.heads = shape.reduce_heads;
  args.out = out.view();
  const double seconds = graph_seconds(context, 16, [&](int i) {
    args.kv = cache.views[static_cast<std::size_t>(i % 4)];
    must(attention_scores(context, args));
  });
  print(shape.name, seconds, 0);
}

void time_selection(Context& context) {
  const Tensor scores = filled(context, {576}, DType::f32), many = filled(context, {18'000}, DType::f32);
  Tensor chosen = must(Tensor::allocate({900}, DType::i32, context.device));
  print("top 64 of 576", graph_seconds(context, 16, [&](int) {
          must(top_k_indices(context, scores.view(), TensorView(chosen.view().data, DType::i32, {64}, context.device)));
        }), 0);
  print("top 900 of 18,000", graph_seconds(context, 16, [&](int) {
          must(top_k_indices(context, many.view(), TensorView(chosen.view().data, DType::i32, {900}, context.device)));
        }), 0);
  const Tensor hidden = filled(context, {640, 4096}, DType::bf16);
  Tensor kept = must(Tensor::allocate({128, 4096}, DType::bf16, context.device));
  std::vector<std::int32_t> rows;
  for (std::int32_t r = 0; r < 128; ++r) rows.push_back(r * 5);
  const Tensor rows_there = sent(context, rows);
  print("gather 128 of 640 rows of 4096", graph_seconds(context, 16, [&](int) {
          must(gather_rows(context, hidden.view(),
                           ConstTensorView(rows_there.view().data, DType::i32, {128}, context.device), kept.view()));
        }), 0);
}

}  // namespace

int main() {
  Context context = must(make_context({.kind = DeviceKind::cuda, .index = 0}, 1));
  const DeviceInfo info = must(cuda_device_info(0));
  std::printf("%s, %d multiprocessors\n", info.name.c_str(), info.multiprocessors);
  const Ceilings ceilings = measure_ceilings(context);
  const MaskKind causal = MaskKind::causal, full = MaskKind::full;
  for (const AttentionShape& shape : {
           AttentionShape{"prefill 640, 32 heads of 128, bf16", 640, 640, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"prefill 128, 32 heads of 128, bf16", 128, 128, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"prefill 29 after 611, 32 heads of 128, bf16", 29, 640, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"prefill 2944, 32 heads of 128, bf16", 2944, 2944, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"prefill 18064, 32 heads of 128, bf16", 18064, 18064, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"tower 577, 16 heads of 64, bf16", 577, 577, 16, 16, 64, full, DType::bf16},
           AttentionShape{"prefill 640, 32 heads of 128, f32", 640, 640, 32, 32, 128, causal, DType::f32},
           AttentionShape{"decode at 704, 32 heads of 128, bf16", 1, 704, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"decode at 128, 32 heads of 128, bf16", 1, 128, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"decode at 4096, 32 heads of 128, bf16", 1, 4096, 32, 32, 128, causal, DType::bf16},
           AttentionShape{"decode at 4096, 32 heads on 8 kv heads of 128, bf16", 1, 4096, 32, 8, 128, causal,
                          DType::bf16},
       }) {
    time_attention(context, shape, ceilings);
  }
  for (const std::int32_t tokens : {72, 96, 200, 656}) time_batched_decode(context, tokens, ceilings);
  for (const ScoreShape& shape : {
           ScoreShape{"scores, 1 row x 576, sum over heads", 1, 576, Reduction::sum, Reduction::sum},
           ScoreShape{"scores, 29 rows x 576, sums over rows and heads", 29, 576, Reduction::sum, Reduction::sum},
           ScoreShape{"scores, 29 rows x 576, max over heads, then rows", 29, 576, Reduction::sum, Reduction::max},
           ScoreShape{"scores, 605 rows x 576, sums over rows and heads", 605, 576, Reduction::sum, Reduction::sum},
       }) {
    time_scores(context, shape);
  }
  time_selection(context);
  time_decoder_products(context);
  time_few_rows(context, ceilings);
  return 0;
}
