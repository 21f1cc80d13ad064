// Trace contexts, and logs as JSON.
#include "server/log/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "server/log/log.h"

namespace haarflow::testing {
namespace {

const std::string kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";
const std::string kParent = "00f067aa0ba902b7";

TEST(Trace, OfTheStandardIsTaken) {
  const auto trace = ParseTraceparent("00-" + kTrace + "-" + kParent + "-01");
  ASSERT_TRUE(trace.has_value());
  EXPECT_EQ(trace->trace_id, kTrace);
  EXPECT_EQ(trace->parent_id, kParent);
  EXPECT_TRUE(ParseTraceparent("cc-" + kTrace + "-" + kParent + "-01-what the future adds").has_value());
}

TEST(Trace, WhatIsMalformedIsNone) {
  const std::string zeros(32, '0');
  for (const std::string& header :
       {std::string(), std::string("00"), "00-" + kTrace + "-" + kParent, "00-" + kTrace + "-" + kParent + "-1",
        "00-" + kTrace + "-" + kParent + "-01-more", "00-" + kTrace + "-" + kParent + "-010",
        "ff-" + kTrace + "-" + kParent + "-01", "0x-" + kTrace + "-" + kParent + "-01",
        "00-" + zeros + "-" + kParent + "-01", "00-" + kTrace + "-" + zeros.substr(16) + "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + kParent + "-01", "00_" + kTrace + "_" + kParent + "_01",
        "00-" + kTrace.substr(1) + "\n-" + kParent + "-01", "cc-" + kTrace + "-" + kParent + "-01.more",
        "cc-" + kTrace + "-" + kParent + "-01-" + std::string(10000, 'x'), std::string(55, '\0'),
        " 00-" + kTrace + "-" + kParent + "-01"}) {
    EXPECT_FALSE(ParseTraceparent(header).has_value()) << header;
  }
}

TEST(Trace, OfTheServersOwnAreValidAndDiffer) {
  const TraceContext one = NewTrace();
  EXPECT_TRUE(ParseTraceparent("00-" + one.trace_id + "-" + kParent + "-00").has_value()) << one.trace_id;
  EXPECT_NE(one.trace_id, NewTrace().trace_id);
  const auto sent = ParseTraceparent(TraceparentOf(one));
  ASSERT_TRUE(sent.has_value());
  EXPECT_EQ(sent->trace_id, one.trace_id);
  EXPECT_NE(sent->parent_id, ParseTraceparent(TraceparentOf(one))->parent_id) << "each call's own";
  EXPECT_EQ(TraceFields(one).size(), 1u) << "nobody is its parent";
  EXPECT_EQ(TraceFields({kTrace, kParent}), (LogFields{{"trace_id", kTrace}, {"parent_id", kParent}}));
}

TEST(JsonLog, ALineIsAnObjectWhateverTheValuesHold) {
  const std::string line = FormatJsonLine("2026-01-01T12:00:00.123Z", LogLevel::kWarning, "audit",
                                          {{"object", "a \"b\"\n\x01\\"}, {"bytes", "\xff\xfe"}, {"empty", ""}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(line.rfind("{\"time\":\"2026-01-01T12:00:00.123Z\",\"level\":\"WARNING\",\"message\":\"audit\",", 0), 0u)
      << line;
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["object"], "a \"b\"\n\x01\\");
  EXPECT_EQ(json["empty"], "");
}

TEST(JsonLog, LongValuesAreCutAndTheLineStaysAnObject) {
  const LogFields fields = {
      {"error", std::string(100000, 'y')}, {"other", std::string(5000, '\x01')}, {"trace_id", kTrace}};
  const std::string line = FormatJsonLine("now", LogLevel::kError, "long", fields);
  EXPECT_LT(line.size(), 4096u);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["trace_id"], kTrace) << "what is short stays whole";
  const std::string error = json["error"];
  EXPECT_EQ(error.substr(error.size() - 3), "...");
  LogFields many;
  for (int i = 0; i < 1000; ++i) many.emplace_back("field" + std::to_string(i), "value");
  EXPECT_TRUE(nlohmann::json::accept(FormatJsonLine("now", LogLevel::kInfo, "many", many)));
}

TEST(LogScope, IsOfItsThreadAndReplacesTheOuterOne) {
  EXPECT_TRUE(LogScope::Current().empty());
  {
    const LogScope outer(LogFields{{"trace_id", "a"}});
    {
      const LogScope inner(LogFields{{"trace_id", "b"}});
      EXPECT_EQ(LogScope::Current(), (LogFields{{"trace_id", "b"}}));
      std::thread([] { EXPECT_TRUE(LogScope::Current().empty()); }).join();
    }
    EXPECT_EQ(LogScope::Current(), (LogFields{{"trace_id", "a"}}));
  }
  EXPECT_TRUE(LogScope::Current().empty());
}

}  // namespace
}  // namespace haarflow::testing
