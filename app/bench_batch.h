#pragma once
// Times many questions on as many pictures, answered side by side.

#include "app/bench_prompt.h"
#include "vlm/decoder_batch.h"

namespace fovea::app {

class BatchBench {
 public:
  /// Pictures, each another one, in the host's memory. Errors: those of make_bench_prompt().
  static Result<BatchBench> create(const LlavaModel& model, const BenchPlan& plan,
                                   const std::atomic<bool>* cancel);

  /// plan.batch questions from pictures in memory to plan.new_tokens tokens of each on the host,
  /// once. Errors: those of the setting, out_of_memory, cancelled.
  Status measure(const PruneSetting& setting, BatchTimes& times);

 private:
  BatchBench(const LlavaModel& model, const BenchPlan& plan) : model_(&model), plan_(plan) {}
  Status see(std::vector<Tensor>& tokens);
  Status read_prompts(const std::vector<PruneSetup>& setups, std::vector<Tensor>& tokens,
                      std::vector<DecoderState>& states, DecoderBatch& batch);
  Status answer(DecoderBatch& batch);

  const LlavaModel* model_;
  BenchPlan plan_;
  Context context_;
  BenchPrompt prompt_;
  std::vector<Image> pictures_;
  Tensor logits_, choices_;  // of the prompts
};

}  // namespace fovea::app
