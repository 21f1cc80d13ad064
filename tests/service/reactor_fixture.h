// The server's reactors on a transport without gRPC (tests/service/fake_grpc), with the real engine behind them.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "server/rpc/source_reactor.h"
#include "server/rpc/stream_reactor.h"
#include "server/sampling/request.h"
#include "tests/service/stream_util.h"

namespace haarflow::testing {

// A client of one stream. Keep it until it has ended.
template <class Response>
class ReactorClient {
 public:
  using Stream = typename grpc::ServerWriteReactor<Response>::Stream;

  // Called with every message, on the transport's threads; false: the connection breaks there.
  explicit ReactorClient(std::function<bool(const Response&)> on_message = nullptr)
      : on_message_(std::move(on_message)) {}
  // `handler(context)` -> the reactor.
  template <class Handler>
  void Start(grpc::fake::Transport* transport, const Handler& handler) {
    grpc::ServerWriteReactor<Response>* reactor = handler(&context_);
    stream_ = reactor->Accept(
        transport, {[this](const Response& message) { return on_message_ == nullptr || on_message_(message); },
                    [this](const grpc::Status& status) { end_.set_value(status); }});
  }
  void Cancel() { stream_->Cancel(); }
  // How it ended.
  grpc::Status Wait() {
    std::future<grpc::Status> end = end_.get_future();
    if (end.wait_for(std::chrono::minutes(2)) != std::future_status::ready) {
      ADD_FAILURE() << "the stream does not end";
      std::abort();  // its reactor would outlive the test
    }
    return end.get();
  }

 private:
  const std::function<bool(const Response&)> on_message_;
  grpc::CallbackServerContext context_;
  std::shared_ptr<Stream> stream_;
  std::promise<grpc::Status> end_;
};

class ReactorTest : public ::testing::Test {
 protected:
  ReactorTest() { registry_.Add(Serve("fake", sampler_)); }
  // All reactors and tasks are gone, and everything that was held for them with them.
  ~ReactorTest() override {
    EXPECT_TRUE(state_->WaitForStreams(std::chrono::minutes(1)));
    if (scheduler_ == nullptr) return;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (scheduler_->active_streams() > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(scheduler_->active_streams(), 0);
    EXPECT_EQ(scheduler_->reserved_bytes(), 0);
  }

  void StartScheduler(Scheduler::Options options) {
    options.batch.maximum = 64;
    options.observer = metrics_.get();
    scheduler_ = std::make_unique<Scheduler>(std::move(options));
  }
  v1::SampleRequest Request(uint64_t seed, uint64_t count, const std::string& model = "fake") const {
    v1::SampleRequest request;
    request.set_model(model);
    request.set_seed(seed);
    request.set_count(count);
    return request;
  }
  // What SamplerServiceImpl::Sample does, for a caller of this name.
  void Sample(ReactorClient<v1::SampleResponse>* client, const v1::SampleRequest& request,
              const std::string& principal = "one", ModelManager* manager = nullptr) {
    client->Start(&transport_, [&](grpc::CallbackServerContext* context) {
      using Task = StreamTask<v1::SampleResponse>;
      auto make = [this, request, principal]() -> absl::StatusOr<std::shared_ptr<Task>> {
        auto task = MakeSampleTask(registry_, request, options_);
        if (!task.ok()) return task.status();
        (*task)->SetOrigin({false, principal}, "Sample");
        return std::shared_ptr<Task>(*std::move(task));
      };
      return new StreamReactor<v1::SampleResponse>(RpcCall(state_.get(), "Sample", context), std::move(make),
                                                   scheduler_.get(), manager);
    });
  }

  std::shared_ptr<FakeSampler> sampler_ =
      std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(1.0));
  ModelRegistry registry_;
  RequestOptions options_{.max_chunk_bytes = 4096, .burn_in = 5};
  std::unique_ptr<Metrics> metrics_ = Metrics::Create({"test", "cpu:2", "fake-1"}, "").value();
  std::unique_ptr<RpcState> state_ = std::make_unique<RpcState>(metrics_.get(), nullptr);
  std::unique_ptr<Scheduler> scheduler_;
  grpc::fake::Transport transport_{4};
};

}  // namespace haarflow::testing
