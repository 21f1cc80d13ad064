// Addresses by endpoint file: what clients of a batch system's servers dial.
#include "client/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "core/base/file.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;

class EndpointTest : public ::testing::Test {
 protected:
  ~EndpointTest() override { std::remove(path_.c_str()); }
  absl::StatusOr<std::string> Resolve(const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(path_, content).ok());
    return ResolveAddress("file:" + path_);
  }
  const std::string path_ = ::testing::TempDir() + "endpoint_test.json";
};

TEST_F(EndpointTest, AnAddressIsItself) {
  EXPECT_EQ(*ResolveAddress("node7:50151"), "node7:50151");
  EXPECT_EQ(*ResolveAddress("unix:/run/file:x"), "unix:/run/file:x");
}

TEST_F(EndpointTest, AFileNamesTheAddressThatItHoldsNow) {
  EXPECT_EQ(*Resolve(R"({"address":"node7:4711","metrics":"","pid":1})"), "node7:4711");
  EXPECT_EQ(*Resolve(R"({"address":"node8:4712"})"), "node8:4712");
}

TEST_F(EndpointTest, WithoutAFileTheServerIsUnavailable) {
  const auto address = ResolveAddress("file:" + path_);
  EXPECT_TRUE(absl::IsUnavailable(address.status())) << address.status();
  EXPECT_THAT(std::string(address.status().message()), HasSubstr(path_));
}

TEST_F(EndpointTest, AFileThatHoldsNoAddressIsDamaged) {
  for (const char* content : {"", "{", "[]", "7", R"({"pid":1})", R"({"address":5})", R"({"address":"file:/x"})"}) {
    EXPECT_TRUE(absl::IsDataLoss(Resolve(content).status())) << content;
  }
}

TEST_F(EndpointTest, AFileOfAnySizeIsNotRead) { EXPECT_FALSE(Resolve(std::string(1 << 20, ' ')).ok()); }

}  // namespace
}  // namespace haarflow
