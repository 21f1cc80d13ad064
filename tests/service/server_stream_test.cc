// Streams over a real socket: the same bits whatever happens around them; slow clients, interruptions, drain.
#include <unistd.h>

#include <fstream>
#include <thread>

#include "core/exact/metropolis.h"
#include "server/sampling/in_process.h"
#include "tests/service/server_fixture.h"

namespace haarflow::testing {
namespace {

// A client with the smallest window: what it does not read stays at the server.
std::unique_ptr<v1::SamplerService::Stub> SmallWindowStub(const Running& running) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65535);
  return v1::SamplerService::NewStub(
      grpc::CreateCustomChannel(running.server->address(), grpc::InsecureChannelCredentials(), arguments));
}

// Until a full chunk of the only stream waits behind the one on the wire: nothing is demanded any more.
void WaitUntilStuck(const Running& running) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (true) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    const std::string text = running.metrics->Text();
    const std::string proposals = "haarflow_proposals_total{model=\"small\"} ";
    const size_t at = text.find(proposals);
    if (at == std::string::npos || text.find("haarflow_queue_depth 0\n") == std::string::npos) continue;
    if (std::stod(text.substr(at + proposals.size())) > 3000) return;
  }
}

TEST_F(ServerTest, AStreamEqualsTheSameStreamWithinAProcess) {
  auto running = Start();
  const auto request = Request(17, 20000);
  const Collector remote = ReadAll(*running, request);
  auto task = MakeSampleTask(running->registry, request, RequestOptions());
  ASSERT_TRUE(task.ok());
  BlockingReader<v1::SampleResponse> reader(*task);
  ASSERT_TRUE(running->scheduler->Submit(*task).ok());
  Collector local;
  while (auto message = reader.Read()) local.Add(*message);
  EXPECT_EQ(remote.configurations, local.configurations);
  EXPECT_EQ(remote.summary.resume_token(), local.summary.resume_token());
  EXPECT_TRUE(remote.summary.complete());
  EXPECT_EQ(remote.header.numerics_class(), CpuKernels().numerics);
  EXPECT_GT(remote.chunks, 1);
}

TEST_F(ServerTest, ARequestWithoutASeedGetsARandomOneThatRepeatsIt) {
  auto running = Start();
  auto request = Request(0, 50);
  request.clear_seed();
  const Collector first = ReadAll(*running, request);
  const Collector second = ReadAll(*running, request);
  EXPECT_NE(first.header.seed(), second.header.seed());
  request.set_seed(first.header.seed());
  EXPECT_EQ(ReadAll(*running, request).configurations, first.configurations);
}

TEST_F(ServerTest, TwoClientsAtOnceGetWhatEachWouldGetAlone) {
  Scheduler::Options scheduling;
  scheduling.threads = 2;
  auto running = Start(scheduling);
  const std::vector<v1::SampleRequest> requests = {Request(1, 8000), Request(2, 8000), Request(1, 3000, "other")};
  std::vector<Collector> alone;
  for (const auto& request : requests) alone.push_back(ReadAll(*running, request));
  std::vector<Collector> together(requests.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.emplace_back([&, i] { together[i] = ReadAll(*running, requests[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(together[i].configurations, alone[i].configurations) << i;
}

TEST_F(ServerTest, InterruptedAndResumedAtANewServerEqualsUnbroken) {
  Server::Options options;
  options.request.max_chunk_bytes = 8192;
  Collector unbroken = ReadAll(*Start({}, options), Request(5, 2000));
  Collector parts;
  for (int part = 0; part < 50; ++part) {
    auto running = Start({}, options);
    v1::SampleRequest request = Request(5, 2000);
    if (part > 0) {
      const uint64_t done = ParseToken(parts.token)->steps();
      if (done == 2000) break;
      request.Clear();
      request.set_resume_token(parts.token);
      request.set_count(2000 - done);
    }
    grpc::ClientContext context;
    auto stream = running->stub->Sample(&context, request);
    v1::SampleResponse response;
    const int stop = parts.chunks + 1 + 3 * part;
    while (parts.chunks < stop && stream->Read(&response)) parts.Add(response);
    context.TryCancel();
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
  }
  EXPECT_EQ(parts.Expanded(), unbroken.Expanded());
}

TEST_F(ServerTest, AClientThatStopsReadingCostsOthersNothing) {
  auto running = Start();
  grpc::ClientContext context;
  auto silent = running->stub->Sample(&context, Request(1, uint64_t{1} << 32));
  v1::SampleResponse header;
  ASSERT_TRUE(silent->Read(&header));
  const int64_t reserved = running->scheduler->reserved_bytes();
  EXPECT_LT(reserved, 4 << 20);
  const Collector quick = ReadAll(*running, Request(2, 50000));
  EXPECT_TRUE(quick.summary.complete());
  // The quick stream gives its reservation back a moment after its last byte.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (running->scheduler->reserved_bytes() != reserved && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(running->scheduler->reserved_bytes(), reserved);
  context.TryCancel();
  v1::SampleResponse rest;
  while (silent->Read(&rest)) {
  }
  EXPECT_EQ(silent->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerTest, ADeadlineEndsTheStreamOnBothSides) {
  auto running = Start();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  auto stream = running->stub->Sample(&context, Request(1, uint64_t{1} << 32));
  v1::SampleResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The next stream is admitted by a server of one: the reservation came back.
  EXPECT_TRUE(ReadAll(*running, Request(2, 100)).summary.complete());
}

TEST_F(ServerTest, DrainEndsStreamsWithATokenAndRefusesNewOnes) {
  auto running = Start();
  grpc::ClientContext context;
  auto stub = SmallWindowStub(*running);
  auto stream = stub->Sample(&context, Request(9, uint64_t{1} << 32));
  Collector collected;
  v1::SampleResponse response;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    collected.Add(response);
  }
  WaitUntilStuck(*running);
  bool clean = false;
  std::thread shutdown([&] { clean = running->server->Shutdown(std::chrono::minutes(1)); });
  while (CheckHealth(running->channel, "") == 1) {
  }
  EXPECT_EQ(CheckHealth(running->channel, ""), 2) << "the open stream, unread, keeps the server there";
  Collector none;
  grpc::Status refused;
  do {  // health changes a moment before calls are refused
    refused = Read(running->stub.get(), Request(1, 1), &none);
  } while (refused.ok());
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  while (stream->Read(&response)) collected.Add(response);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  shutdown.join();
  EXPECT_TRUE(clean);
  running->server.reset();
  ASSERT_TRUE(collected.summarised);
  EXPECT_FALSE(collected.summary.complete());

  const uint64_t steps = collected.summary.statistics().steps();
  auto restarted = Start();
  v1::SampleRequest rest;
  rest.set_resume_token(collected.summary.resume_token());
  rest.set_count(500);
  const Collector tail = ReadAll(*restarted, rest);
  const Collector unbroken = ReadAll(*restarted, Request(9, steps + 500));
  auto all = collected.Expanded();
  const auto more = tail.Expanded();
  all.insert(all.end(), more.begin(), more.end());
  EXPECT_EQ(all, unbroken.Expanded());
}

TEST_F(ServerTest, AClientThatNeverReadsDoesNotHoldTheShutdown) {
  auto running = Start();
  auto stub = SmallWindowStub(*running);
  grpc::ClientContext context;
  auto stream = stub->Sample(&context, Request(9, uint64_t{1} << 32));
  v1::SampleResponse response;
  ASSERT_TRUE(stream->Read(&response));
  WaitUntilStuck(*running);
  EXPECT_TRUE(running->server->Shutdown(std::chrono::milliseconds(200)));
  running->server.reset();
  while (stream->Read(&response)) {
  }
  EXPECT_FALSE(stream->Finish().ok());
}

double ResidentMegabytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

TEST_F(ServerTest, ResidentMemoryStaysFlatOverAMillionConfigurations) {
  auto running = Start();
  auto request = Request(1, 1000000);
  request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
  grpc::ClientContext context;
  auto stream = running->stub->Sample(&context, request);
  v1::SampleResponse response;
  int64_t configurations = 0;
  double after_a_tenth = 0;
  while (stream->Read(&response)) {
    configurations += response.chunk().index_size();
    if (after_a_tenth == 0 && configurations > 100000) after_a_tenth = ResidentMegabytes();
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(configurations, 1000000);
  EXPECT_LT(ResidentMegabytes(), after_a_tenth + 32);
}

}  // namespace
}  // namespace haarflow::testing
