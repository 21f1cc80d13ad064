// The log never holds the server.
#include "server/log/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace haarflow::testing {
namespace {

TEST(Log, AFullPipeDropsLinesAndTheNextOneSaysHowMany) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int stderr_before = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  const std::string filler(1000, 'x');
  for (int i = 0; i < 200; ++i) Log(LogLevel::kInfo, "line", {{"filler", filler}});  // 64 KiB are the pipe's
  std::string out(1 << 20, '\0');
  ssize_t got = read(ends[0], out.data(), out.size());
  Log(LogLevel::kInfo, "again");
  Log(LogLevel::kError, "long", {{"value", std::string(100000, 'y')}});
  dup2(stderr_before, STDERR_FILENO);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  ASSERT_GT(got, 0);
  const std::string first = out.substr(0, static_cast<size_t>(got));
  std::string rest;
  while ((got = read(ends[0], out.data(), out.size())) > 0) rest.append(out, 0, static_cast<size_t>(got));
  EXPECT_THAT(first, ::testing::HasSubstr("INFO line"));
  EXPECT_THAT(rest, ::testing::HasSubstr("INFO again dropped_lines_before=1"));
  EXPECT_GE(DroppedLogLines(), 100u) << "for the metrics";
  const size_t at = rest.find("ERROR long");
  ASSERT_NE(at, std::string::npos);
  EXPECT_LE(rest.size() - rest.rfind('\n', at), 4098u);
  EXPECT_EQ(rest.back(), '\n');
  close(ends[0]);
  close(ends[1]);
  close(stderr_before);
}

}  // namespace
}  // namespace haarflow::testing
