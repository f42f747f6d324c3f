// Which of the GPU's attention kernels runs, and what it is told.

#include "kernels/ops/attention/attention_cuda.h"

#include <algorithm>
#include <bit>
#include <string>

#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_launch.cuh"

namespace fovea {
namespace {

enum class Kernel { exact, tensor, decode };

bool multiple_of_eight(std::int64_t value) {
  return value % 8 == 0;
}

bool aligned(const std::byte* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

/// Whether eight channels can be read at a time.
bool reads_whole(const KvView& kv) {
  return multiple_of_eight(kv.head_dim) && multiple_of_eight(kv.key_head_stride) &&
         multiple_of_eight(kv.key_token_stride) && multiple_of_eight(kv.value_head_stride) &&
         multiple_of_eight(kv.value_token_stride);
}

Kernel choose(const AttentionArgs& args, std::size_t s) {
  const KvView& kv = args.kv[s];
  const std::int32_t shift = page_shift(kv);
  if (!reads_whole(kv) || shift < 0) return Kernel::exact;
  const std::int64_t rows = args.row_offsets[s + 1] - args.row_offsets[s];
  if (rows * (args.query.shape[1] / kv.kv_heads) <= kMostDecodeLanes) return Kernel::decode;
  const bool one_type =
      kv.dtype != DType::f32 && args.query.dtype == kv.dtype && args.out.dtype == kv.dtype;
  const bool whole = aligned(args.query.data) && multiple_of_eight(args.query.row_stride) &&
                     aligned(args.out.data) && multiple_of_eight(args.out.row_stride);
  return one_type && whole && shift >= kTilePageShift && tensor_attention_fits(kv.head_dim)
             ? Kernel::tensor
             : Kernel::exact;
}

CudaSequence describe(const AttentionArgs& args, std::size_t s) {
  const KvView& kv = args.kv[s];
  CudaSequence sequence{};
  sequence.key_pages = kv.key_pages;
  sequence.value_pages = kv.value_pages;
  sequence.length = kv.length;
  sequence.key_bias = args.key_bias.empty() ? nullptr : args.key_bias[s];
  sequence.key_head_stride = kv.key_head_stride;
  sequence.key_token_stride = kv.key_token_stride;
  sequence.value_head_stride = kv.value_head_stride;
  sequence.value_token_stride = kv.value_token_stride;
  sequence.page_tokens = kv.page_tokens;
  sequence.page_shift = page_shift(kv);
  sequence.first_row = args.row_offsets[s];
  sequence.rows = args.row_offsets[s + 1] - args.row_offsets[s];
  return sequence;
}

Status run(Context& context, Kernel kernel, DType kv_type, const AttentionLaunch& launch) {
  const cudaStream_t stream = stream_of(context);
  switch (kernel) {
    case Kernel::exact: return launch_exact_attention(launch, kv_type, stream);
    case Kernel::tensor: {
      bool launched = false;
      FOVEA_CHECK(launch_hopper_attention(launch, kv_type, context.cuda->multiprocessors, stream, &launched));
      return launched ? Status{} : launch_tensor_attention(launch, kv_type, stream);
    }
    case Kernel::decode: break;
  }
  int major = 0;
  FOVEA_CUDA_CHECK(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, context.device.index));
  constexpr int kFirstWithClusters = 9;
  return launch_decode_attention(launch, kv_type, context.cuda->multiprocessors,
                                 major >= kFirstWithClusters, stream);
}

}  // namespace

std::int32_t page_shift(const KvView& kv) {
  const auto size = static_cast<std::uint32_t>(kv.page_tokens);
  if (std::has_single_bit(size)) return std::countr_zero(size);
  return kv.max_length <= kv.page_tokens ? 31 : -1;
}

Error too_many_channels(std::int64_t channels) {
  return make_error(ErrorCode::unsupported, "attention heads of " + std::to_string(channels) +
                                                " channels: the GPU's kernels hold up to " +
                                                std::to_string(kMostExactChannels))
      .with_remedy("Use --device cpu");
}

Status attention_cuda(Context& context, const AttentionArgs& args) {
  const Shape& shape = args.query.shape;
  if (shape[2] > kMostExactChannels) return too_many_channels(shape[2]);
  AttentionLaunch launch{};
  launch.query = args.query.data;
  launch.out = args.out.data;
  launch.lse = args.lse.empty() ? nullptr : args.lse.as<float>();
  launch.query_stride = args.query.row_stride;
  launch.out_stride = args.out.row_stride;
  launch.lse_stride = args.lse.row_stride;
  launch.query_type = args.query.dtype;
  launch.out_type = args.out.dtype;
  launch.causal = args.mask == MaskKind::causal;
  launch.history_settled = args.history_settled;
  launch.heads = static_cast<std::int32_t>(shape[1]);
  launch.head_dim = static_cast<std::int32_t>(shape[2]);
  launch.scale = args.scale * kLog2EFloat;

  // Sequences that go the same way and lie side by side share a launch.
  const std::size_t count = args.kv.size();
  for (std::size_t s = 0; s < count;) {
    const Kernel kernel = choose(args, s);
    const DType kv_type = args.kv[s].dtype;
    launch.kv_heads = args.kv[s].kv_heads;
    launch.sequences = 0;
    launch.most_rows = 0;
    for (; s < count && launch.sequences < kSequencesPerLaunch; ++s) {
      const KvView& kv = args.kv[s];
      if (kv.dtype != kv_type || kv.kv_heads != launch.kv_heads || choose(args, s) != kernel) break;
      const CudaSequence sequence = describe(args, s);
      if (sequence.rows == 0) continue;
      launch.sequence[launch.sequences++] = sequence;
      launch.most_rows = std::max(launch.most_rows, sequence.rows);
    }
    if (launch.sequences > 0) FOVEA_CHECK(run(context, kernel, kv_type, launch));
  }
  return {};
}

}  // namespace fovea
