#include "app/line_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

namespace fovea::app {
namespace {

/// The reading end of a pipe that another thread fills and closes.
class Pipe {
 public:
  explicit Pipe(std::string text) {
    if (::pipe(ends_) != 0) ADD_FAILURE() << "no pipe";
    writer_ = std::thread([this, text = std::move(text)] {
      for (std::size_t sent = 0; sent < text.size();) {
        const ssize_t count = ::write(ends_[1], text.data() + sent, text.size() - sent);
        if (count <= 0) break;
        sent += static_cast<std::size_t>(count);
      }
      ::close(ends_[1]);
    });
  }
  ~Pipe() {
    for (char sink[4096]; ::read(ends_[0], sink, sizeof(sink)) > 0;) {
    }
    writer_.join();
    ::close(ends_[0]);
  }
  int descriptor() const { return ends_[0]; }

 private:
  int ends_[2] = {-1, -1};
  std::thread writer_;
};

TEST(LineReader, lines_end_at_newlines_and_at_the_end) {
  const Pipe pipe("one\r\n\ntwo three\nlast");
  LineReader reader(pipe.descriptor());
  std::string line;
  for (const char* expected : {"one", "", "two three", "last"}) {
    const auto outcome = reader.next(line);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(*outcome, LineReader::Outcome::line);
    EXPECT_EQ(line, expected);
  }
  EXPECT_EQ(*reader.next(line), LineReader::Outcome::end);
}

TEST(LineReader, a_line_without_end_is_refused) {
  const Pipe pipe(std::string(3 << 20, 'x'));
  LineReader reader(pipe.descriptor());
  std::string line;
  const auto outcome = reader.next(line);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::too_large);
}

TEST(LineReader, rest_is_everything_up_to_the_end) {
  const Pipe pipe("What\nis this?\n");
  EXPECT_EQ(*LineReader(pipe.descriptor()).rest(), "What\nis this?\n");
}

}  // namespace
}  // namespace fovea::app
