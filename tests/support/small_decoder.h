#pragma once
// A small random decoder, and runs of it over prompts of random embeddings with a layout made by
// hand, for promises that hold for every pruning method.

#include <gtest/gtest.h>

#include <optional>
#include <utility>
#include <vector>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "support/fake_stage.h"
#include "support/tensors.h"
#include "vlm/decoder.h"

namespace fovea::testing {

inline DecoderConfig small_config(int layers) {
  DecoderConfig config;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.layers = layers;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.max_positions = 512;
  return config;
}

/// Text, a picture of 4 x 4, text, another picture, text.
inline SequenceLayout two_picture_layout(int before, int between, int after) {
  SequenceLayout layout = simple_layout(before, 16, between, 4);
  const SequenceLayout second = simple_layout(0, 16, after, 4);
  for (std::size_t i = 0; i < second.kinds.size(); ++i) {
    layout.kinds.push_back(second.kinds[i]);
    layout.visual_ids.push_back(second.visual_ids[i] < 0 ? -1 : second.visual_ids[i] + 16);
  }
  for (VisualToken token : second.visual) {
    token.image = 1;
    layout.visual.push_back(token);
  }
  return layout;
}

class SmallDecoder {
 public:
  explicit SmallDecoder(int layers, Device device = {})
      : device_(device), decoder_(make(layers, device)) {}

  const Decoder& decoder() const { return decoder_; }
  int layers() const { return static_cast<int>(decoder_.config().layers); }
  ModelShape shape() const {
    const DecoderConfig& c = decoder_.config();
    return {static_cast<int>(c.layers),
            static_cast<int>(c.heads),
            static_cast<int>(c.kv_heads),
            c.hidden_size,
            c.head_dim,
            c.rope_theta};
  }

  struct Run {
    PruningPlan plan;
    PruningRecord record;
    DecoderState state;
    std::vector<float> logits;
  };

  struct Options {
    Policy* policy = nullptr;
    std::optional<PositionMode> positions;  // null: the policy's own
    const DecoderPrefix* prefix = nullptr;
    DecoderPrefix* capture = nullptr;
  };

  /// embeddings: [tokens][hidden], as random_embeddings() makes them.
  Result<Run> prefill(const SequenceLayout& layout, std::vector<float> embeddings,
                      const Options& options) const {
    FOVEA_TRY(Context context, make_context(device_, 2));
    Run run;
    if (options.policy != nullptr) {
      FOVEA_TRY(run.plan, options.policy->plan(layout, shape()));
      if (options.positions) run.plan.positions = *options.positions;
    }
    run.record.initial = layout.visual_count();
    run.state = decoder_.new_state();
    run.logits.resize(static_cast<std::size_t>(decoder_.config().vocab_size));
    PrefillInput input;
    input.embeddings =
        ConstTensorView(reinterpret_cast<const std::byte*>(embeddings.data()), DType::f32,
                        Shape{layout.tokens(), decoder_.config().hidden_size});
    if (options.prefix != nullptr && !run.plan.reads_embeddings) {
      const std::int64_t reused = options.prefix->tokens;
      input.embeddings = input.embeddings.slice(reused, layout.tokens() - reused);
    }
    input.layout = &layout;
    input.policy = run.plan.stages.empty() ? nullptr : options.policy;
    input.plan = &run.plan;
    input.prefix = options.prefix;
    input.capture = options.capture;
    FOVEA_TRY(Tensor logits, room_for_logits());
    FOVEA_CHECK(decoder_.prefill(context, input, run.state, logits.view(), &run.record, nullptr));
    FOVEA_CHECK(copy(context, std::as_const(logits).view(), logits_view(run)));
    return run;
  }

  void decode(Run& run, std::int32_t token) const {
    Result<Context> context = make_context(device_, 1);
    Result<Tensor> logits = room_for_logits();
    ASSERT_TRUE(context && logits);
    const Status status = decoder_.decode(*context, token, run.state, logits->view(), nullptr);
    EXPECT_TRUE(status) << status.error().to_string();
    EXPECT_TRUE(copy(*context, std::as_const(*logits).view(), logits_view(run)));
  }

  std::vector<float> random_embeddings(const SequenceLayout& layout, std::uint64_t stream) const {
    return Random(stream).normals(layout.tokens() * decoder_.config().hidden_size);
  }
  /// The embedding of one token of the vocabulary.
  std::vector<float> embedding(std::int32_t token) const {
    Context context;
    std::vector<float> row(static_cast<std::size_t>(decoder_.config().hidden_size));
    EXPECT_TRUE(decoder_.embed(context, std::array{token},
                               TensorView(reinterpret_cast<std::byte*>(row.data()), DType::f32,
                                          Shape{1, decoder_.config().hidden_size})));
    return row;
  }

 private:
  static Decoder make(int layers, Device device) {
    Result<Context> context = make_context(device, 1);
    EXPECT_TRUE(context) << context.error().to_string();
    auto decoder = Decoder::random(*context, small_config(layers), LinearDType::f32, 7);
    EXPECT_TRUE(decoder) << decoder.error().to_string();
    return std::move(*decoder);
  }
  Result<Tensor> room_for_logits() const {
    return Tensor::allocate(Shape{1, decoder_.config().vocab_size}, DType::f32, device_);
  }
  static TensorView logits_view(Run& run) {
    return TensorView(reinterpret_cast<std::byte*>(run.logits.data()), DType::f32,
                      Shape{1, static_cast<std::int64_t>(run.logits.size())});
  }

  Device device_;
  Decoder decoder_;
};

}  // namespace fovea::testing
