// A real server on 127.0.0.1:0 with models of a temporary store, and a client.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "core/kernel/kernels.h"
#include "server/registry/model_manager.h"
#include "server/rpc/server.h"
#include "tests/service/health.h"
#include "tests/service/scrape.h"
#include "tests/service/stream_util.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {

constexpr double kBeta = 0.3;  // the uniform prior alone is a fair model at this coupling

struct Running {
  ModelRegistry registry;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::SamplerService::Stub> stub;

  ~Running() {
    if (server != nullptr) {
      EXPECT_TRUE(server->Shutdown(std::chrono::seconds(5)));
    }
    server.reset();
    scheduler.reset();
  }
};

class ServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    store_ = new TestStore();
    store_->Publish("small", 4, kBeta);
    store_->Publish("other", 8, kBeta);
    store_->Publish("altered", 4, 1.0);
    store_->Alter("altered/1/weights.safetensors");
  }
  static void TearDownTestSuite() {
    delete store_;
    store_ = nullptr;
  }

  static std::unique_ptr<Running> Start(Scheduler::Options scheduling = {}, Server::Options options = {},
                                        const std::string& metrics = "") {
    auto running = std::make_unique<Running>();
    EXPECT_TRUE(LoadStore(store_->Open(), CpuKernels(), 0, &running->registry).ok());
    running->metrics = *Metrics::Create({"test", "cpu:1", CpuKernels().numerics}, metrics);
    running->metrics->SetModels(running->registry.Ready());
    scheduling.observer = running->metrics.get();
    running->scheduler = std::make_unique<Scheduler>(scheduling);
    if (options.listen == Server::Options().listen) options.listen = "127.0.0.1:0";
    options.info.set_device("cpu:1");
    auto server = Server::Start(options, &running->registry, running->scheduler.get(), running->metrics.get());
    EXPECT_TRUE(server.ok()) << server.status();
    running->server = *std::move(server);
    running->channel = grpc::CreateChannel(running->server->address(), grpc::InsecureChannelCredentials());
    running->stub = v1::SamplerService::NewStub(running->channel);
    return running;
  }

  static v1::SampleRequest Request(uint64_t seed, uint64_t count, const std::string& model = "small") {
    v1::SampleRequest request;
    request.set_model(model);
    request.set_seed(seed);
    request.set_count(count);
    return request;
  }
  static grpc::Status Read(v1::SamplerService::Stub* stub, const v1::SampleRequest& request, Collector* collected) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
    auto stream = stub->Sample(&context, request);
    v1::SampleResponse response;
    while (stream->Read(&response)) collected->Add(response);
    return stream->Finish();
  }
  static Collector ReadAll(Running& running, const v1::SampleRequest& request) {
    Collector collected;
    const grpc::Status status = Read(running.stub.get(), request, &collected);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return collected;
  }

  static inline TestStore* store_ = nullptr;
};

}  // namespace haarflow::testing
