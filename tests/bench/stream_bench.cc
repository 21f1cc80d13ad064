// What the service costs: the same chain drawn by the model alone, through the engine within the process, and through a
// socket by the client library, fields included. One device thread; the client checks every chunk. Counter:
// configurations (chain steps) per second of wall clock.
#include <benchmark/benchmark.h>

#include "client/client.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "server/registry/model_manager.h"
#include "server/rpc/server.h"
#include "server/sampling/in_process.h"
#include "server/sampling/request.h"

namespace haarflow {
namespace {

constexpr uint64_t kSteps = 20000;

struct Service {
  ModelRegistry registry;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<Server> server;
  std::unique_ptr<Client> client;

  Service() {
    if (!LoadStore(*ModelStore::Open(HAARFLOW_MODELS), CpuKernels(), 0, &registry).ok()) std::abort();
    metrics = *Metrics::Create({"bench", "cpu:1", CpuKernels().numerics}, "");
    Scheduler::Options scheduling;
    scheduling.observer = metrics.get();
    scheduler = std::make_unique<Scheduler>(scheduling);
    Server::Options options;
    options.listen = "127.0.0.1:0";
    server = *Server::Start(options, &registry, scheduler.get(), metrics.get());
    client = *Client::Connect(server->address(), {});
  }
  ~Service() { server->Shutdown(std::chrono::seconds(5)); }
};

Service& TheService() {
  static Service service;
  return service;
}

v1::SampleRequest Request(const std::string& model, uint64_t seed) {
  v1::SampleRequest request;
  request.set_model(model);
  request.set_count(kSteps);
  request.set_seed(seed);
  return request;
}

void Report(benchmark::State& state) {
  state.counters["configurations"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(kSteps), benchmark::Counter::kIsRate);
}

void ModelAlone(benchmark::State& state, const std::string& name) {
  const auto served = TheService().registry.Current(name);
  constexpr uint64_t kBatch = 2000;
  std::vector<uint64_t> seed(kBatch, 1), index(kBatch);
  Proposals proposals;
  for (auto _ : state) {
    for (uint64_t first = 0; first < kSteps; first += kBatch) {
      for (uint64_t i = 0; i < kBatch; ++i) index[i] = first + i;
      if (!served->sampler->Draw(served->target(), seed, index, &proposals).ok()) state.SkipWithError("draw failed");
    }
  }
  Report(state);
}

void InProcess(benchmark::State& state, const std::string& name) {
  uint64_t seed = 1;
  for (auto _ : state) {
    auto task = *MakeSampleTask(TheService().registry, Request(name, seed++), {});
    BlockingReader<v1::SampleResponse> reader(task);
    if (!TheService().scheduler->Submit(std::move(task)).ok()) state.SkipWithError("refused");
    while (auto message = reader.Read()) benchmark::DoNotOptimize(message.get());
  }
  Report(state);
}

void Streamed(benchmark::State& state, const std::string& name) {
  uint64_t seed = 1;
  for (auto _ : state) {
    const absl::Status status =
        TheService().client->Sample(Request(name, seed++), {}, [](const v1::SampleResponse&) { return true; });
    if (!status.ok()) state.SkipWithError(std::string(status.message()).c_str());
  }
  Report(state);
}

int Register() {
  for (const std::string name : {"u1-l8-b2", "u1-l16-b2"}) {
    benchmark::RegisterBenchmark(("model-alone/" + name).c_str(), ModelAlone, name)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("in-process/" + name).c_str(), InProcess, name)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("streamed/" + name).c_str(), Streamed, name)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  return 0;
}
const int registered = Register();

}  // namespace
}  // namespace haarflow
