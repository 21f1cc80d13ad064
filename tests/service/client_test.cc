#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/io/sample_rows.h"
#include "tests/service/cli_fake_service.h"

namespace haarflow {
namespace {

using testing::FakeRunOptions;
using testing::FakeServer;
using testing::FakeService;
using testing::FakeTrouble;
using ::testing::HasSubstr;
using testing::TestDirectory;

const grpc::Status kGone(grpc::StatusCode::UNAVAILABLE, "draining");

// Everything a stream delivered, through the checks once more.
struct Received {
  std::vector<uint64_t> chain;  // indices, expanded
  std::string fields;
  int headers = 0;
  int summaries = 0;
  std::string numerics_class;
  absl::Status status;
};

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() : service_(FakeRunOptions()), server_(&service_, "127.0.0.1:0") {
    client_ = Client::Connect(server_.address(), {}).value();
    stream_.first_backoff = std::chrono::milliseconds(1);
    request_.set_model("fake");
    request_.set_count(100);
    request_.add_observables("plaquette");
  }

  Received Draw() {
    Received received;
    SampleAssembler assembler(/*keep_fields=*/true);
    uint64_t last_index = 0;
    received.status = client_->Sample(request_, stream_, [&](const v1::SampleResponse& message) {
      if (message.has_header()) ++received.headers;
      if (message.has_summary()) ++received.summaries;
      const absl::Status status = assembler.Add(message, [&](const SampleRow& row) {
        for (uint64_t i = 0; i < row.multiplicity; ++i) received.chain.push_back(row.index);
        if (row.index != last_index) received.fields.append(row.field.begin(), row.field.end());
        last_index = row.index;
        return absl::OkStatus();
      });
      EXPECT_TRUE(status.ok()) << status;
      return true;
    });
    received.numerics_class = assembler.numerics_class();
    return received;
  }

  FakeService service_;
  FakeServer server_;
  std::unique_ptr<Client> client_;
  StreamOptions stream_;
  v1::SampleRequest request_;
};

TEST_F(ClientTest, DrawsAChain) {
  const Received received = Draw();
  ASSERT_TRUE(received.status.ok()) << received.status;
  EXPECT_EQ(received.chain.size(), 100u);
  EXPECT_EQ(received.headers, 1);
  EXPECT_EQ(received.summaries, 1);
}

TEST_F(ClientTest, AStreamThatBreaksAnywhereIsJoinedToTheUnbrokenChain) {
  const Received unbroken = Draw();
  for (int at = 0; at <= 10; ++at) {
    service_.SetTroubles(
        {{.after_chunks = at, .end = kGone}, {.after_chunks = 0, .end = kGone}, {.after_chunks = 1, .end = kGone}});
    const Received joined = Draw();
    ASSERT_TRUE(joined.status.ok()) << joined.status;
    EXPECT_EQ(joined.chain, unbroken.chain) << "broken after " << at;
    EXPECT_EQ(joined.fields, unbroken.fields) << "broken after " << at;
    EXPECT_GT(joined.headers, 1);  // each part has its own
    EXPECT_EQ(joined.summaries, 1);
  }
}

TEST_F(ClientTest, APoliteEarlyEndIsResumedToo) {
  // The end divides the steps of a state: it comes again, in the next part. (Found with a real server that drained.)
  const Received unbroken = Draw();
  for (int at = 0; at <= 5; ++at) {
    service_.set_per_chunk(4 + at % 3);
    service_.SetTroubles({{.after_chunks = at}, {.after_chunks = 0}, {.after_chunks = 1}, {.after_chunks = 0}});
    const Received joined = Draw();
    ASSERT_TRUE(joined.status.ok()) << joined.status;
    EXPECT_EQ(joined.chain, unbroken.chain) << "ended after " << at;
    EXPECT_EQ(joined.fields, unbroken.fields);
    EXPECT_EQ(joined.summaries, 1);
  }
}

TEST_F(ClientTest, AConfigurationCutInPiecesComesAgain) {
  const Received unbroken = Draw();
  service_.SetTroubles({{.after_chunks = 2, .end = kGone, .cut_field = true}});
  const Received joined = Draw();
  ASSERT_TRUE(joined.status.ok()) << joined.status;
  EXPECT_EQ(joined.chain, unbroken.chain);
  EXPECT_EQ(joined.fields, unbroken.fields);
  EXPECT_EQ(joined.headers, 2);  // "forget the unfinished one"
}

TEST_F(ClientTest, AResumptionSendsTheTokenAndWhatIsLeft) {
  service_.SetTroubles({{.after_chunks = 2, .end = kGone}});
  ASSERT_TRUE(Draw().status.ok());
  const auto requests = service_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[1].resume_token(), "k=10");
  EXPECT_EQ(requests[1].count(), 100 - service_.run().StepsOf(0, 10));
  EXPECT_EQ(requests[1].model(), "");
  EXPECT_FALSE(requests[1].has_seed());
}

TEST_F(ClientTest, ABreakBeforeTheFirstChunkKeepsTheSeedAndDigest) {
  service_.SetTroubles({{.after_chunks = 0, .end = kGone}});
  ASSERT_TRUE(Draw().status.ok());
  const auto requests = service_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_FALSE(requests[0].has_seed());
  EXPECT_EQ(requests[1].seed(), FakeRunOptions().seed);
  EXPECT_EQ(requests[1].model_digest(), service_.run().Header(1).model_digest());
}

TEST_F(ClientTest, AChangedNumericsClassIsNotHidden) {
  service_.SetTroubles({{.after_chunks = 2, .end = kGone}});
  stream_.on_resume = [&](const absl::Status&) { service_.set_numerics_class("fake-2"); };
  const Received joined = Draw();
  ASSERT_TRUE(joined.status.ok()) << joined.status;
  EXPECT_EQ(joined.headers, 2);
  EXPECT_EQ(joined.numerics_class, "fake-1; fake-2");
}

TEST_F(ClientTest, WithoutResumeTheErrorComesThrough) {
  service_.SetTroubles({{.after_chunks = 2, .end = kGone}});
  stream_.resume = false;
  const Received received = Draw();
  EXPECT_EQ(received.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(received.status.message()), HasSubstr("draining"));
}

TEST_F(ClientTest, GivesUpWhenNothingComesForLong) {
  service_.SetTroubles(std::vector<FakeTrouble>(1000, {.after_chunks = 0, .end = kGone}));
  stream_.resume_for = std::chrono::milliseconds(50);
  const Received received = Draw();
  EXPECT_EQ(received.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(received.status.message()), HasSubstr("gave up"));
}

TEST_F(ClientTest, ACorruptChunkIsDataLoss) {
  service_.SetTroubles({{.after_chunks = 2, .corrupt = true}});
  const Received received = Draw();
  EXPECT_EQ(received.status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(received.status.message()), HasSubstr("CRC-32C"));
  EXPECT_EQ(service_.sample_calls(), 1);  // not tried again
}

TEST_F(ClientTest, TheServersOwnWordsComeThrough) {
  request_.set_model("other");
  const Received received = Draw();
  EXPECT_EQ(received.status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(received.status.message(), "no model other; there is: fake");
  EXPECT_EQ(client_->GetModel("other").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ClientTest, TheCallbackCanStop) {
  int messages = 0;
  const absl::Status status =
      client_->Sample(request_, stream_, [&](const v1::SampleResponse&) { return ++messages < 3; });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(messages, 3);
}

TEST_F(ClientTest, AStopRequestEndsACallThatHangs) {
  service_.SetTroubles({{.after_chunks = 2, .hang = true}});
  std::stop_source source;
  stream_.stop = source.get_token();
  int chunks = 0;
  const absl::Status status = client_->Sample(request_, stream_, [&](const v1::SampleResponse& message) {
    if (message.has_chunk() && ++chunks == 2) source.request_stop();
    return true;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST(Client, HidesAServerRestart) {
  const std::string address = "unix:" + TestDirectory("restart") + "/socket";
  FakeService service((FakeRunOptions()));
  auto server = std::make_unique<FakeServer>(&service, address);
  const auto client = Client::Connect(address, {}).value();
  service.SetTroubles({{.after_chunks = 3, .hang = true}});
  v1::SampleRequest request;
  request.set_model("fake");
  request.set_count(100);
  std::vector<uint64_t> chain;
  std::thread restart;
  int chunks = 0;
  const absl::Status status = client->Sample(request, {}, [&](const v1::SampleResponse& message) {
    if (message.has_chunk()) {
      for (int i = 0; i < message.chunk().index_size(); ++i) {
        chain.insert(chain.end(), message.chunk().multiplicity(i), message.chunk().index(i));
      }
      if (++chunks == 3) {
        restart = std::thread([&] {
          server->Stop();
          server = std::make_unique<FakeServer>(&service, address);
        });
      }
    }
    return true;
  });
  restart.join();
  ASSERT_TRUE(status.ok()) << status;
  std::vector<uint64_t> unbroken;
  for (uint64_t k = 0; unbroken.size() < 100; ++k)
    unbroken.insert(unbroken.end(), service.run().MultiplicityOf(k), service.run().IndexOf(k));
  unbroken.resize(100);
  EXPECT_EQ(chain, unbroken);
  EXPECT_EQ(service.sample_calls(), 2);
}

TEST_F(ClientTest, UnaryCallsAndHealth) {
  const auto models = client_->ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  EXPECT_EQ(models->models(0).name(), "fake");
  EXPECT_EQ(client_->GetModel("fake")->spec_text(), "name: \"fake\"\n");
  const auto serving = client_->IsServing("");
  ASSERT_TRUE(serving.ok()) << serving.status();
  EXPECT_TRUE(*serving);
  EXPECT_EQ(client_->IsServing("nobody").status().code(), absl::StatusCode::kNotFound);
  v1::MeasureRequest measure;
  measure.add_observables("plaquette");
  measure.set_count(10);
  const auto result = client_->Measure(measure, {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->estimates_size(), 1);
}

TEST(Client, AServerThatIsNotThereIsUnavailableAtOnce) {
  const auto client = Client::Connect("127.0.0.1:1", {}).value();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(client->ListModels().status().code(), absl::StatusCode::kUnavailable);
  v1::SampleRequest request;
  request.set_count(1);
  const absl::Status status = client->Sample(request, {}, [](const v1::SampleResponse&) { return true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:1"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Client, AddressesAreChecked) {
  for (const char* address : {"", "host", "host:", ":1", "host:port", "unix:", "host:1234567"}) {
    EXPECT_EQ(Client::Connect(address, {}).status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
  EXPECT_TRUE(Client::Connect("unix:/tmp/x", {}).ok());
  EXPECT_TRUE(Client::Connect("node-7.cluster:50151", {}).ok());
}

}  // namespace
}  // namespace haarflow
