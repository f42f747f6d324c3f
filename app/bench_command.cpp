// fovea bench: times of a known shape on random weights, each beside its floor.

#include <cstdio>

#include "app/bench_run.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/model_folder.h"
#include "app/prune_report.h"
#include "app/report.h"
#include "app/text.h"
#include "kernels/device.h"

namespace fovea::app {
namespace {

constexpr std::uint64_t kWeightSeed = 20240229;

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

Json samples_json(const Samples& samples) {
  Json json = Json::array();
  for (const double ms : samples.ms) json.push(rounded_ms(ms));
  return json;
}

/// Of the prefill, what its statistics and choices took.
double select_share(const BenchRun& run) {
  const double prefill = run.prefill.run.median();
  return prefill > 0 ? run.select.median() / prefill : 0;
}

/// So many in so many milliseconds, a second.
double batch_rate(int count, double ms) {
  return ms > 0 ? 1e3 * count / ms : 0;
}

Json bench_json(const std::string& shape, const LlavaModel& model, const BenchPlan& plan,
                const BenchResult& result, const BenchRun& measured) {
  struct Row {
    const char* name;
    const Compared* compared;
  };
  const std::vector<Row> rows{{"vision_ms", result.vision ? &*result.vision : nullptr},
                              {"prefill_ms", &measured.prefill},
                              {"decode_ms_per_token", &measured.decode}};
  Json floor = Json::object(), ratio = Json::object(), drift = Json::object(),
       samples = Json::object(), floor_samples = Json::object();
  for (const auto& [name, compared] : rows) {
    const bool there = compared != nullptr;
    floor.set(name, there ? Json(rounded_ms(compared->floor.median())) : Json());
    ratio.set(name, there ? optional_json(compared->ratio()) : Json());
    drift.set(name, there ? Json(compared->floor.drift()) : Json());
    if (!there) continue;
    samples.set(name, samples_json(compared->run));
    floor_samples.set(name, samples_json(compared->floor));
  }
  samples.set("first_token_ms", samples_json(measured.first_token));

  Json run = Json::object();
  run.set("shape", shape);
  run.set("device", device_name(model.device()));
  run.set("dtype", dtype_text(model.dtype()));
  run.set("threads", plan.threads);
  run.set("prune", measured.setting.name);
  run.set("vision_ms", result.vision ? Json(rounded_ms(result.vision->run.median())) : Json());
  run.set("prefill_ms", rounded_ms(measured.prefill.run.median()));
  run.set("first_token_ms", rounded_ms(measured.first_token.median()));
  run.set("decode_ms_per_token", rounded_ms(measured.decode.run.median()));
  floor.set("product", result.floor_product);
  run.set("floor", std::move(floor));
  run.set("ratio", std::move(ratio));
  run.set("select_ms", rounded_ms(measured.select.median()));
  run.set("select_share", select_share(measured));
  run.set("prefill_speedup", optional_json(prefill_speedup(result.runs.front(), measured)));
  run.set("floor_drift", std::move(drift));
  run.set("peak_bytes", static_cast<std::int64_t>(result.peak_bytes));
  run.set("prompt_tokens", plan.prompt_tokens);
  run.set("new_tokens", plan.new_tokens);
  run.set("repeat", plan.repeat);
  run.set("entering", Json::array_of(measured.entering));
  run.set("decode_weight_bytes", static_cast<std::int64_t>(model.decoder().weight_bytes()));
  run.set("read_bandwidth", result.bandwidth);
  if (plan.batch > 0) {
    const double total = measured.batch.total.median();
    Json batch = Json::object();
    batch.set("vision", rounded_ms(measured.batch.vision.median()));
    batch.set("prefill", rounded_ms(measured.batch.prefill.median()));
    batch.set("decode", rounded_ms(measured.batch.decode.median()));
    batch.set("total", rounded_ms(total));
    run.set("batch", plan.batch);
    run.set("answers_per_s", batch_rate(plan.batch, total));
    run.set("tokens_per_s", batch_rate(plan.batch * plan.new_tokens, total));
    run.set("batch_ms", std::move(batch));
    samples.set("batch_ms", samples_json(measured.batch.total));
  }
  run.set("samples", std::move(samples));
  run.set("floor_samples", std::move(floor_samples));
  return run;
}

void print_row(const char* name, const Compared& compared, const std::string& rate) {
  const std::string ratio =
      compared.ratio() ? format("%6.2f", *compared.ratio())
                       : format("none: the floor drifted by %.0f %%", 100 * compared.floor.drift());
  print_text(format("%-20s %10.2f %10.2f   %s%s\n", name, compared.run.median(),
                    compared.floor.median(), ratio.c_str(), rate.c_str()));
}

void print_bench(const std::string& shape, const LlavaModel& model, const BenchPlan& plan,
                 const BenchResult& result) {
  print_text(format(
      "%s, random weights, %s on %s; prompt of %lld tokens, %d new ones; median of %d\n",
      shape.c_str(), dtype_text(model.dtype()), place_text(model.device(), plan.threads).c_str(),
      static_cast<long long>(plan.prompt_tokens), plan.new_tokens, plan.repeat));
  print_text(format("%-20s %10s %10s   %6s\n", "milliseconds", "time", "floor", "ratio"));
  if (result.vision) print_row("tower, projector", *result.vision, "");
  const auto rate = [](double tokens, double ms) {
    return ms > 0 ? format("   (%.1f tokens a second)", 1e3 * tokens / ms) : std::string();
  };
  for (const BenchRun& run : result.runs) {
    if (result.runs.size() > 1) print_text(run.setting.name + "\n");
    if (run.setting.prunes()) {
      const auto speedup = prefill_speedup(result.runs.front(), run);
      print_text("  " + schedule_source(run.setting) + ": " + stages_text(run.record) + "\n");
      print_text(speedup ? format("  prefill %.2f times as fast as unpruned\n", *speedup)
                         : std::string("  no speed-up is given: a floor drifted\n"));
      print_text(format("  scoring and choosing take %.2f ms of it, %.1f %%\n", run.select.median(),
                        100 * select_share(run)));
    }
    const double prefill_ms = run.prefill.run.median();
    const double decode_ms = run.decode.run.median();
    print_row("prefill", run.prefill, rate(static_cast<double>(plan.prompt_tokens), prefill_ms));
    print_text(format("%-20s %10.2f\n", "to the first token", run.first_token.median()));
    print_row("decode, a token", run.decode, rate(1, decode_ms));
    if (plan.batch == 0) continue;
    const double total_ms = run.batch.total.median();
    print_text(format("%d side by side    %10.2f              %.2f answers, %.0f tokens a second\n",
                      plan.batch, total_ms, batch_rate(plan.batch, total_ms),
                      batch_rate(plan.batch * plan.new_tokens, total_ms)));
    print_text(format("  vision %.2f, prefill %.2f, decode %.2f\n", run.batch.vision.median(),
                      run.batch.prefill.median(), run.batch.decode.median()));
  }
  print_text(
      format("peak memory %s; a decoded token reads %s of weights, memory gives %s a second\n",
             byte_text(static_cast<double>(result.peak_bytes)).c_str(),
             byte_text(static_cast<double>(model.decoder().weight_bytes())).c_str(),
             byte_text(result.bandwidth).c_str()));
}

}  // namespace

int run_bench(const BenchOptions& options) {
  const auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  const auto config = bench_shape(options.shape);
  if (!config) return report_error(config.error());
  BenchPlan plan;
  plan.prompt_tokens =
      options.prompt_tokens > 0 ? options.prompt_tokens : default_prompt_tokens(*config);
  plan.new_tokens = options.new_tokens;
  plan.repeat = options.repeat;
  plan.threads = load->threads;
  plan.batch = options.batch;
  const auto model = LlavaModel::random(*config, *load, kWeightSeed);
  if (!model) return report_error(model.error(), Blame::model);
  if (!options.output.quiet && options.output.verbose) {
    std::fprintf(stderr, "weights made in %.0f ms\n", (*model)->load_ms());
    print_algorithms_note(load->device);
  }
  const auto result = run_bench_plan(**model, plan, options.prune.settings, &interrupted());
  if (!result) return report_error(result.error());

  if (options.output.json) {
    Json json = Json::object();
    Json runs = Json::array();
    for (const BenchRun& run : result->runs) {
      runs.push(bench_json(options.shape, **model, plan, *result, run));
    }
    json.set("runs", std::move(runs));
    json.set("version", version());
    if (const auto written = write_json(options.output, json); !written) {
      return report_error(written.error());
    }
  }
  if (!options.output.json_on_stdout()) print_bench(options.shape, **model, plan, *result);
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return kExitOk;
}

}  // namespace fovea::app
