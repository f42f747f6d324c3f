#include "app/bench_run.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <map>
#include <string>

#include "app/bench_batch.h"
#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/ops/floor/floor.h"
#include "kernels/ops/rows/rows.h"
#include "vision/preprocess.h"
#include "vlm/decode_stream.h"
#include "vlm/sampler.h"

namespace fovea::app {
namespace {

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

class Bench {
 public:
  Bench(const LlavaModel& model, const BenchPlan& plan, const std::atomic<bool>* cancel)
      : model_(model), plan_(plan), cancel_(cancel) {}

  Status prepare() {
    FOVEA_TRY(context_, make_context(model_.device(), plan_.threads));
    context_.cancel = cancel_;
    FOVEA_TRY(prompt_, make_bench_prompt(model_, plan_));
    const LlavaConfig& config = model_.config();
    const std::int64_t width = config.decoder.hidden_size;
    FOVEA_TRY(embeddings_,
              Tensor::allocate(Shape{plan_.prompt_tokens, width}, DType::f32, context_.device));
    FOVEA_TRY(logits_,
              Tensor::allocate(Shape{1, config.decoder.vocab_size}, DType::f32, context_.device));
    FOVEA_CHECK(model_.decoder().embed(context_, prompt_.ids, embeddings_.view()));
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
    const std::int64_t skipped = features_.shape()[0] - prompt_.visual;  // the class token
    return model_.projector().forward(context_, features_.view().slice(skipped, prompt_.visual),
                                      embeddings_.view().slice(prompt_.system, prompt_.visual));
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
      FOVEA_TRY(plan, setup.policy->plan(prompt_.layout, shape));
      if (setup.positions) plan.positions = *setup.positions;
    }
    PrefillInput input;
    input.embeddings = embeddings_.view();
    input.layout = &prompt_.layout;
    input.policy = plan.stages.empty() ? nullptr : setup.policy.get();
    input.plan = &plan;
    return model_.decoder().prefill(context_, input, state, logits_.view(), record, nullptr);
  }

  /// What the setting keeps, and how many visual tokens then enter each layer.
  Status record_stages(const PruneSetup& setup, BenchRun& run) {
    DecoderState state = model_.decoder().new_state();
    run.record.initial = prompt_.visual;
    FOVEA_CHECK(read_prompt(setup, state, &run.record));
    BudgetShape shape;
    shape.layers = static_cast<int>(model_.config().decoder.layers);
    run.entering = account(run.record, shape, plan_.prompt_tokens - prompt_.visual).entering;
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
    record.initial = prompt_.visual;
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
      FOVEA_CHECK(model_.decoder().embed(context_, prompt_.ids, embeddings_.view()));
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
      products.push_back({prompt_.visual, projector.first.inputs(), projector.first.outputs()});
      products.push_back({prompt_.visual, projector.second.inputs(), projector.second.outputs()});
      FOVEA_TRY(const FloorReport floor, products_floor(products));
      result.vision->floor.ms.push_back(1e3 * floor.seconds);
    }
    FOVEA_TRY(const double bandwidth, measure_read_bandwidth(context_));
    bandwidths.push_back(bandwidth);
    for (BenchRun& run : result.runs) {
      std::vector<std::int64_t> tokens = run.entering;
      for (std::int64_t& count : tokens) count += plan_.prompt_tokens - prompt_.visual;
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

  const LlavaModel& model_;
  BenchPlan plan_;
  const std::atomic<bool>* cancel_;
  Context context_;
  Image picture_ = bench_picture(1);
  BenchPrompt prompt_;
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
  std::optional<BatchBench> batch;
  if (plan.batch > 0) {
    FOVEA_TRY(batch, BatchBench::create(model, plan, cancel));
    for (BenchRun& run : warm.runs) FOVEA_CHECK(batch->measure(run.setting, run.batch));
  }
  result.peak_bytes = model.device().kind == DeviceKind::cuda
                          ? cuda_bytes_held(model.device().index)
                          : peak_memory();

  std::vector<double> bandwidths;
  FOVEA_CHECK(bench.measure_floors(result, bandwidths));
  for (int round = 0; round < plan.repeat; ++round) {
    FOVEA_CHECK(bench.measure_runs(setups, result));
    for (BenchRun& run : result.runs) {
      if (batch) FOVEA_CHECK(batch->measure(run.setting, run.batch));
    }
    FOVEA_CHECK(bench.measure_floors(result, bandwidths));
  }
  result.bandwidth = Samples{bandwidths}.median();
  return result;
}

}  // namespace fovea::app
