// More clients than the server takes, clients that do nothing, clients of different appetites: it stays within its
// bounds, says so, and is fair.
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "client/client.h"
#include "tests/reference/tier.h"
#include "tests/service/life_fixture.h"

namespace haarflow::testing {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

// The smallest value that at least 99 % do not exceed.
double P99(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[(values.size() * 99 + 99) / 100 - 1];
}

// What clients saw, together.
struct Seen {
  std::mutex mutex;
  std::vector<double> seconds;  // of each request from its admission to its end
  int refusals = 0;
  int without_hint = 0;
  std::set<int64_t> hints_ms;
  std::vector<std::string> errors;
};

class OverloadTest : public LifeTest {
 protected:
  // Until `requests` streams have ended well; comes back when told to, as long as it takes.
  void Insist(int requests, uint64_t count, Seen* seen) {
    for (int done = 0; done < requests;) {
      grpc::ClientContext context;
      const auto begin = Clock::now();
      v1::SampleRequest request = Request(count);
      request.set_omit_fields(true);
      auto stream = sampler_->Sample(&context, request);
      v1::SampleResponse response;
      bool complete = false;
      while (stream->Read(&response)) complete = response.has_summary() && response.summary().complete();
      const grpc::Status status = stream->Finish();
      const double seconds = Seconds(Clock::now() - begin);
      int64_t hint_ms = 0;
      {
        std::lock_guard<std::mutex> lock(seen->mutex);
        if (status.ok() && complete) {
          ++done;
          seen->seconds.push_back(seconds);
          continue;
        }
        if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) {
          seen->errors.push_back(status.error_message());
          return;
        }
        ++seen->refusals;
        const auto pushback = context.GetServerTrailingMetadata().find("grpc-retry-pushback-ms");
        if (pushback != context.GetServerTrailingMetadata().end()) {
          hint_ms = std::stoll(std::string(pushback->second.data(), pushback->second.size()));
        }
        const bool details = status.error_details().find("google.rpc.RetryInfo") != std::string::npos;
        if (hint_ms <= 0 || !details) ++seen->without_hint;
        seen->hints_ms.insert(hint_ms);
      }
      Rest(std::chrono::milliseconds(hint_ms));
    }
  }
  // `clients` at once, and `watch` meanwhile, again and again.
  void RunClients(int clients, int requests, uint64_t count, Seen* seen, const std::function<void()>& watch) {
    std::atomic<int> running{clients};
    std::vector<std::thread> threads;
    for (int i = 0; i < clients; ++i) {
      threads.emplace_back([&] {
        Insist(requests, count, seen);
        --running;
      });
    }
    while (running > 0) watch();
    for (std::thread& thread : threads) thread.join();
  }
  // What a hint asks for.
  static void Rest(std::chrono::milliseconds time) {
    std::mutex mutex;
    std::condition_variable never;
    std::unique_lock<std::mutex> lock(mutex);
    never.wait_for(lock, time, [] { return false; });
  }
};

TEST_F(OverloadTest, TenTimesTooManyClientsAllFinishAndWhoIsAdmittedIsServed) {
  constexpr int kTakes = 4;
  constexpr uint64_t kMemory = uint64_t{64} << 20;
  Start({"--max-streams", std::to_string(kTakes), "--byte-budget", "33554432"});
  const int requests = Length(2, 20);
  constexpr uint64_t kCount = 20000;
  Seen usual;
  RunClients(kTakes, requests, kCount, &usual, [] { std::this_thread::yield(); });
  ASSERT_TRUE(usual.errors.empty()) << usual.errors[0];

  const uint64_t resident = Status().resident_bytes();
  uint64_t most_resident = 0, most_bytes = 0, most_streams = 0;
  Seen seen;
  RunClients(10 * kTakes, requests, kCount, &seen, [&] {
    const v1::GetServerStatusResponse status = Status();
    most_resident = std::max(most_resident, status.resident_bytes());
    most_bytes = std::max(most_bytes, status.reserved_bytes());
    most_streams = std::max(most_streams, status.active_streams());
  });
  ASSERT_TRUE(seen.errors.empty()) << seen.errors[0];
  EXPECT_EQ(seen.seconds.size(), static_cast<size_t>(10 * kTakes * requests));
  EXPECT_GT(seen.refusals, 0) << "there was no overload";
  EXPECT_EQ(seen.without_hint, 0) << "of " << seen.refusals;
  EXPECT_GT(seen.hints_ms.size(), 3u) << "all who were refused together come back together";
  EXPECT_LE(most_streams, static_cast<uint64_t>(kTakes));
  EXPECT_LE(most_bytes, uint64_t{32} << 20);
  EXPECT_LT(most_resident, resident + kMemory);
  // Ten times the clients of a server that admitted them all would wait ten times as long.
  EXPECT_LT(P99(seen.seconds), 5 * P99(usual.seconds) + 0.5);
  const std::string rejected =
      "haarflow_rejected_total{reason=\"streams\"} " + std::to_string(usual.refusals + seen.refusals) + "\n";
  EXPECT_THAT(Scrape(metrics_), HasSubstr(rejected));
  ExpectNothingHeld("overload");
  std::cout << 10 * kTakes << " clients, " << seen.refusals << " refusals, p99 " << P99(seen.seconds) << " s against "
            << P99(usual.seconds) << " s of " << kTakes << " clients, resident +" << ((most_resident - resident) >> 20)
            << " MiB\n";
  EXPECT_EQ(Terminate(), 0);
}

TEST_F(OverloadTest, TheClientLibraryComesBackWhenAFullServerSaysSo) {
  Start({"--max-streams", "1"});
  grpc::ClientContext context;
  auto holder = sampler_->Sample(&context, Request(kEndless));
  WaitForStream();
  const auto client = Client::Connect(address_, {}).value();
  const auto refused_first = [&](const auto& call) {
    std::atomic<int> refusals{0};
    StreamOptions options;
    options.on_resume = [&](const absl::Status& reason) {
      EXPECT_TRUE(absl::IsResourceExhausted(reason)) << reason;
      if (++refusals == 1) context.TryCancel();
    };
    const absl::Status status = call(options);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_GE(refusals, 1);
    ExpectNothingHeld("refused first");
  };
  refused_first([&](const StreamOptions& options) {
    return client->Sample(Request(100), options, [](const v1::SampleResponse&) { return true; });
  });
  EXPECT_EQ(holder->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // Who does not want to wait is told at once.
  grpc::ClientContext second_context;
  auto second = sampler_->Sample(&second_context, Request(kEndless));
  WaitForStream();
  StreamOptions impatient;
  impatient.resume = false;
  v1::EstimatePartitionFunctionRequest estimate;
  estimate.set_model("small");
  estimate.set_samples(1000);
  EXPECT_TRUE(absl::IsResourceExhausted(client->EstimatePartitionFunction(estimate, impatient, nullptr).status()));
  impatient.resume = true;
  impatient.resume_for = std::chrono::milliseconds(1);
  EXPECT_TRUE(absl::IsResourceExhausted(client->Sample(Request(100), impatient, [](const auto&) { return true; })));
  StreamOptions patient;
  patient.on_resume = [&](const absl::Status&) { second_context.TryCancel(); };
  const auto estimated = client->EstimatePartitionFunction(estimate, patient, nullptr);
  EXPECT_TRUE(estimated.ok()) << estimated.status();
  EXPECT_EQ(Terminate(), 0);
}

// Streams whose clients read the header and nothing more.
class IdleStreams {
 public:
  explicit IdleStreams(const std::string& address) : address_(address) {}
  ~IdleStreams() {
    for (const auto& stream : streams_) stream->context.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  // OK when it was admitted.
  grpc::Status Open(const v1::SampleRequest& request) {
    constexpr size_t kPerConnection = 500;
    if (streams_.size() % kPerConnection == 0) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      // A small window: what is not read stays at the server.
      arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
      arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4096);
      stub_ = v1::SamplerService::NewStub(
          grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
    }
    auto stream = std::make_unique<Stream>();
    stream->reader = stub_->AsyncSample(&stream->context, request, &queue_, nullptr);
    Done();
    stream->reader->Read(&stream->response, nullptr);
    // The header comes when the stream is admitted; a refusal has none.
    if (Done()) {
      streams_.push_back(std::move(stream));
      return grpc::Status::OK;
    }
    grpc::Status status;
    stream->reader->Finish(&status, nullptr);
    Done();
    const auto& trailers = stream->context.GetServerTrailingMetadata();
    EXPECT_NE(trailers.find("grpc-retry-pushback-ms"), trailers.end()) << status.error_message();
    return status;
  }
  size_t size() const { return streams_.size(); }

 private:
  struct Stream {
    grpc::ClientContext context;
    v1::SampleResponse response;
    std::unique_ptr<grpc::ClientAsyncReader<v1::SampleResponse>> reader;
  };
  bool Done() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }
  const std::string address_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<v1::SamplerService::Stub> stub_;
  std::vector<std::unique_ptr<Stream>> streams_;
};

TEST_F(OverloadTest, TwoThousandIdleStreamsStayWithinTheByteBudget) {
  constexpr uint64_t kBudget = uint64_t{192} << 20;
  Start({"--max-streams", "4096", "--max-chunk-bytes", "8192", "--byte-budget", std::to_string(kBudget)});
  EXPECT_TRUE(Read(100).ok());
  const uint64_t resident = Status().resident_bytes();
  {
    IdleStreams idle(address_);
    grpc::Status status;
    while (status.ok() && idle.size() < 4096) status = idle.Open(Request(kEndless));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("bytes of buffers"));
    EXPECT_GE(idle.size(), 2000u);
    v1::GetServerStatusResponse now;
    do {
      now = Status();  // until every stream has filled what it may fill
    } while (Scrape(metrics_).find("haarflow_queue_depth 0\n") == std::string::npos);
    EXPECT_EQ(now.active_streams(), idle.size());
    EXPECT_LE(now.reserved_bytes(), kBudget);
    EXPECT_GT(now.reserved_bytes(), kBudget - (uint64_t{1} << 20));
    EXPECT_LT(now.resident_bytes(), resident + kBudget) << "what streams reserve is what they take";
    std::cout << idle.size() << " idle streams, " << (now.reserved_bytes() >> 20) << " MiB reserved, resident +"
              << ((now.resident_bytes() - resident) >> 20) << " MiB\n";
    EXPECT_THAT(Scrape(metrics_), HasSubstr("haarflow_rejected_total{reason=\"bytes\"} 1\n"));
  }
  ExpectNothingHeld("idle");
  EXPECT_TRUE(Read(100).ok());
  EXPECT_EQ(Terminate(), 0);
}

class FairnessTest : public LifeTest {
 protected:
  FairnessTest() { store_.Publish("wide", 16, 1); }
  void StartForThree() {
    std::string text = "root admin sha256:" + Sha256Of("root").Hex() + "\n";
    for (const char* name : {"slow", "fast", "huge"}) {
      text += std::string(name) + " sampler sha256:" + Sha256Of(name).Hex() + "\n";
    }
    WritePrivate(store_.path("tokens"), text);
    Start({"--token-file", store_.path("tokens")});
  }
  // An endless stream of `name`; `pace` is asked before each read whether to go on.
  void ReadAs(const std::string& name, uint64_t seed, bool fields, const std::function<bool()>& pace) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + name);
    v1::SampleRequest request = Request(kEndless);
    request.set_model("wide");
    request.set_seed(seed);
    request.set_omit_fields(!fields);
    auto stream = sampler_->Sample(&context, request);
    v1::SampleResponse response;
    while (pace() && stream->Read(&response)) {
    }
    context.TryCancel();
    while (stream->Read(&response)) {
    }
    stream->Finish().IgnoreError();
  }
  // By caller.
  std::map<std::string, double> Proposals() {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer root");
    v1::GetServerStatusResponse response;
    EXPECT_TRUE(admin_->GetServerStatus(&context, {}, &response).ok());
    std::map<std::string, double> drawn;
    for (const auto& stream : response.streams()) {
      drawn[stream.principal()] += static_cast<double>(stream.proposals());
    }
    return drawn;
  }
  double Batches() {
    const std::string text = Scrape(metrics_);
    const std::string key = "haarflow_batch_seconds_count{model=\"wide\"} ";
    const size_t at = text.find(key);
    return at == std::string::npos ? 0 : std::stod(text.substr(at + key.size()));
  }
};

TEST_F(FairnessTest, SlowFastAndHugeCallersHaveTheSameRights) {
  StartForThree();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> fast_reads{0}, slow_reads{0};
  std::vector<std::thread> clients;
  clients.emplace_back([&] {
    ReadAs("fast", 1, /*fields=*/false, [&] {
      ++fast_reads;
      fast_reads.notify_all();
      return !stop;
    });
  });
  clients.emplace_back([&] {  // fields too, and one chunk for every two of the fast one
    ReadAs("slow", 2, /*fields=*/true, [&] {
      for (uint64_t seen = fast_reads; !stop && slow_reads * 2 >= seen; seen = fast_reads) fast_reads.wait(seen);
      ++slow_reads;
      return !stop;
    });
  });
  for (uint64_t i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] { ReadAs("huge", 10 + i, /*fields=*/false, [&] { return !stop; }); });
  }
  std::map<std::string, double> before;
  while (before.size() < 3) before = Proposals();
  const double batches = Batches();
  const double enough = Length(40, 400);
  while (Batches() < batches + enough) {
  }
  std::map<std::string, double> now = Proposals();
  for (auto& [name, drawn] : now) drawn -= before[name];
  stop = true;
  for (std::thread& client : clients) client.join();
  EXPECT_NEAR(now["fast"] / now["huge"], 1, 0.1) << "one stream against eight";
  EXPECT_GT(now["slow"], 0);
  EXPECT_LT(now["slow"], 0.9 * now["fast"]) << "he was not slow";
  std::cout << "proposals: slow " << now["slow"] << ", fast " << now["fast"] << ", huge " << now["huge"] << "\n";
  EXPECT_EQ(Terminate(), 0);
}

}  // namespace
}  // namespace haarflow::testing
