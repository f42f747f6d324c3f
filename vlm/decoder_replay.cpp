// A decode step on a GPU: recorded once per context, then replayed with other numbers in the same
// places.

#include <array>
#include <utility>

#include "kernels/copy.h"
#include "kernels/fetch.h"
#include "kernels/graph.h"
#include "kernels/kept.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/rows/rows.h"
#include "kernels/ops/step/hand_over.h"
#include "vlm/decoder_impl.h"

namespace fovea {

namespace {

constexpr std::int64_t kSlots = 64;  // steps whose choice the host may have yet to read

/// What a recorded step reads and writes. At its end everything stands as the next step needs it,
/// which can so be ordered before the host knows the token that it begins with.
struct Replay {
  struct Recorded {
    explicit Recorded(Device device) : workspace(device) {}
    Workspace workspace;
    Graph graph;
  };

  explicit Replay(Device device) : greedy(device), drawing(device) {}

  /// i32: the token; what every step counts on: its number, then for each layer the token's
  /// position, then for each layer the tokens with it.
  Tensor numbers;
  Tensor pages;            // i64 [layers, 2, capacity]
  std::uint64_t held = 0;  // the cache's pages_version() that `pages` holds
  Tensor logits;           // f32 [1, vocabulary]
  Tensor draw;             // u8 [1, sizeof(Draw)]: how the step chooses, where by drawing
  Outbox chosen;           // of the last kSlots steps, by their number
  std::int64_t layers = 0, capacity = 0;
  std::int64_t ordered = 0;  // steps so far
  Recorded greedy, drawing;  // by how they choose

  TensorView token() { return numbers.view().slice(0, 1); }
  TensorView counters() { return numbers.view().slice(1, 1 + 2 * layers); }
  ConstTensorView position(int layer) { return numbers.view().slice(2 + layer, 1); }
  TensorView slots() const {
    TensorView view = chosen.numbers();
    view.shape = {kSlots, 1};
    view.row_stride = 1;
    return view;
  }

  KvTable table(int layer, DType dtype) {
    KvTable table;
    table.key_pages = pages.as<const std::byte*>() + layer * 2 * capacity;
    table.value_pages = table.key_pages + capacity;
    table.length = numbers.view().slice(2 + layers + layer, 1).as<std::int32_t>();
    table.page_tokens = KvCache::kPageTokens;
    table.dtype = dtype;
    return table;
  }
};

Result<std::shared_ptr<Replay>> make_replay(Context& context, const DecoderConfig& config) {
  auto replay = std::make_shared<Replay>(context.device);
  replay->layers = config.layers;
  replay->capacity = config.max_positions / KvCache::kPageTokens + 1;
  FOVEA_TRY(replay->numbers, Tensor::allocate({2 + 2 * config.layers}, DType::i32, context.device));
  FOVEA_TRY(replay->pages,
            Tensor::allocate({config.layers, 2, replay->capacity}, DType::i64, context.device));
  FOVEA_TRY(replay->logits, Tensor::allocate({1, config.vocab_size}, DType::f32, context.device));
  FOVEA_TRY(replay->draw, Tensor::allocate({1, sizeof(Draw)}, DType::u8, context.device));
  FOVEA_TRY(replay->chosen, Outbox::create(context, kSlots));
  return replay;
}

/// Brings the pages of a cache to where the recorded step looks for them.
Status send_pages(Context& context, const KvCache& cache, Replay& replay) {
  if (replay.held == cache.pages_version()) return {};
  FOVEA_TRY(Tensor addresses, Tensor::allocate(replay.pages.shape(), DType::i64));
  FOVEA_CHECK(cache.list_pages(replay.capacity, addresses.as<std::int64_t>()));
  replay.held = 0;
  FOVEA_CHECK(copy(context, addresses.view(), replay.pages.view()));
  replay.held = cache.pages_version();
  return {};
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
  const std::array<KvView, 1> views{
      table.view(capacity * table.page_tokens, config.kv_heads, config.head_dim)};
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
  args.history_settled = true;
  FOVEA_CHECK(attention(context, args));
  TensorView row = mixed;
  row.shape = Shape{1, config.heads * config.head_dim};
  FOVEA_CHECK(block.output.apply(context, row, hidden, {.accumulate = true}));
  return run_mlp(context, config, block, hidden);
}

Replay* replay_of(Context& context, const void* decoder) {
  return static_cast<Replay*>(kept_by(context, decoder).get());
}

}  // namespace

Result<std::int64_t> Decoder::order_step(Context& context, const StepStart& start,
                                         DecoderState& state) const {
  std::shared_ptr<void>& kept = kept_by(context, impl_.get());
  if (kept == nullptr) {
    FOVEA_TRY(kept, make_replay(context, impl_->config));
  }
  Replay& replay = *static_cast<Replay*>(kept.get());
  if (!start.token && start.after + 1 != replay.ordered) {
    return make_error(ErrorCode::internal, "another step came between");
  }
  FOVEA_CHECK(state.cache.reserve(context, 1));
  FOVEA_CHECK(send_pages(context, state.cache, replay));
  const auto send_numbers = [&]() -> Status {
    std::vector<std::int32_t> numbers{*start.token,
                                      static_cast<std::int32_t>(replay.ordered % kSlots)};
    numbers.insert(numbers.end(), state.next_position.begin(), state.next_position.end());
    for (int layer = 0; layer < state.cache.layers(); ++layer) {
      numbers.push_back(state.cache.length(layer) + 1);
    }
    return copy(context, i32_view(numbers), replay.numbers.view());
  };
  if (start.token) FOVEA_CHECK(send_numbers());
  const bool draws = start.draw.has_value();
  if (draws) FOVEA_CHECK(copy(context, draws_view({&*start.draw, 1}), replay.draw.view()));
  auto& [workspace, graph] = draws ? replay.drawing : replay.greedy;
  if (graph.empty()) {
    if (!start.token) return make_error(ErrorCode::internal, "another way of choosing began");
    const DType stored = state.cache.dtype();
    FOVEA_TRY(
        graph,
        Graph::record(context, workspace, [this, stored, draws, &replay, &context]() -> Status {
          FOVEA_TRY(const TensorView hidden,
                    context.workspace.take(Shape{1, impl_->config.hidden_size}, DType::f32));
          FOVEA_CHECK(
              gather_rows(context, impl_->embeddings, ConstTensorView(replay.token()), hidden));
          for (int layer = 0; layer < static_cast<int>(replay.layers); ++layer) {
            FOVEA_CHECK(run_layer(
                context, impl_->config, impl_->blocks[static_cast<std::size_t>(layer)],
                replay.table(layer, stored), replay.capacity, replay.position(layer), hidden));
          }
          FOVEA_CHECK(logits(context, hidden, replay.logits.view()));
          FOVEA_CHECK(draws ? draw_indices(context, replay.logits.view(), replay.draw.view(),
                                           replay.token())
                            : largest_index(context, replay.logits.view(), replay.token()));
          return hand_over(context, {replay.token(), replay.counters(), replay.slots()});
        }));
    FOVEA_CHECK(send_numbers());  // recording ran the step once, which counted on
  }
  FOVEA_CHECK(graph.launch(context));
  state.cache.advance(1);
  for (std::int32_t& position : state.next_position) ++position;
  return replay.ordered++;
}

Result<std::int32_t> Decoder::chosen_by(Context& context, std::int64_t number) const {
  const Replay* const replay = replay_of(context, impl_.get());
  if (replay == nullptr || number < replay->ordered - kSlots || number >= replay->ordered) {
    return make_error(ErrorCode::internal, "the choice of another step");
  }
  return replay->chosen.read(number % kSlots);
}

Status Decoder::replay(Context& context, std::int32_t token, DecoderState& state,
                       TensorView out) const {
  FOVEA_CHECK(order_step(context, {token}, state));
  return copy(context, replay_of(context, impl_.get())->logits.view(), out);
}

}  // namespace fovea
