// fovea chat: a conversation, turn by turn, at a terminal or through a pipe.

#include <unistd.h>

#include <cstdio>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/line_reader.h"
#include "app/model_folder.h"
#include "app/question_run.h"
#include "app/report.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr const char* kHelp =
    "  /image FILE  show a picture with the next question\n"
    "  /reset       forget the conversation and its pictures\n"
    "  /quit        leave (so does Ctrl-D)\n"
    "  Ctrl-C       stop the answer; pressed twice, leave\n";

class Conversation {
 public:
  Conversation(const ChatOptions& options, const PruneSetup& setup, Session& session, int threads)
      : options_(options), setup_(setup), session_(session), threads_(threads) {}

  void show(std::vector<std::shared_ptr<const Image>> images) { pictures_ = std::move(images); }

  /// Returns false when the user wants to leave.
  bool take(const std::string& line) {
    if (line.empty()) return true;
    if (line.front() != '/') {
      answer(line);
      return true;
    }
    const std::size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    const std::string argument = space == std::string::npos ? "" : trimmed(line.substr(space));
    if (command == "/quit" || command == "/exit") return false;
    if (command == "/help") {
      std::fputs(kHelp, stderr);
    } else if (command == "/reset") {
      session_.reset();
      pictures_.clear();
      begun_ = false;
    } else if (command == "/image") {
      add_picture(argument);
    } else {
      fail(make_error(ErrorCode::usage, "there is no command " + command)
               .with_remedy("/help lists them"));
    }
    return true;
  }

  bool failed() const { return failed_; }

 private:
  void fail(const Error& error) {
    report_error(error);
    failed_ = true;
  }

  void add_picture(const std::string& file) {
    if (file.empty())
      return fail(make_error(ErrorCode::usage, "/image needs the name of a picture"));
    auto images = load_pictures({file});
    if (!images) return fail(images.error());
    pictures_.push_back(images->front());
  }

  void answer(const std::string& text) {
    Question question;
    question.text = text;
    question.images = pictures_;
    question.continue_conversation = begun_;
    question.sampling = sampling_options(options_.generation);
    auto answer = ask(setup_, session_, question, print_text, &interrupted());
    if (!answer) return fail(answer.error());
    print_text("\n");
    clear_interrupt();
    pictures_.clear();
    begun_ = true;
    answer->timings.load = load_ms(setup_, session_);
    if (options_.output.verbose) {
      print_summary(*answer, setup_.setting, session_.model(), threads_);
    } else if (setup_.setting.prunes() && !options_.output.quiet) {
      print_budget(*answer, setup_.setting, session_.model());
    }
  }

  const ChatOptions& options_;
  const PruneSetup& setup_;
  Session& session_;
  int threads_;
  std::vector<std::shared_ptr<const Image>> pictures_;  // for the next question
  bool begun_ = false;
  bool failed_ = false;
};

}  // namespace

int run_chat(const ChatOptions& options) {
  auto images = load_pictures(options.images);
  if (!images) return report_error(images.error());
  auto load = load_options(options.model);
  if (!load) return report_error(load.error(), Blame::model);
  auto model = load_model(options.model);
  if (!model) return report_error(model.error(), Blame::model);
  auto prune = make_prune_setup(options.prune.settings.front(), **model);
  if (!prune) return report_error(prune.error());
  auto session = create_session(*model, load->threads, options.generation, *prune);
  if (!session) return report_error(session.error(), Blame::model);
  auto guide = load_guide(options.prune, options.model);
  if (!guide) return report_error(guide.error(), Blame::model);
  const auto attached =
      attach_guide(*prune, {*guide, load->threads, options.generation.chat_template}, **session);
  if (!attached) return report_error(attached.error());
  if (interrupted()) return report_error(make_error(ErrorCode::cancelled, "stopped"));
  if (options.output.verbose) print_model_notes(**session);

  Conversation conversation(options, *prune, **session, load->threads);
  conversation.show(std::move(*images));
  const bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0;
  if (terminal && !options.output.quiet) {
    std::fprintf(stderr, "%s. Ask away; /help lists the commands.\n",
                 (*model)->config().model_id.c_str());
  }
  LineReader input(STDIN_FILENO);
  std::string line;
  while (true) {
    if (terminal) std::fputs("> ", stderr);
    const auto outcome = input.next(line);
    if (!outcome) return report_error(outcome.error());
    if (*outcome == LineReader::Outcome::end) break;
    if (*outcome == LineReader::Outcome::interrupted) {
      // At the prompt nothing runs that could be stopped.
      if (interrupted() && terminal) std::fputs("\n(/quit or Ctrl-D leaves)\n", stderr);
      if (interrupted() && !terminal) return kExitCancelled;
      clear_interrupt();
      continue;
    }
    if (!conversation.take(trimmed(line))) break;
  }
  if (const auto flushed = finish_stdout(); !flushed) return report_error(flushed.error());
  return conversation.failed() ? kExitSomeFailed : kExitOk;
}

}  // namespace fovea::app
