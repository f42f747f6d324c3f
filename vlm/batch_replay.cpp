#include "vlm/batch_replay.h"

#include <algorithm>
#include <utility>

#include "kernels/copy.h"
#include "kernels/kept.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/rows/rows.h"

namespace fovea {

namespace {

/// Places of the graph that serves so many sequences: a few graphs serve every number.
std::int64_t places_for(std::int64_t sequences) {
  if (sequences <= 4) return sequences;
  return (sequences + 3) / 4 * 4;
}

/// i32 numbers of the host as [rows, width].
ConstTensorView table_view(const std::vector<std::int32_t>& numbers, std::int64_t rows) {
  ConstTensorView view = i32_view(numbers);
  const std::int64_t width = view.shape[0] / rows;
  view.shape = {rows, width};
  view.row_stride = width;
  return view;
}

}  // namespace

Result<std::shared_ptr<BatchReplay>> BatchReplay::of(Context& context, const DecoderConfig& config,
                                                     const void* owner) {
  std::shared_ptr<void>& kept = kept_by(context, owner);
  if (kept == nullptr) kept = std::make_shared<BatchReplay>(context.device, config);
  return std::static_pointer_cast<BatchReplay>(kept);
}

Status BatchReplay::make_room(Context& context, std::int64_t places, std::int64_t pages) {
  if (places <= capacity_ && pages <= page_capacity_) return {};
  graphs_.clear();
  const std::int64_t layers = config_.layers;
  places = std::max(places, capacity_);
  constexpr std::int64_t kSpare = 16;  // answers grow
  if (pages > page_capacity_) page_capacity_ = pages + kSpare;
  const Device device = context.device;
  FOVEA_TRY(tokens_, Tensor::allocate({places}, DType::i32, device));
  FOVEA_TRY(draws_, Tensor::allocate({places, sizeof(Draw)}, DType::u8, device));
  FOVEA_TRY(choices_, Tensor::allocate({places}, DType::i32, device));
  FOVEA_TRY(by_, Tensor::allocate({places}, DType::i32, device));
  FOVEA_TRY(lengths_, Tensor::allocate({layers, places}, DType::i32, device));
  FOVEA_TRY(positions_, Tensor::allocate({layers, places}, DType::i32, device));
  FOVEA_TRY(pages_, Tensor::allocate({places, layers, 2, page_capacity_}, DType::i64, device));
  FOVEA_TRY(logits_, Tensor::allocate({places, config_.vocab_size}, DType::f32, device));
  capacity_ = places;
  return {};
}

Status BatchReplay::empty_places(Context& context) {
  const std::vector<std::int32_t> zeros(static_cast<std::size_t>(config_.layers * capacity_));
  FOVEA_CHECK(copy(context, table_view(zeros, config_.layers), lengths_.view()));
  FOVEA_CHECK(copy(context, table_view(zeros, config_.layers), positions_.view()));
  FOVEA_CHECK(copy(context, i32_view(std::span(zeros).first(static_cast<std::size_t>(capacity_))),
                   by_.view()));
  FOVEA_CHECK(draw(context, {}));
  return tell(context, {});
}

Status BatchReplay::seat(Context& context, const Model& model,
                         std::span<const DecoderState* const> states, bool draws) {
  seated_ = static_cast<std::int64_t>(states.size());
  drawing_ = draws;
  const std::int64_t used = places_for(seated_);
  std::int64_t pages_used = 1;
  for (const DecoderState* state : states) {
    pages_used = std::max<std::int64_t>(pages_used, state->cache.most_pages());
  }
  FOVEA_CHECK(make_room(context, used, pages_used));
  stored_ = states.front()->cache.dtype();
  if (Graph& graph = graphs_[{used, draws}]; graph.empty()) {
    // Recording runs the step once, which must not move anybody on.
    FOVEA_CHECK(empty_places(context));
    FOVEA_TRY(graph,
              Graph::record(context, workspace_, [&] { return run(context, model, used, draws); }));
  }
  const auto places = static_cast<std::size_t>(capacity_);
  const auto layers = static_cast<std::size_t>(config_.layers);
  std::vector<std::int32_t> by(places), lengths(layers * places), positions(layers * places);
  FOVEA_TRY(Tensor pages,
            Tensor::allocate({seated_, config_.layers, 2, page_capacity_}, DType::i64));
  const std::int64_t one = config_.layers * 2 * page_capacity_;
  for (std::size_t s = 0; s < states.size(); ++s) {
    by[s] = 1;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      lengths[layer * places + s] = states[s]->cache.length(static_cast<int>(layer));
      positions[layer * places + s] = states[s]->next_position[layer];
    }
    FOVEA_CHECK(states[s]->cache.list_pages(
        page_capacity_, pages.as<std::int64_t>() + static_cast<std::int64_t>(s) * one));
  }
  FOVEA_CHECK(copy(context, i32_view(by), by_.view()));
  FOVEA_CHECK(copy(context, table_view(lengths, config_.layers), lengths_.view()));
  FOVEA_CHECK(copy(context, table_view(positions, config_.layers), positions_.view()));
  return copy(context, std::as_const(pages).view(), pages_.view().slice(0, seated_));
}

Status BatchReplay::tell(Context& context, const std::vector<std::int32_t>& tokens) {
  std::vector<std::int32_t> all = tokens;
  all.resize(static_cast<std::size_t>(capacity_));  // some token where nobody sits
  return copy(context, i32_view(all), tokens_.view());
}

Status BatchReplay::draw(Context& context, std::span<const Draw> draws) {
  std::vector<Draw> all(draws.begin(), draws.end());
  all.resize(static_cast<std::size_t>(capacity_));
  return copy(context, draws_view(all), draws_.view());
}

KvTables BatchReplay::tables(std::int64_t layer) const {
  KvTables tables;
  auto* pages = reinterpret_cast<const std::byte**>(
      const_cast<std::int64_t*>(pages_.as<std::int64_t>()) + layer * 2 * page_capacity_);
  tables.first.key_pages = pages;
  tables.first.value_pages = pages + page_capacity_;
  tables.first.length = const_cast<std::int32_t*>(lengths_.as<std::int32_t>()) + layer * capacity_;
  tables.first.page_tokens = KvCache::kPageTokens;
  tables.first.dtype = stored_;
  tables.page_stride = config_.layers * 2 * page_capacity_;
  tables.length_stride = 1;
  return tables;
}

Status BatchReplay::run_layer(Context& context, const DecoderBlock& block, std::int64_t layer,
                              TensorView hidden) {
  const std::int64_t places = hidden.rows();
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const BlockProjection projection,
            project_block(context, config_, block, hidden, ConstTensorView{}));
  const KvTables tables = this->tables(layer);
  TensorView positions = positions_.view().slice(layer, 1);
  positions.shape = {places};
  positions.row_stride = 1;
  FOVEA_CHECK(turn_and_write_last_rows(context, tables, projection.query, projection.key,
                                       projection.value, positions,
                                       static_cast<float>(config_.rope_theta)));
  std::vector<KvView> views;
  std::vector<std::int32_t> offsets{0};
  for (std::int64_t place = 0; place < places; ++place) {
    views.push_back(tables.at(place).view(page_capacity_ * tables.first.page_tokens,
                                          config_.kv_heads, config_.head_dim));
    offsets.push_back(offsets.back() + 1);
  }
  FOVEA_TRY(
      const TensorView mixed,
      context.workspace.take(Shape{places, config_.heads, config_.head_dim}, block.activations));
  AttentionArgs args;
  args.query = projection.query;
  args.row_offsets = offsets;
  args.kv = views;
  args.mask = MaskKind::causal;
  args.scale = attention_scale(config_);
  args.out = mixed;
  args.history_settled = true;
  FOVEA_CHECK(attention(context, args));
  TensorView rows = mixed;
  rows.shape = Shape{places, config_.heads * config_.head_dim};
  FOVEA_CHECK(block.output.apply(context, rows, hidden, {.accumulate = true}));
  return run_mlp(context, config_, block, hidden);
}

Status BatchReplay::run(Context& context, const Model& model, std::int64_t places, bool draws) {
  const ConstTensorView by = std::as_const(by_).view();
  FOVEA_CHECK(increase(context, lengths_.view(), by));
  FOVEA_TRY(const TensorView hidden,
            context.workspace.take(Shape{places, config_.hidden_size}, DType::f32));
  const TensorView tokens = tokens_.view().slice(0, places);
  FOVEA_CHECK(gather_rows(context, model.embeddings, ConstTensorView(tokens), hidden));
  for (std::size_t layer = 0; layer < model.blocks.size(); ++layer) {
    FOVEA_CHECK(run_layer(context, model.blocks[layer], static_cast<std::int64_t>(layer), hidden));
  }
  const TensorView logits = logits_.view().slice(0, places);
  const TensorView choices = choices_.view().slice(0, places);
  FOVEA_CHECK(model.decoder.logits(context, hidden, logits));
  FOVEA_CHECK(draws ? draw_indices(context, logits, draws_.view().slice(0, places), choices)
                    : largest_index(context, logits, choices));
  FOVEA_CHECK(next_tokens(context, choices, tokens));
  return increase(context, positions_.view(), by);
}

Status BatchReplay::step(Context& context) {
  return graphs_[{places_for(seated_), drawing_}].launch(context);
}

}  // namespace fovea
