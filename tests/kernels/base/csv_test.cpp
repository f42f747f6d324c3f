#include "kernels/base/csv.h"

#include <gtest/gtest.h>

namespace fovea {
namespace {

using Fields = std::vector<std::string>;

std::vector<Fields> fields_of(const std::string& text) {
  const auto records = parse_csv(text);
  EXPECT_TRUE(records) << (records ? "" : records.error().to_string());
  std::vector<Fields> all;
  if (records) {
    for (const CsvRecord& record : *records) all.push_back(record.fields);
  }
  return all;
}

TEST(Csv, fields_are_quoted_only_where_they_must_be) {
  EXPECT_EQ(csv_record(Fields{"plain", "with, comma", "with \"quotes\"", "two\nlines", ""}),
            "plain,\"with, comma\",\"with \"\"quotes\"\"\",\"two\nlines\",\r\n");
}

TEST(Csv, what_was_written_reads_back) {
  const Fields first{"a", "b, c", "\"", "", "x\r\ny"}, second{"ä", "1", "2", "3", "4"};
  EXPECT_EQ(fields_of(csv_record(first) + csv_record(second)),
            (std::vector<Fields>{first, second}));
}

TEST(Csv, reads_what_other_programs_write) {
  EXPECT_EQ(fields_of("\xEF\xBB\xBFpath,label\na.png,cat\n\nb.png,\"dog\""),
            (std::vector<Fields>{{"path", "label"}, {"a.png", "cat"}, {"b.png", "dog"}}));
  EXPECT_TRUE(fields_of("").empty());
  EXPECT_EQ(fields_of("a,"), (std::vector<Fields>{{"a", ""}}));
}

TEST(Csv, lines_are_counted_through_quoted_breaks) {
  const auto records = parse_csv("a,\"x\ny\"\nb,c\n");
  ASSERT_TRUE(records);
  ASSERT_EQ(records->size(), 2U);
  EXPECT_EQ((*records)[0].line, 1U);
  EXPECT_EQ((*records)[1].line, 3U);
}

TEST(Csv, damaged_tables_are_errors_with_their_line) {
  for (const char* text : {"a,b\nc,\"d", "a,b\n\"c\"d,e\n"}) {
    const auto records = parse_csv(text);
    ASSERT_FALSE(records) << text;
    EXPECT_EQ(records.error().code, ErrorCode::bad_input);
    EXPECT_EQ(records.error().offset, 2U);
  }
}

}  // namespace
}  // namespace fovea
