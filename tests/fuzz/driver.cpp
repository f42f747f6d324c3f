// Runs a libFuzzer entry where libFuzzer is not: g++ has none. Blind but deterministic: the same
// seed and corpus give the same inputs. Options as libFuzzer's:
//   NAME_fuzz [-runs=N] [-seed=N] [-max_total_time=SECONDS] [-timeout=SECONDS] [-rss_limit_mb=N]
//             [-artifact_prefix=PATH] [FILE or FOLDER]...
// Without -runs and -max_total_time only the given files are run, which reproduces a failure.

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// After their report the sanitizers raise SIGABRT, which saves the input.
extern "C" const char* __asan_default_options() {
  return "abort_on_error=1";
}
extern "C" const char* __ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}

namespace {

constexpr std::size_t kMaxInput = 1 << 16;

struct Options {
  std::uint64_t runs = 0;
  std::uint64_t seed = 1;
  std::uint64_t max_total_time = 0;
  std::uint64_t timeout = 60;
  std::uint64_t rss_limit_mb = 2048;
  std::string artifact_prefix;
  std::vector<std::filesystem::path> inputs;
};

// What a signal handler needs, in plain memory.
std::string current;
char artifact[4096];

/// Saves the input that is being run. Uses only what is allowed inside a signal handler.
void save_current(const char* reason) {
  const int file = ::open(artifact, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file >= 0) {
    (void)!::write(file, current.data(), current.size());
    ::close(file);
  }
  for (const char* part :
       {reason, ": the input is in ", static_cast<const char*>(artifact), "\n"}) {
    (void)!::write(STDERR_FILENO, part, std::strlen(part));
  }
}

void on_signal(int number) {
  save_current(number == SIGALRM ? "timeout" : "deadly signal");
  ::_exit(1);
}

void watch_for_failures() {
  for (const int number : {SIGABRT, SIGALRM}) ::signal(number, on_signal);
#ifndef __SANITIZE_ADDRESS__  // which handles memory faults itself, with a report worth having
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(number, on_signal);
#endif
}

class Mutator {
 public:
  Mutator(std::uint64_t seed, const std::vector<std::string>& corpus)
      : engine_(seed), corpus_(corpus) {}

  std::string next() {
    if (corpus_.empty() || below(10) == 0) {
      std::string noise(below(below(4) == 0 ? 4096 : 64), '\0');
      for (char& c : noise) c = random_char();
      return noise;
    }
    std::string input = corpus_[below(corpus_.size())];
    for (std::size_t changes = 1 + below(6); changes > 0; --changes) change(input);
    if (input.size() > kMaxInput) input.resize(kMaxInput);
    return input;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : engine_() % limit; }
  char random_char() { return static_cast<char>(engine_()); }

  void change(std::string& input) {
    const std::size_t at = below(input.size() + 1);
    const std::size_t length = 1 + below(below(8) == 0 ? input.size() + 1 : 8);
    switch (below(9)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < input.size()) input[at] = random_char();
        break;
      case 2:
        input.erase(at, length);
        break;
      case 3:
        input.insert(at, length, random_char());
        break;
      case 4:
        input.insert(at, input.substr(below(input.size() + 1), length));
        break;
      case 5:
        input.resize(at);
        break;
      case 6: {  // join with another file of the corpus
        const std::string& other = corpus_[below(corpus_.size())];
        input = input.substr(0, at) + other.substr(below(other.size() + 1));
        break;
      }
      case 7: {  // a binary number at its limits
        static constexpr std::uint64_t kLimits[] = {0,
                                                    1,
                                                    0x7f,
                                                    0x80,
                                                    0xff,
                                                    0x7fff,
                                                    0x8000,
                                                    0xffff,
                                                    0x7fffffff,
                                                    0x80000000,
                                                    0xffffffff,
                                                    0x7fffffffffffffff,
                                                    0x8000000000000000,
                                                    0xffffffffffffffff};
        const std::uint64_t value = kLimits[below(std::size(kLimits))];
        const std::size_t width = std::min<std::size_t>(std::size_t{1} << below(4), input.size());
        std::memcpy(input.data() + below(input.size() - width + 1), &value, width);
        break;
      }
      default: {  // a written number at its limits, in place of one that is there
        static constexpr std::string_view kNumbers[] = {"0",
                                                        "-1",
                                                        "1e999",
                                                        "2147483648",
                                                        "4294967296",
                                                        "9223372036854775807",
                                                        "18446744073709551616",
                                                        "0.5",
                                                        "99999999999999999999999"};
        const std::size_t begin = input.find_first_of("0123456789", at);
        if (begin == std::string::npos) break;
        const std::size_t end =
            std::min(input.find_first_not_of("0123456789", begin), input.size());
        input.replace(begin, end - begin, kNumbers[below(std::size(kNumbers))]);
      }
    }
  }

  std::mt19937_64 engine_;
  const std::vector<std::string>& corpus_;
};

bool parse_options(int count, char** arguments, Options& options) {
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    if (!argument.starts_with("-")) {
      options.inputs.emplace_back(argument);
      continue;
    }
    const auto equals = argument.find('=');
    if (equals == std::string_view::npos) return false;
    const std::string_view name = argument.substr(1, equals - 1);
    const std::string value(argument.substr(equals + 1));
    if (name == "artifact_prefix") {
      options.artifact_prefix = value;
      continue;
    }
    std::uint64_t* number = name == "runs"             ? &options.runs
                            : name == "seed"           ? &options.seed
                            : name == "max_total_time" ? &options.max_total_time
                            : name == "timeout"        ? &options.timeout
                            : name == "rss_limit_mb"   ? &options.rss_limit_mb
                                                       : nullptr;
    if (number == nullptr) return false;
    *number = std::strtoull(value.c_str(), nullptr, 10);
  }
  return true;
}

std::vector<std::string> read_corpus(const std::vector<std::filesystem::path>& inputs) {
  std::vector<std::filesystem::path> files;
  for (const auto& input : inputs) {
    if (!std::filesystem::is_directory(input)) {
      files.push_back(input);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(input)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);  // the order in a folder differs from machine to machine
  std::vector<std::string> corpus;
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) std::fprintf(stderr, "cannot read %s\n", file.c_str());
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return corpus;
}

bool run(const Options& options, std::string input, std::uint64_t number) {
  current = std::move(input);
  std::snprintf(artifact, sizeof(artifact), "%scrash-seed%llu-run%llu",
                options.artifact_prefix.c_str(), static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(number));
  ::alarm(static_cast<unsigned>(options.timeout));
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(current.data()), current.size());
  ::alarm(0);
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  if (static_cast<std::uint64_t>(usage.ru_maxrss) / 1024 <= options.rss_limit_mb) return true;
  save_current("too much memory");
  return false;
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  if (!parse_options(count, arguments, options)) {
    std::fprintf(stderr, "unknown option; see the head of tests/fuzz/driver.cpp\n");
    return 2;
  }
  watch_for_failures();
  const std::vector<std::string> corpus = read_corpus(options.inputs);
  std::uint64_t done = 0;
  for (const std::string& input : corpus) {
    if (!run(options, input, done++)) return 1;
  }
  Mutator mutator(options.seed, corpus);
  const auto start = std::chrono::steady_clock::now();
  const auto more = [&] {
    const auto passed = std::chrono::steady_clock::now() - start;
    const bool in_time =
        options.max_total_time == 0 || passed < std::chrono::seconds(options.max_total_time);
    return in_time && (options.runs == 0 ? options.max_total_time > 0 : done < options.runs);
  };
  while (more()) {
    if (!run(options, mutator.next(), done++)) return 1;
  }
  std::printf("%llu inputs, %zu from the corpus, no failure\n",
              static_cast<unsigned long long>(done), corpus.size());
  return 0;
}
