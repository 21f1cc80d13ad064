// Addresses by endpoint file: what clients of a batch system's servers dial.
#include "client/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <vector>

#include "absl/strings/str_split.h"
#include "core/base/file.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

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

TEST(ShuffleReplicasTest, EveryReplicaIsFirstAtTimesAndNoneIsLost) {
  std::map<std::string, int> first;
  for (int i = 0; i < 200; ++i) {
    const std::string address = ShuffleReplicas("ipv4:10.0.0.1:1,10.0.0.2:2,10.0.0.3:3");
    std::vector<std::string> replicas = absl::StrSplit(address.substr(5), ',');
    EXPECT_THAT(replicas, UnorderedElementsAre("10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"));
    ++first[replicas.front()];
  }
  // One of three is never first among 200 with a probability of 2e-35.
  EXPECT_EQ(first.size(), 3u);
  for (const char* one : {"127.0.0.1:50151", "unix:/a,b", "dns:///samplers:50151", "ipv6:[::1]:5"}) {
    EXPECT_EQ(ShuffleReplicas(one), one);
  }
}

}  // namespace
}  // namespace haarflow
