#include "app/options.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "app/eval/eval_options.h"
#include "app/option_checks.h"
#include "app/shared_options.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr const char* kVersion = FOVEA_VERSION;

void add_ask_options(CLI::App& command, AskOptions& options) {
  add_images_option(command, options.images,
                    "Picture (JPEG, PNG, BMP); may be given several times");
  command.add_option("--question", options.question, "What to ask; - reads it from stdin")
      ->type_name("TEXT");
  command
      .add_option("--raw-prompt", options.raw_prompt,
                  "The whole prompt, without a template; <image> marks where each picture goes")
      ->type_name("TEXT")
      ->excludes("--question");
  add_model_options(command, options.model);
  add_generation_options(command, options.generation);
  add_prune_options(command, options.prune);
  add_json_option(command, options.output);
  add_talk_options(command, options.output);
}

// ---- Commands ----------------------------------------------------------------------------------

CLI::App& declare_ask(CLI::App& app, AskOptions& options) {
  CLI::App& command = *app.add_subcommand("ask", "Ask one question about pictures");
  add_ask_options(command, options);
  command
      .add_option("--dump-logits", options.dump_logits,
                  "Write float32 [answer tokens, vocabulary]; row 0 predicts the first token")
      ->check(non_empty("the file's name"))
      ->group("Output")
      ->type_name("FILE.npy");
  command
      .add_option("--dump-scores", options.dump_scores,
                  "Write the scores behind every cut: float32 [visual tokens], by id")
      ->check(non_empty("the folder's name"))
      ->group("Output")
      ->type_name("DIR");
  command
      .add_option("--compare", options.compare,
                  "Ask under each of several settings divided by commas "
                  "(none,adaptinfer,fastv:keep=144) and print a table")
      ->check(non_empty("the list of settings"))
      ->excludes("--prune")
      ->excludes("--dump-logits")
      ->excludes("--dump-scores")
      ->group("Pruning")
      ->type_name("SETTINGS");
  return command;
}

CLI::App& declare_chat(CLI::App& app, ChatOptions& options) {
  CLI::App& command = *app.add_subcommand("chat", "Talk about pictures, turn by turn");
  add_images_option(command, options.images, "Picture to begin with; may be given several times");
  add_model_options(command, options.model);
  add_generation_options(command, options.generation);
  add_prune_options(command, options.prune);
  add_talk_options(command, options.output);
  return command;
}

CLI::App& declare_inspect(CLI::App& app, InspectOptions& options) {
  CLI::App& command =
      *app.add_subcommand("inspect", "Say what a model folder holds, without loading its weights");
  command.add_option("dir", options.model.model, "Model folder (default: the bundled one)")
      ->check(non_empty("the model folder"))
      ->type_name("DIR");
  add_json_option(command, options.output);
  return command;
}

CLI::App& declare_bench(CLI::App& app, BenchOptions& options) {
  CLI::App& command = *app.add_subcommand(
      "bench", "Time random weights of a known shape against what this machine could do at best");
  command
      .add_option(
          "--shape", options.shape,
          "llava-1.5-7b, llava-1.5-13b, vicuna-7b (no tower), llama-1.1b (no tower) or fovea-base")
      ->required()
      ->type_name("NAME");
  command.add_option("--repeat", options.repeat, "Runs, of which the median counts (default 5)")
      ->check(whole_number(1, 1000))
      ->type_name("N");
  command
      .add_option("--prompt-tokens", options.prompt_tokens,
                  "Tokens of the whole prompt (default 64 and the picture's; 640 without a tower)")
      ->check(whole_number(1, 1'000'000))
      ->type_name("N");
  command
      .add_option("--new-tokens", options.new_tokens,
                  "Tokens decoded after the prompt (default 32)")
      ->check(whole_number(1, 100'000))
      ->type_name("N");
  command
      .add_option("--batch", options.batch,
                  "Also answer N questions on N pictures side by side, each with as many tokens")
      ->check(whole_number(1, 1024))
      ->type_name("N");
  options.prune.several = true;
  add_prune_options(command, options.prune);
  add_compute_options(command, options.model);
  add_json_option(command, options.output);
  add_talk_options(command, options.output);
  return command;
}

CLI::App& declare_eval(CLI::App& app, EvalOptions& options) {
  CLI::App& command =
      *app.add_subcommand("eval", "Accuracy on a file of questions whose answers are known");
  add_eval_options(command, options);
  return command;
}

CLI::App& declare_heatmap(CLI::App& app, HeatmapOptions& options) {
  CLI::App& command =
      *app.add_subcommand("heatmap", "Draw where on the picture the answer's attention went");
  add_ask_options(command, options.ask);
  command
      .add_option("--out", options.out, "Folder for the pictures, numbers and their description")
      ->required()
      ->check(non_empty("the folder's name"))
      ->type_name("DIR");
  const std::string group = "Map";
  command
      .add_option("--layers", options.layers,
                  "Decoder layers to average: all, A-B, or a list such as 3,5,8-11, counted from 0 "
                  "(default: the last two thirds)")
      ->check(non_empty("the list of layers"))
      ->group(group)
      ->type_name("LIST");
  command
      .add_option("--token", options.token,
                  "Answer token whose attention is drawn, counted from 0, or all (the default)")
      ->group(group)
      ->type_name("N");
  command.add_flag("--per-token", options.per_token, "Also draw every answer token by itself")
      ->group(group);
  command
      .add_option("--color-map", options.color_map, "turbo (the default), viridis, inferno, gray")
      ->check(one_of({"turbo", "viridis", "inferno", "gray"}))
      ->group(group)
      ->type_name("NAME");
  command
      .add_option("--opacity", options.opacity, "Of the map where it is strongest (default 0.55)")
      ->check(in_range(0, 1))
      ->group(group)
      ->type_name("A");
  command.add_flag("--flat", options.flat, "Flat cells instead of a smooth map")->group(group);
  add_encoder_map_options(command, options.encoder);
  return command;
}

// ---- The line as a whole -----------------------------------------------------------------------

/// `--json` may stand alone. CLI11 would take the next word for its FILE only when that word does
/// not begin with a dash, and hands an empty result over when there is none; writing the default
/// out keeps one meaning: alone, or before another option, it is "-".
std::vector<std::string> with_explicit_json(const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const bool last = i + 1 == arguments.size();
    const bool alone = arguments[i] == "--json" &&
                       (last || (arguments[i + 1].size() > 1 && arguments[i + 1].front() == '-'));
    words.push_back(alone ? "--json=-" : arguments[i]);
  }
  return words;
}

Error usage(std::string message, const std::string& command) {
  while (!message.empty() && (message.back() == '.' || message.back() == '\n')) message.pop_back();
  return make_error(ErrorCode::usage, message)
      .with_remedy("`fovea " + (command.empty() ? "" : command + " ") +
                   "--help` lists what there is");
}

Status check_ask(const AskOptions& options, const std::string& command) {
  if (options.raw_prompt) {
    if (trimmed(*options.raw_prompt).empty())
      return usage("--raw-prompt: the prompt is empty", command);
    return {};
  }
  if (options.images.empty()) return usage("--image is required: there is no picture", command);
  if (trimmed(options.question).empty()) {
    return usage(options.question.empty() ? "--question is required: there is no question"
                                          : "--question: the question is empty",
                 command);
  }
  return {};
}

/// A tower that is looked at alone is asked nothing.
Status check_heatmap(const HeatmapOptions& options, const std::string& command) {
  if (!options.encoder.on) return check_ask(options.ask, command);
  const AskOptions& ask = options.ask;
  if (ask.images.empty()) return usage("--image is required: there is no picture", command);
  if (!ask.question.empty() || ask.raw_prompt || !ask.prune.written.empty()) {
    return usage("--encoder looks at the vision tower alone: it takes no question and no --prune",
                 command);
  }
  if (options.encoder.global_below > options.encoder.local_above) {
    return usage("--nmi-global lies above --nmi-local", command);
  }
  return {};
}

}  // namespace

Status check_json_target(const OutputOptions& output, const std::string& command) {
  if (!output.json || output.json_on_stdout()) return {};
  if (output.json->empty()) return usage("--json: the file's name is empty", command);
  std::error_code ignored;
  if (std::filesystem::is_directory(*output.json, ignored)) {
    return usage("--json takes the name of a file, and " + *output.json +
                     " is a folder; write --json=- (or put --json last) for stdout",
                 command);
  }
  return {};
}

Result<ParsedLine> parse_command_line(const std::vector<std::string>& arguments) {
  CLI::App app("Fovea answers questions about pictures, on this machine alone.", "fovea");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("fovea ") + kVersion);
  app.failure_message(CLI::FailureMessage::simple);

  AskOptions ask;
  ChatOptions chat;
  InspectOptions inspect;
  BenchOptions bench;
  EvalOptions eval;
  HeatmapOptions heatmap;
  ClassifyOptions classify;
  CalibrateOptions calibrate;
  const std::array commands{&declare_ask(app, ask),           &declare_chat(app, chat),
                            &declare_inspect(app, inspect),   &declare_bench(app, bench),
                            &declare_eval(app, eval),         &declare_heatmap(app, heatmap),
                            &declare_classify(app, classify), &declare_calibrate(app, calibrate)};

  if (!arguments.empty() && !arguments.front().empty() && arguments.front().front() != '-') {
    const auto named = [&](const CLI::App* c) { return c->get_name() == arguments.front(); };
    if (std::none_of(commands.begin(), commands.end(), named)) {
      std::string known;
      for (const CLI::App* command : commands)
        known += (known.empty() ? "" : ", ") + command->get_name();
      return usage("this version has no command \"" + arguments.front() + "\"; it has " + known,
                   "");
    }
  }

  for (CLI::App* command : commands) command->allow_extras();
  std::vector<std::string> words = with_explicit_json(arguments);
  std::reverse(words.begin(), words.end());  // CLI11 parses from the back
  std::string chosen;
  try {
    app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    for (const CLI::App* command : app.get_subcommands())
      return ParsedLine{{}, command->help("fovea")};
    return ParsedLine{{}, app.help()};
  } catch (const CLI::CallForVersion& version) {
    return ParsedLine{{}, std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& error) {
    for (const CLI::App* command : app.get_subcommands()) chosen = command->get_name();
    return usage(error.what(), chosen);
  }
  for (const CLI::App* command : app.get_subcommands()) {
    chosen = command->get_name();
    const std::vector<std::string> extra = command->remaining();
    if (!extra.empty()) {
      const bool option = extra.front().size() > 1 && extra.front().front() == '-';
      return usage((option ? "this version has no option " : "unexpected word ") + extra.front(),
                   chosen);
    }
  }

  ParsedLine line;
  if (chosen == "ask") {
    FOVEA_CHECK(check_ask(ask, chosen));
    if (!ask.compare.empty()) {
      ask.prune.written = divided(ask.compare, ",");
      ask.prune.several = true;
    }
    FOVEA_CHECK(read_prune_settings(ask.prune));
    FOVEA_CHECK(check_json_target(ask.output, chosen));
    line.command = ask;
  } else if (chosen == "chat") {
    FOVEA_CHECK(read_prune_settings(chat.prune));
    line.command = chat;
  } else if (chosen == "inspect") {
    FOVEA_CHECK(check_json_target(inspect.output, chosen));
    line.command = inspect;
  } else if (chosen == "bench") {
    FOVEA_CHECK(read_prune_settings(bench.prune));
    FOVEA_CHECK(check_json_target(bench.output, chosen));
    line.command = bench;
  } else if (chosen == "eval") {
    FOVEA_CHECK(check_eval_options(eval));
    FOVEA_CHECK(check_json_target(eval.output, chosen));
    line.command = eval;
  } else if (chosen == "classify") {
    FOVEA_CHECK(check_classify(classify));
    line.command = classify;
  } else if (chosen == "calibrate") {
    const CLI::App& parsed = *app.get_subcommand("calibrate");
    const auto take = [&](const char* name, auto& options) -> Status {
      if (!parsed.got_subcommand(name)) return {};
      FOVEA_CHECK(check_calibrate(options));
      line.command = options;
      return {};
    };
    FOVEA_CHECK(take("vit", calibrate.vit));
    FOVEA_CHECK(take("exit", calibrate.exit));
    FOVEA_CHECK(take("schedule", calibrate.schedule));
    FOVEA_CHECK(take("debias", calibrate.debias));
    FOVEA_CHECK(take("fitprune", calibrate.fitprune));
  } else {
    FOVEA_CHECK(check_heatmap(heatmap, chosen));
    FOVEA_CHECK(read_prune_settings(heatmap.ask.prune));
    FOVEA_CHECK(check_json_target(heatmap.ask.output, chosen));
    line.command = heatmap;
  }
  return line;
}

}  // namespace fovea::app
