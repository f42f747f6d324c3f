#include "app/eval/eval_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "app/eval/control.h"
#include "app/option_checks.h"
#include "app/shared_options.h"
#include "app/text.h"

namespace fovea::app {

void add_eval_options(CLI::App& command, EvalOptions& options) {
  options.prune.several = true;
  command
      .add_option(
          "--questions", options.questions,
          "JSON lines: question_id, text and, where there are such, image (a name or a list), "
          "category, evidence (ids of the visual tokens that hold the answer)")
      ->required()
      ->check(non_empty("the file's name"))
      ->type_name("FILE");
  command
      .add_option("--image-folder", options.image_folder,
                  "Where the pictures are (default: images/ beside the questions, or their folder)")
      ->check(non_empty("the folder's name"))
      ->type_name("DIR");
  command
      .add_option("--labels", options.labels,
                  "JSON lines: question_id, answer (one or a list of accepted ones) and, for "
                  "descriptions, things to be named (default: NAME-labels.jsonl or labels.jsonl "
                  "beside the questions)")
      ->check(non_empty("the file's name"))
      ->type_name("FILE");
  command.add_option("--limit", options.limit, "Only the first N questions")
      ->check(whole_number(1, 1'000'000'000))
      ->type_name("N");
  command
      .add_option("--num-chunks", options.num_chunks,
                  "Divide the questions into N runs of equal length, of which --chunk-idx is asked")
      ->check(whole_number(1, 1'000'000))
      ->type_name("N");
  command.add_option("--chunk-idx", options.chunk_idx, "Which of the chunks, counted from 0")
      ->check(whole_number(0, 999'999))
      ->type_name("K");
  command
      .add_option(
          "--batch", options.batch,
          "Answer N questions side by side (default 1): the same answers sooner; times then "
          "count from the start of each N's turn. Controls are asked one by one")
      ->check(whole_number(1, 1024))
      ->type_name("N");
  command
      .add_option(
          "--control", options.controls,
          "Ask also: majority (the most frequent answer to such questions, no model), "
          "shuffled (another question's picture), no-visual (no visual token), "
          "evidence-only, drop-evidence (only, or all but, the tokens that hold the "
          "answer); the last three cut before layer 0, or NAME:layers=L, and with NAME:budget=N "
          "(or a share) "
          "leave a mean of N tokens entering a layer (the evidence and others by lot, others "
          "by lot, a later cut); may be given several times")
      ->allow_extra_args(false)
      ->type_name("NAME");
  command.add_flag("--merge-seeds", options.merge_seeds,
                   "Settings that differ by their seed alone count as one: means over the seeds, "
                   "question by question");
  command
      .add_option("--resamples", options.resamples,
                  "Draws of pictures behind the 95 % intervals (default 1000)")
      ->check(whole_number(1, 100'000))
      ->type_name("N");
  command
      .add_option("--answers", options.answers,
                  "Write the answers as JSON lines in LLaVA's format, each at once; with several "
                  "settings into NAME-SETTING.jsonl beside FILE")
      ->check(non_empty("the file's name"))
      ->group("Output")
      ->type_name("FILE");
  command.add_flag("--resume", options.resume, "Go on behind the answers that are in the file")
      ->needs("--answers")
      ->group("Output");
  command.add_option("--csv", options.csv, "Write the table, one line a setting")
      ->check(non_empty("the file's name"))
      ->group("Output")
      ->type_name("FILE");
  command
      .add_option("--plot", options.plot,
                  "Draw accuracy against the visual tokens that enter a layer")
      ->check(non_empty("the file's name"))
      ->group("Output")
      ->type_name("FILE.png");
  command
      .add_option("--dump-scores", options.dump_scores,
                  "Write the scores behind every cut into DIR/SETTING/QUESTION: float32 [visual "
                  "tokens], by id")
      ->check(non_empty("the folder's name"))
      ->group("Output")
      ->type_name("DIR");
  add_model_options(command, options.model);
  add_generation_options(command, options.generation);
  add_prune_options(command, options.prune);
  command
      .add_flag("--guide-both", options.guide_both,
                "Run the large model even where the guide's answer is taken, so that the answers "
                "file tells what every other threshold would have given")
      ->needs("--guide")
      ->needs("--answers")
      ->group("Guide (SGL)");
  command
      .add_option("--exit-curve", options.exit_curve,
                  "Have both models answer everything, and write accuracy and time over the share "
                  "of questions that the guide answers, from 0 to 1: chosen by score, by "
                  "confidence and at random")
      ->check(non_empty("the file's name"))
      ->needs("--guide")
      ->group("Guide (SGL)")
      ->type_name("FILE.csv");
  command.add_option("--exit-plot", options.exit_plot, "Draw it: accuracy against time")
      ->check(non_empty("the file's name"))
      ->needs("--exit-curve")
      ->group("Guide (SGL)")
      ->type_name("FILE.png");
  add_json_option(command, options.output);
  add_talk_options(command, options.output);
}

namespace {

/// What cannot be asked side by side.
Status check_batch(const EvalOptions& options) {
  if (options.batch <= 1) return {};
  const bool guided = std::any_of(options.prune.settings.begin(), options.prune.settings.end(),
                                  [](const PruneSetting& s) { return s.needs_guide(); });
  const char* with = !options.exit_curve.empty()    ? "--exit-curve"
                     : guided                       ? "--guide"
                     : !options.dump_scores.empty() ? "--dump-scores"
                                                    : nullptr;
  if (with == nullptr) return {};
  return make_error(ErrorCode::usage, std::string("questions are asked one by one with ") + with)
      .in_field("--batch")
      .with_remedy("Leave out --batch");
}

}  // namespace

Status check_eval_options(EvalOptions& options) {
  if (!options.exit_curve.empty()) {
    options.guide_both = true;
    // Scores are asked for by a threshold alone; this one is never passed.
    if (!options.prune.shared.contains("config")) {
      options.prune.method_options.emplace("exit-threshold", "100");
    }
  }
  FOVEA_CHECK(read_prune_settings(options.prune));
  FOVEA_CHECK(check_batch(options));
  std::set<std::string> names;
  for (const std::string& written : options.controls) {
    FOVEA_CHECK(read_control(written));
    if (!names.insert(written).second) {
      return make_error(ErrorCode::usage, "the control \"" + written + "\" was given twice")
          .in_field("--control");
    }
  }
  if (options.chunk_idx >= options.num_chunks) {
    return make_error(ErrorCode::usage,
                      format("there is no chunk %zu of %zu: they are counted from 0",
                             options.chunk_idx, options.num_chunks))
        .in_field("--chunk-idx");
  }
  return {};
}

}  // namespace fovea::app
