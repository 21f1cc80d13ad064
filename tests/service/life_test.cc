// Whatever becomes of a call, its state is freed and the counters are right; how the server ends.
#include <thread>

#include "haarflow/v1/worker.grpc.pb.h"
#include "tests/service/life_fixture.h"

namespace haarflow::testing {
namespace {

// ------------------------------------------------------- {unary, stream} x {ok, cancel, deadline, error, killed,
// stopped}

TEST_F(LifeTest, UnaryCallsLeaveNothingWhateverBecomesOfThem) {
  Start();
  using Code = grpc::StatusCode;
  struct Fate {
    bool cancel, expire;
    const char* model;
    std::set<Code> codes;  // what the client may see: a quick answer may come before the end that was asked for
  };
  const std::vector<Fate> fates = {{false, false, "small", {Code::OK}},
                                   {true, false, "small", {Code::CANCELLED}},
                                   {false, true, "small", {Code::OK, Code::DEADLINE_EXCEEDED}},
                                   {false, false, "nobody", {Code::NOT_FOUND}}};
  std::map<std::string, double> answered, sent;  // by method
  for (const Fate& fate : fates) {
    for (int i = 0; i < 5; ++i) {
      const auto call = [&](const std::string& method, auto&& make) {
        grpc::ClientContext context;
        if (fate.expire) context.set_deadline(std::chrono::system_clock::now());
        if (fate.cancel) context.TryCancel();
        const grpc::Status status = make(&context);
        EXPECT_TRUE(fate.codes.count(status.error_code()) != 0) << method << ": " << status.error_message();
        answered[method] += status.ok() ? 1 : 0;
        sent[method] += status.error_code() == Code::NOT_FOUND ? 0 : 1;
      };
      call("GetModel", [&](grpc::ClientContext* context) {
        v1::GetModelRequest request;
        request.set_name(fate.model);
        v1::GetModelResponse response;
        return sampler_->GetModel(context, request, &response);
      });
      call("UnloadModel", [&](grpc::ClientContext* context) {  // answered on another thread
        v1::UnloadModelRequest request;
        request.set_model(fate.model);
        v1::UnloadModelResponse response;
        return admin_->UnloadModel(context, request, &response);
      });
    }
  }
  ExpectNothingHeld("unary");
  for (const char* method : {"GetModel", "UnloadModel"}) {
    ExpectCounted(method, "NOT_FOUND", 5);
    EXPECT_GE(Counted(method, "OK"), answered[method]);
    EXPECT_LE(Counted(method, "OK"), sent[method]);
  }
  EXPECT_EQ(Terminate(), 0);
}

// A call that waits: a trainer's for a job.
TEST_F(LifeTest, CallsThatWaitLeaveNothingWhateverBecomesOfThem) {
  Start({"--jobs", store_.path("jobs"), "--keepalive-seconds", "1"});
  const auto worker = v1::WorkerService::NewStub(channel_);
  const auto lease = [&](grpc::ClientContext* context) {
    v1::LeaseJobRequest request;
    request.set_worker("w");
    request.set_wait_seconds(60);
    v1::LeaseJobResponse response;
    return worker->LeaseJob(context, request, &response);
  };
  {
    grpc::ClientContext context;
    std::thread waiting([&] { EXPECT_EQ(lease(&context).error_code(), grpc::StatusCode::CANCELLED); });
    WaitForOpenCalls(1);
    context.TryCancel();
    waiting.join();
  }
  ExpectNothingHeld("cancel");
  ExpectCounted("LeaseJob", "CANCELLED", 1);
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    EXPECT_EQ(lease(&context).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  ExpectNothingHeld("deadline");
  ExpectCounted("LeaseJob", "CANCELLED", 2);
  for (const int signal : {SIGKILL, SIGSTOP}) {
    Process trainer({"work", "--server", address_, "--name", "t", "--threads", "1"}, "haarflow-trainer");
    WaitForOpenCalls(1);
    trainer.Signal(signal);
    ExpectNothingHeld(signal == SIGKILL ? "killed" : "stopped");
    // A stopped one's call may have waited long enough before its silence was noticed.
    if (signal == SIGKILL) ExpectCounted("LeaseJob", "CANCELLED", 3);
  }
  grpc::ClientContext context;
  std::thread waiting([&] { EXPECT_EQ(lease(&context).error_code(), grpc::StatusCode::UNAVAILABLE); });
  WaitForOpenCalls(1);
  EXPECT_EQ(Terminate(), 0) << "shutdown sends away who waits";
  waiting.join();
}

TEST_F(LifeTest, StreamsLeaveNothingWhateverBecomesOfThem) {
  Start();
  EXPECT_TRUE(Read(100).ok());
  ExpectNothingHeld("ok");
  {
    grpc::ClientContext context;
    auto stream = sampler_->Sample(&context, Request(kEndless));
    WaitForStream();
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  ExpectNothingHeld("cancel");
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    auto stream = sampler_->Sample(&context, Request(kEndless));
    v1::SampleResponse response;
    while (stream->Read(&response)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  ExpectNothingHeld("deadline");
  EXPECT_EQ(Read(0).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ExpectNothingHeld("error");
  ExpectCounted("Sample", "OK", 1);
  ExpectCounted("Sample", "CANCELLED", 2);
  ExpectCounted("Sample", "INVALID_ARGUMENT", 1);
  EXPECT_EQ(Terminate(), 0);
}

TEST_F(LifeTest, AClientThatIsKilledOrStoppedLeavesNothing) {
  Start({"--keepalive-seconds", "1"});
  for (const int signal : {SIGKILL, SIGSTOP}) {
    const std::string file = store_.path("draws" + std::to_string(signal) + ".h5");
    Process client({"--server", address_, "--no-progress", "sample", "small", "-n", "1000000000", "-o", file},
                   "haarflow");
    WaitForStream();
    client.Signal(signal);
    ExpectNothingHeld(signal == SIGKILL ? "killed" : "stopped");
  }
  ExpectCounted("Sample", "CANCELLED", 2);
  EXPECT_TRUE(Read(100).ok());
  EXPECT_EQ(Terminate(), 0);
}

// ------------------------------------------------------------------------------------------------------------ shutdown

TEST_F(LifeTest, DuringTheGraceCallsAreTakenAndHealthSaysNo) {
  Start({"--grace-seconds", "600"});
  EXPECT_EQ(CheckHealth(channel_, ""), 1);
  EXPECT_EQ(CheckHealth(channel_, "haarflow.model.small"), 1);
  process_->Signal(SIGTERM);
  ASSERT_TRUE(process_->WaitForOutput("draining"));
  while (CheckHealth(channel_, "") == 1) {
  }
  EXPECT_EQ(CheckHealth(channel_, ""), 2);
  EXPECT_EQ(CheckHealth(channel_, "haarflow.model.small"), 2);
  EXPECT_TRUE(Read(100).ok());
  process_->Signal(SIGTERM);
  EXPECT_EQ(process_->Wait(), 128 + SIGTERM) << "a second signal exits now";
}

TEST_F(LifeTest, ShutdownEndsStreamsWithATokenAndUnavailable) {
  Start();
  grpc::ClientContext context;
  auto stream = sampler_->Sample(&context, Request(kEndless));
  v1::SampleResponse response;
  ASSERT_TRUE(stream->Read(&response));
  process_->Signal(SIGTERM);
  std::string token;
  bool complete = true;
  while (stream->Read(&response)) {
    if (!response.has_summary()) continue;
    token = response.summary().resume_token();
    complete = response.summary().complete();
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("resume"));
  EXPECT_FALSE(complete);
  EXPECT_FALSE(token.empty());
  EXPECT_EQ(process_->Wait(), 0);
}

TEST_F(LifeTest, AStoppedClientDoesNotHoldTheShutdown) {
  Start({"--drain-seconds", "0.3"});
  Process client(
      {"--server", address_, "--no-progress", "sample", "small", "-n", "1000000000", "-o", store_.path("draws.h5")},
      "haarflow");
  WaitForStream();
  client.Signal(SIGSTOP);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Terminate(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << "keepalive alone takes 40 s";
}

}  // namespace
}  // namespace haarflow::testing
