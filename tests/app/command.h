#pragma once
// Runs the built command as a user would, in a process of its own.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "support/temporary_folder.h"

namespace fovea::testing {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when one ended the process
  std::string out, err;
};

struct CommandInput {
  std::string text;                    // stdin
  std::string interrupt_after_output;  // send SIGINT once stdout holds this
  std::chrono::seconds timeout{120};
};

inline std::string source_path(const std::string& name) {
  return std::string(FOVEA_SOURCE_DIR) + "/" + name;
}
inline std::string base_model() {
  return source_path("assets/models/fovea-base");
}
inline std::string guide_model() {
  return source_path("assets/models/fovea-guide");
}
inline std::string eval_picture() {
  return source_path("assets/eval/images/picture-0000.jpg");
}

/// `fovea ARGUMENTS...`. A process that outlives the timeout is killed and fails the test.
inline CommandResult run_fovea(const std::vector<std::string>& arguments,
                               const CommandInput& input = {}) {
  const TemporaryFolder folder;
  const std::string in = folder.write("in", input.text);
  const std::string out = folder.write("out", ""), err = folder.write("err", "");
  std::vector<std::string> words{FOVEA_COMMAND};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t child = fork();
  if (child == 0) {
    dup2(open(in.c_str(), O_RDONLY), STDIN_FILENO);
    dup2(open(out.c_str(), O_WRONLY), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  const auto read_all = [](const std::string& path) {
    const auto text = read_file(path, std::size_t{1} << 28);
    return text ? *text : std::string();
  };
  CommandResult result;
  const auto deadline = std::chrono::steady_clock::now() + input.timeout;
  bool interrupt_wanted = !input.interrupt_after_output.empty();
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (interrupt_wanted && read_all(out).find(input.interrupt_after_output) != std::string::npos) {
      kill(child, SIGINT);
      interrupt_wanted = false;
    }
    if (std::chrono::steady_clock::now() > deadline) {
      kill(child, SIGKILL);
      ADD_FAILURE() << "fovea was killed after " << input.timeout.count() << " s";
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = read_all(out);
  result.err = read_all(err);
  return result;
}

/// The one JSON object a command printed; fails the test when stdout holds anything else.
inline Json json_of(const CommandResult& result) {
  const auto json = parse_json(result.out);
  if (!json || !json->is_object()) {
    ADD_FAILURE() << "stdout is no JSON object: " << result.out << "\n" << result.err;
    return Json::object();
  }
  return *json;
}

/// json["a"]["b"] for path {"a", "b"}; null (and a failed test) where it does not lead.
inline Json at(const Json& json, const std::vector<std::string>& path) {
  const Json* here = &json;
  for (const std::string& key : path) {
    here = here->find(key);
    if (here == nullptr) {
      ADD_FAILURE() << "there is no " << key;
      return {};
    }
  }
  return *here;
}

/// A copy of an object's members, safe to loop over where the object is a temporary.
inline Json::Object members(const Json& json) {
  return json.is_object() ? json.as_object() : Json::Object();
}

/// A command that must fail: its exit code, one line on stderr that holds `says`, nothing on
/// stdout.
inline void expect_refused(const CommandResult& result, int exit_code, const std::string& says) {
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("fovea: ", 0), 0U) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_NE(result.err.find(says), std::string::npos) << result.err;
}

/// A copy of a model folder whose files a test may damage.
inline void copy_model(const std::string& model, const std::string& target) {
  std::filesystem::copy(model, target, std::filesystem::copy_options::recursive);
}

}  // namespace fovea::testing
