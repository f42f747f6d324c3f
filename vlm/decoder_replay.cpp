// A decode step on a GPU: recorded once per context, then replayed with other numbers in the same
// places.

#include <array>
#include <utility>

#include "kernels/copy.h"
#include "kernels/graph.h"
#include "kernels/kept.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/decoder_impl.h"

namespace fovea {

namespace {

/// What a recorded step reads and writes.
struct Replay {
  explicit Replay(Device device) : workspace(device) {}

  Workspace workspace;
  Tensor numbers;  // i32 [1 + layers]: the token, then its position in each layer
  Tensor pages;    // i64 [layers, 2, capacity]
  Tensor lengths;  // i32 [layers]
  Tensor logits;   // f32 [1, vocabulary]
  Tensor largest;  // i32 [1]: their index
  std::int64_t capacity = 0;
  std::uint64_t tables = 0;  // version of the cache's tables that `pages` holds
  Graph graph;

  KvTable table(int layer, DType dtype) {
    KvTable table;
    table.key_pages = pages.as<const std::byte*>() + layer * 2 * capacity;
    table.value_pages = table.key_pages + capacity;
    table.length = lengths.as<std::int32_t>() + layer;
    table.page_tokens = KvCache::kPageTokens;
    table.dtype = dtype;
    return table;
  }
};

Result<std::shared_ptr<Replay>> make_replay(Context& context, const DecoderConfig& config) {
  auto replay = std::make_shared<Replay>(context.device);
  const auto layers = static_cast<std::int64_t>(config.layers);
  replay->capacity = config.max_positions / KvCache::kPageTokens + 1;
  FOVEA_TRY(replay->numbers, Tensor::allocate({1 + layers}, DType::i32, context.device));
  FOVEA_TRY(replay->pages,
            Tensor::allocate({layers, 2, replay->capacity}, DType::i64, context.device));
  FOVEA_TRY(replay->lengths, Tensor::allocate({layers}, DType::i32, context.device));
  FOVEA_TRY(replay->logits, Tensor::allocate({1, config.vocab_size}, DType::f32, context.device));
  FOVEA_TRY(replay->largest, Tensor::allocate({1}, DType::i32, context.device));
  return replay;
}

Status run_layer(Context& context, const DecoderConfig& config, const DecoderBlock& block,
                 const KvTable& table, std::int64_t capacity, ConstTensorView position,
                 TensorView hidden) {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const BlockProjection projection,
            project_block(context, config, block, hidden, ConstTensorView{}));
  FOVEA_CHECK(turn_and_write_last_row(context, table, projection.query, projection.key,
                                      projection.value, position,
                                      static_cast<float>(config.rope_theta)));
  KvView view;
  view.key_pages = table.key_pages;
  view.value_pages = table.value_pages;
  view.length = table.length;
  view.max_length = static_cast<std::int32_t>(capacity * table.page_tokens);
  view.page_tokens = table.page_tokens;
  view.kv_heads = static_cast<std::int32_t>(config.kv_heads);
  view.head_dim = static_cast<std::int32_t>(config.head_dim);
  view.key_head_stride = view.value_head_stride = table.page_tokens * config.head_dim;
  view.key_token_stride = view.value_token_stride = config.head_dim;
  view.dtype = table.dtype;
  const std::array<KvView, 1> views{view};
  const std::array<std::int32_t, 2> offsets{0, 1};
  FOVEA_TRY(const TensorView mixed,
            context.workspace.take(Shape{1, config.heads, config.head_dim}, block.activations));
  AttentionArgs args;
  args.query = projection.query;
  args.row_offsets = offsets;
  args.kv = views;
  args.mask = MaskKind::causal;
  args.scale = attention_scale(config);
  args.out = mixed;
  FOVEA_CHECK(attention(context, args));
  TensorView row = mixed;
  row.shape = Shape{1, config.heads * config.head_dim};
  FOVEA_CHECK(block.output.apply(context, row, hidden, {.accumulate = true}));
  return run_mlp(context, config, block, hidden);
}

}  // namespace

Status Decoder::replay(Context& context, std::int32_t token, DecoderState& state, TensorView out,
                       Arriving* chosen) const {
  const auto layers = static_cast<int>(impl_->blocks.size());
  std::shared_ptr<void>& kept = kept_by(context, impl_.get());
  if (kept == nullptr) {
    FOVEA_TRY(kept, make_replay(context, impl_->config));
  }
  Replay& replay = *static_cast<Replay*>(kept.get());
  FOVEA_CHECK(state.cache.grow(context));
  FOVEA_CHECK(
      state.cache.copy_tables(context, replay.pages.view(), replay.lengths.view(), replay.tables));
  std::vector<std::int32_t> numbers{token};
  for (std::int32_t& position : state.next_position) numbers.push_back(position++);
  FOVEA_CHECK(copy(context, i32_view(numbers), replay.numbers.view()));
  if (replay.graph.empty()) {
    const DType stored = state.cache.dtype();
    FOVEA_TRY(replay.graph,
              Graph::record(
                  context, replay.workspace, [this, stored, layers, &replay, &context]() -> Status {
                    FOVEA_TRY(
                        const TensorView hidden,
                        context.workspace.take(Shape{1, impl_->config.hidden_size}, DType::f32));
                    FOVEA_CHECK(gather_rows(context, impl_->embeddings,
                                            replay.numbers.view().slice(0, 1), hidden));
                    for (int layer = 0; layer < layers; ++layer) {
                      FOVEA_CHECK(run_layer(context, impl_->config,
                                            impl_->blocks[static_cast<std::size_t>(layer)],
                                            replay.table(layer, stored), replay.capacity,
                                            replay.numbers.view().slice(1 + layer, 1), hidden));
                    }
                    FOVEA_CHECK(logits(context, hidden, replay.logits.view()));
                    return largest_index(context, replay.logits.view(), replay.largest.view());
                  }));
  }
  FOVEA_CHECK(replay.graph.launch(context));
  if (chosen != nullptr) {
    FOVEA_TRY(*chosen, Arriving::start(context, replay.largest.view()));
  }
  return out.empty() ? Status{} : copy(context, replay.logits.view(), out);
}

}  // namespace fovea
