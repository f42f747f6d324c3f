#include "app/bench_run.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <map>
#include <string>

#include "app/text.h"
#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/ops/floor/floor.h"
#include "kernels/ops/rows/rows.h"
#include "vision/preprocess.h"
#include "vlm/decode_stream.h"
#include "vlm/sampler.h"

namespace fovea::app {
namespace {

constexpr std::int64_t kSystemTokens = 35;
constexpr std::int64_t kQuestionTokens = 29;

class Stopwatch {
 public:
  double ms() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// Largest resident size of this process so far, 0 when the system does not say.
std::uint64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    std::uint64_t kilobytes = 0;
    if (key == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
    std::getline(status, key);  // the rest of the row
  }
  return 0;
}

/// A picture with something everywhere, the same each time.
Image test_picture() {
  Image picture = Image::filled(640, 480, 0, 0, 0);
  std::uint32_t state = 1;
  for (std::uint8_t& value : picture.rgb) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<std::uint8_t>(state >> 24);
  }
  return picture;
}

class Bench {
 public:
  Bench(const LlavaModel& model, const BenchPlan& plan, const std::atomic<bool>* cancel)
      : model_(model), plan_(plan), cancel_(cancel) {}

  Status prepare() {
    FOVEA_TRY(context_, make_context(model_.device(), plan_.threads));
    context_.cancel = cancel_;
    const LlavaConfig& config = model_.config();
    constexpr std::int64_t around = kSystemTokens + kQuestionTokens;
    visual_ = model_.has_vision() ? config.visual_tokens_per_image()
                                  : std::max<std::int64_t>(0, plan_.prompt_tokens - around);
    const std::int64_t text = plan_.prompt_tokens - visual_;
    if (text < 1) {
      return make_error(ErrorCode::usage,
                        format("a prompt of %lld tokens has no room for the picture's %lld and a "
                               "question",
                               static_cast<long long>(plan_.prompt_tokens),
                               static_cast<long long>(visual_)))
          .in_field("--prompt-tokens");
    }
    if (plan_.prompt_tokens + plan_.new_tokens > config.decoder.max_positions) {
      return make_error(ErrorCode::usage,
                        format("%lld prompt tokens and %d new ones are more than this model's "
                               "context of %lld",
                               static_cast<long long>(plan_.prompt_tokens), plan_.new_tokens,
                               static_cast<long long>(config.decoder.max_positions)))
          .in_field("--prompt-tokens");
    }
    system_ = std::min(kSystemTokens, text - 1);
    make_layout();
    const std::int64_t width = config.decoder.hidden_size;
    FOVEA_TRY(embeddings_,
              Tensor::allocate(Shape{plan_.prompt_tokens, width}, DType::f32, context_.device));
    FOVEA_TRY(logits_,
              Tensor::allocate(Shape{1, config.decoder.vocab_size}, DType::f32, context_.device));
    ids_.resize(static_cast<std::size_t>(plan_.prompt_tokens));
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      ids_[i] = static_cast<std::int32_t>((i * 7919 + 13) %
                                          static_cast<std::size_t>(config.decoder.vocab_size));
    }
    FOVEA_CHECK(model_.decoder().embed(context_, ids_, embeddings_.view()));
    if (!model_.has_vision()) return {};
    FOVEA_TRY(features_, Tensor::allocate(Shape{config.vision.tokens(), config.vision.hidden_size},
                                          DType::f32, context_.device));
    FOVEA_TRY(PreparedImage prepared, preprocess(context_, picture_, config.preprocess));
    pixels_ = std::move(prepared.pixels);
    return {};
  }

  /// Tower and projector, into the embeddings' visual rows.
  Status see() {
    FOVEA_CHECK(model_.vision().forward(context_, pixels_.view(), features_.view()));
    const std::int64_t skipped = features_.shape()[0] - visual_;  // the class token
    return model_.projector().forward(context_, features_.view().slice(skipped, visual_),
                                      embeddings_.view().slice(system_, visual_));
  }

  Status read_prompt(const PruneSetup& setup, DecoderState& state, PruningRecord* record) {
    PruningPlan plan;
    if (setup.policy != nullptr) {
      const DecoderConfig& config = model_.config().decoder;
      const ModelShape shape{static_cast<int>(config.layers),
                             static_cast<int>(config.heads),
                             static_cast<int>(config.kv_heads),
                             config.hidden_size,
                             config.head_dim,
                             config.rope_theta};
      FOVEA_TRY(plan, setup.policy->plan(layout_, shape));
      if (setup.positions) plan.positions = *setup.positions;
    }
    PrefillInput input;
    input.embeddings = embeddings_.view();
    input.layout = &layout_;
    input.policy = plan.stages.empty() ? nullptr : setup.policy.get();
    input.plan = &plan;
    return model_.decoder().prefill(context_, input, state, logits_.view(), record, nullptr);
  }

  /// What the setting keeps, and how many visual tokens then enter each layer.
  Status record_stages(const PruneSetup& setup, BenchRun& run) {
    DecoderState state = model_.decoder().new_state();
    run.record.initial = visual_;
    FOVEA_CHECK(read_prompt(setup, state, &run.record));
    BudgetShape shape;
    shape.layers = static_cast<int>(model_.config().decoder.layers);
    run.entering = account(run.record, shape, plan_.prompt_tokens - visual_).entering;
    return {};
  }

  Result<double> time_vision() {
    const Stopwatch watch;
    FOVEA_CHECK(see());
    FOVEA_CHECK(synchronize(context_));
    return watch.ms();
  }

  struct DecoderTimes {
    double prefill = 0, select = 0, token = 0;  // milliseconds
  };

  /// Prefill, then the decoding that follows it.
  Result<DecoderTimes> time_decoder(const PruneSetup& setup) {
    PruningRecord record;
    record.initial = visual_;
    DecoderState state = model_.decoder().new_state();
    DecoderTimes times;
    const Stopwatch prefill;
    FOVEA_CHECK(read_prompt(setup, state, &record));
    FOVEA_CHECK(synchronize(context_));
    times.prefill = prefill.ms();
    for (const StageRecord& stage : record.stages) times.select += stage.select_ms;
    FOVEA_TRY(Sampler sampler, Sampler::create({}));
    FOVEA_TRY(std::int32_t token, next_token(sampler));
    const Stopwatch decode;
    DecodeStream stream(model_.decoder(), context_, state, plan_.new_tokens);
    for (int left = plan_.new_tokens; left-- > 0;) {
      FOVEA_TRY(token, stream.next(token, left));
    }
    times.token = decode.ms() / plan_.new_tokens;
    return times;
  }

  /// From the picture's pixels to the first token.
  Result<double> time_first_token(const PruneSetup& setup) {
    DecoderState state = model_.decoder().new_state();
    FOVEA_TRY(Sampler sampler, Sampler::create({}));
    const Stopwatch watch;
    if (model_.has_vision()) {
      FOVEA_TRY(PreparedImage prepared, preprocess(context_, picture_, model_.config().preprocess));
      pixels_ = std::move(prepared.pixels);
      FOVEA_CHECK(model_.decoder().embed(context_, ids_, embeddings_.view()));
      FOVEA_CHECK(see());
    }
    FOVEA_CHECK(read_prompt(setup, state, nullptr));
    FOVEA_CHECK(next_token(sampler));
    return watch.ms();
  }

  /// One floor of each thing, beside what it is the floor of.
  Status measure_floors(BenchResult& result, std::vector<double>& bandwidths) {
    const Decoder& decoder = model_.decoder();
    if (result.vision) {
      std::vector<std::array<std::int64_t, 3>> products = model_.vision().products();
      const Projector& projector = model_.projector();
      products.push_back({visual_, projector.first.inputs(), projector.first.outputs()});
      products.push_back({visual_, projector.second.inputs(), projector.second.outputs()});
      FOVEA_TRY(const FloorReport floor, products_floor(products));
      result.vision->floor.ms.push_back(1e3 * floor.seconds);
    }
    FOVEA_TRY(const double bandwidth, measure_read_bandwidth(context_));
    bandwidths.push_back(bandwidth);
    for (BenchRun& run : result.runs) {
      std::vector<std::int64_t> tokens = run.entering;
      for (std::int64_t& count : tokens) count += plan_.prompt_tokens - visual_;
      FOVEA_TRY(const FloorReport floor, products_floor(decoder.prefill_products(tokens)));
      run.prefill.floor.ms.push_back(1e3 * floor.seconds);
      result.floor_product = floor.product;
      run.decode.floor.ms.push_back(1e3 * static_cast<double>(decoder.weight_bytes()) / bandwidth);
    }
    return {};
  }

  /// setups: one for each of result.runs.
  Status measure_runs(const std::vector<PruneSetup>& setups, BenchResult& result) {
    if (result.vision) {
      FOVEA_TRY(const double ms, time_vision());
      result.vision->run.ms.push_back(ms);
    }
    for (std::size_t i = 0; i < setups.size(); ++i) {
      BenchRun& run = result.runs[i];
      FOVEA_TRY(const auto times, time_decoder(setups[i]));
      run.prefill.run.ms.push_back(times.prefill);
      run.select.ms.push_back(times.select);
      run.decode.run.ms.push_back(times.token);
      FOVEA_TRY(const double ms, time_first_token(setups[i]));
      run.first_token.ms.push_back(ms);
    }
    return {};
  }

 private:
  Result<FloorReport> products_floor(const std::vector<std::array<std::int64_t, 3>>& products) {
    std::map<std::array<std::int64_t, 3>, std::int64_t> counts;
    for (const auto& product : products) ++counts[product];
    std::vector<ProductShape> shapes;
    for (const auto& [size, count] : counts) shapes.push_back({size[0], size[1], size[2], count});
    if (context_.cancelled()) return make_error(ErrorCode::cancelled, "stopped");
    return measure_products_floor(context_, shapes, model_.dtype());
  }

  Result<std::int32_t> next_token(Sampler& sampler) {
    if (context_.on_cuda()) return largest_index(context_, logits_.view());
    const auto count = static_cast<std::size_t>(logits_.shape()[1]);
    return sampler.sample(std::span<const float>(logits_.as<float>(), count));
  }

  void make_layout() {
    const auto tokens = static_cast<std::size_t>(plan_.prompt_tokens);
    layout_.kinds.assign(tokens, TokenKind::text);
    layout_.visual_ids.assign(tokens, -1);
    std::fill_n(layout_.kinds.begin(), system_, TokenKind::system);
    // Without a tower the tokens stand in the squarest grid that holds them.
    std::int32_t grid =
        model_.has_vision() ? static_cast<std::int32_t>(model_.config().vision.grid()) : 1;
    while (!model_.has_vision() && grid * grid < visual_) ++grid;
    layout_.pictures.push_back({picture_.width, picture_.height});
    for (std::int32_t id = 0; id < visual_; ++id) {
      const auto position = static_cast<std::size_t>(system_ + id);
      layout_.kinds[position] = TokenKind::visual;
      layout_.visual_ids[position] = id;
      VisualToken token;
      token.row = id / grid;
      token.col = id % grid;
      layout_.visual.push_back(token);
    }
  }

  const LlavaModel& model_;
  BenchPlan plan_;
  const std::atomic<bool>* cancel_;
  Context context_;
  Image picture_ = test_picture();
  std::int64_t visual_ = 0, system_ = 0;
  SequenceLayout layout_;
  std::vector<std::int32_t> ids_;
  Tensor embeddings_, logits_, features_, pixels_;
};

}  // namespace

double Samples::median() const {
  if (ms.empty()) return 0;
  std::vector<double> sorted = ms;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]);
}

double Samples::drift() const {
  if (ms.empty()) return 0;
  const auto [least, most] = std::minmax_element(ms.begin(), ms.end());
  return *least > 0 ? (*most - *least) / *least : 0;
}

std::optional<double> Compared::ratio() const {
  if (floor.median() <= 0 || floor.drift() > kMaxDrift) return std::nullopt;
  return run.median() / floor.median();
}

std::optional<double> prefill_speedup(const BenchRun& unpruned, const BenchRun& run) {
  if (!unpruned.prefill.ratio() || !run.prefill.ratio()) return std::nullopt;
  return unpruned.prefill.run.median() / run.prefill.run.median();
}

Result<BenchResult> run_bench_plan(const LlavaModel& model, const BenchPlan& plan,
                                   const std::vector<PruneSetting>& settings,
                                   const std::atomic<bool>* cancel) {
  Bench bench(model, plan, cancel);
  FOVEA_CHECK(bench.prepare());
  BenchResult result;
  if (model.has_vision()) result.vision.emplace();
  std::vector<PruneSetting> all{PruneSetting{}};
  for (const PruneSetting& setting : settings) {
    if (setting.prunes()) all.push_back(setting);
  }
  std::vector<PruneSetup> setups;
  for (const PruneSetting& setting : all) {
    FOVEA_TRY(PruneSetup setup, make_prune_setup(setting, model));
    if (setting.needs_guide() || (setup.policy != nullptr && setup.policy->in_vision_tower())) {
      return make_error(ErrorCode::unsupported,
                        setting.request.name +
                            " does more than prune between the decoder's layers, "
                            "which is all that bench times")
          .in_field("--prune");
    }
    result.runs.emplace_back().setting = setting;
    FOVEA_CHECK(bench.record_stages(setup, result.runs.back()));
    setups.push_back(std::move(setup));
  }

  // The first pass fills caches and the workspace, and is forgotten. What the floors allocate later
  // is not the model's.
  BenchResult warm = result;
  FOVEA_CHECK(bench.measure_runs(setups, warm));
  result.peak_bytes = model.device().kind == DeviceKind::cuda
                          ? cuda_bytes_held(model.device().index)
                          : peak_memory();

  std::vector<double> bandwidths;
  FOVEA_CHECK(bench.measure_floors(result, bandwidths));
  for (int round = 0; round < plan.repeat; ++round) {
    FOVEA_CHECK(bench.measure_runs(setups, result));
    FOVEA_CHECK(bench.measure_floors(result, bandwidths));
  }
  result.bandwidth = Samples{bandwidths}.median();
  return result;
}

std::int64_t default_prompt_tokens(const LlavaConfig& config) {
  constexpr std::int64_t text = kSystemTokens + kQuestionTokens;
  return config.vision.layers > 0 ? text + config.visual_tokens_per_image() : 640;
}

}  // namespace fovea::app
