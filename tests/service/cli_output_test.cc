#include <gtest/gtest.h>

#include <limits>

#include "client/output.h"
#include "client/progress.h"

namespace haarflow {
namespace {

TEST(ValueWithError, IsWrittenAsPhysicistsDo) {
  EXPECT_EQ(ValueWithError(0.69781234, 0.00012), "0.69781(12)");
  EXPECT_EQ(ValueWithError(0.69781234, 0.000996), "0.6978(10)");
  EXPECT_EQ(ValueWithError(210.9423, 1.24), "210.9(1.2)");
  EXPECT_EQ(ValueWithError(210.9423, 0.96), "210.94(96)");
  EXPECT_EQ(ValueWithError(210.9423, 9.96), "211(10)");
  EXPECT_EQ(ValueWithError(-4.9572, 0.031), "-4.957(31)");
  EXPECT_EQ(ValueWithError(12345.6, 120), "12346(120)");
  EXPECT_EQ(ValueWithError(1, 0), "1");
  EXPECT_EQ(ValueWithError(-11.622885257332632, 1e-14), "-11.62288525733");  // rounding is no error
  EXPECT_EQ(ValueWithError(1.5, std::numeric_limits<double>::infinity()), "1.5 +- inf");
  EXPECT_EQ(ValueWithError(std::numeric_limits<double>::quiet_NaN(), 1), "nan");
}

TEST(Pull, HasASign) {
  EXPECT_EQ(Pull(1.5, 0.25, 1.0), "+2.00");
  EXPECT_EQ(Pull(0.5, 0.25, 1.0), "-2.00");
  EXPECT_EQ(Pull(0.5, 0.0, 1.0), "-");
  EXPECT_EQ(Pull(0.5, 0.1, std::nullopt), "-");
  EXPECT_EQ(Pull(-11.622885257332515, 1e-14, -11.622885257332632), "-");
  EXPECT_EQ(Pull(0, 1e-20, 3e-20), "-3.00");
}

TEST(Numbers, ForPeople) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Grouped(1234567), "1,234,567");
  EXPECT_EQ(ClockTime(7.2), "0:07");
  EXPECT_EQ(ClockTime(3723), "1:02:03");
  EXPECT_EQ(Hex(std::string("\x01\xAB", 2)), "01ab");
}

TEST(Table, IsAligned) { EXPECT_EQ(Table({{"name", "n"}, {"a", "123"}}, {false, true}), "name    n\na     123\n"); }

TEST(ExitCodes, FollowTheStatusUnlessSaidOtherwise) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), kExitOk);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("x")), kExitUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("x")), kExitRefused);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("x")), kExitCorrupt);
  EXPECT_EQ(ExitCodeOf(WithExitCode(absl::NotFoundError("x"), kExitLocalFile)), kExitLocalFile);
}

TEST(ProgressBar, FitsItsWidth) {
  for (int width = 1; width < 200; ++width) {
    EXPECT_LE(ProgressBar::Line(4200, 10000, "steps", 1250, "", width).size(), width);
  }
  EXPECT_EQ(ProgressBar::Line(4200, 10000, "steps", 1250, "", 60),
            " 42 % [#####--------]  4,200/10,000 steps  1,250/s  ETA 0:05");
  EXPECT_EQ(ProgressBar::Line(0, 0, "steps", 0, "", 40), "  0 % [---------]  0/0 steps  0/s  ETA -");
}

}  // namespace
}  // namespace haarflow
