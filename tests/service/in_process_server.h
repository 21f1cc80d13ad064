// A real server on a socket of its own with a registry that the test fills, and a client of it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "client/client.h"
#include "core/kernel/kernels.h"
#include "server/rpc/server.h"

namespace haarflow::testing {

struct InProcessServer {
  ModelRegistry registry;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<Server> server;
  std::unique_ptr<Client> client;

  InProcessServer() = default;
  ~InProcessServer() {
    client.reset();
    if (server != nullptr) {
      EXPECT_TRUE(server->Shutdown(std::chrono::seconds(5)));
    }
    server.reset();
    scheduler.reset();
  }

  // After the registry has its models.
  void Start() {
    metrics = Metrics::Create({"test", "cpu:1", CpuKernels().numerics}, "").value();
    Scheduler::Options scheduling;
    scheduling.observer = metrics.get();
    scheduler = std::make_unique<Scheduler>(scheduling);
    Server::Options options;
    options.listen = "127.0.0.1:0";
    server = Server::Start(options, &registry, scheduler.get(), metrics.get()).value();
    client = Client::Connect(server->address(), {}).value();
  }

  // A model of a store, drawn from by another sampler under another name.
  void Add(const StoredModel& stored, const std::string& name, std::shared_ptr<const Sampler> sampler) {
    auto served = std::make_shared<ServedModel>();
    served->manifest = stored.manifest;
    served->manifest.model = name;
    served->manifest.digest = Sha256Of(name);
    served->spec = stored.spec;
    served->sampler = std::move(sampler);
    registry.Add(std::move(served));
  }
};

}  // namespace haarflow::testing
