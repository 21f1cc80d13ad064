// What the service costs: the same chain drawn by the model alone, through the engine within the process, and through a
// socket by the client library, fields and observables included. One device thread; the client checks every chunk.
// Counter: configurations (chain steps) per second of wall clock.
//
// streamed-over-in-process/MODEL does both in turn, a second each, so that whatever else the machine does strikes both
// alike: the medians of their rates, and of the ratio of each pair.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "client/client.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "server/registry/model_manager.h"
#include "server/rpc/server.h"
#include "server/sampling/in_process.h"
#include "server/sampling/request.h"

namespace haarflow {
namespace {

struct BenchModel {
  const char* name;
  uint64_t steps;  // of one chain
  std::vector<std::string> observables;
};
const std::vector<BenchModel>& Models() {
  static const auto* models = new std::vector<BenchModel>{
      {"u1-l8-b2", 20000, {"plaquette", "charge_squared"}},
      {"u1-l16-b2", 10000, {"plaquette", "charge_squared"}},
      {"su3-l16-b5", 200, {"plaquette", "wilson_loop_2x2"}},
      {"phi4-l16", 2000, {"phi_squared", "magnetisation_abs"}},
      {"u1-l16-perfect", 20000, {"plaquette", "charge_squared"}},
  };
  return *models;
}

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

v1::SampleRequest Request(const BenchModel& model, uint64_t seed, uint64_t steps) {
  v1::SampleRequest request;
  request.set_model(model.name);
  request.set_count(steps);
  request.set_seed(seed);
  for (const std::string& name : model.observables) request.add_observables(name);
  return request;
}

void Report(benchmark::State& state, const BenchModel& model) {
  state.counters["configurations"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(model.steps), benchmark::Counter::kIsRate);
}

void ModelAlone(benchmark::State& state, const BenchModel& model) {
  const auto served = TheService().registry.Current(model.name);
  constexpr uint64_t kBatch = 2000;
  std::vector<uint64_t> seed(kBatch, 1), index(kBatch);
  Proposals proposals;
  for (auto _ : state) {
    for (uint64_t first = 0; first < model.steps; first += kBatch) {
      const uint64_t n = std::min(kBatch, model.steps - first);
      for (uint64_t i = 0; i < n; ++i) index[i] = first + i;
      if (!served->sampler
               ->Draw(served->target(), absl::MakeSpan(seed.data(), n), absl::MakeSpan(index.data(), n), &proposals)
               .ok()) {
        state.SkipWithError("draw failed");
      }
    }
  }
  Report(state, model);
}

absl::Status RunInProcess(const v1::SampleRequest& request) {
  auto task = MakeSampleTask(TheService().registry, request, {});
  if (!task.ok()) return task.status();
  BlockingReader<v1::SampleResponse> reader(*task);
  if (absl::Status status = TheService().scheduler->Submit(*std::move(task)); !status.ok()) return status;
  while (auto message = reader.Read()) benchmark::DoNotOptimize(message.get());
  return reader.status();
}

absl::Status RunStreamed(const v1::SampleRequest& request) {
  return TheService().client->Sample(request, {}, [](const v1::SampleResponse&) { return true; });
}

using Run = absl::Status (*)(const v1::SampleRequest&);

void Through(benchmark::State& state, const BenchModel& model, Run run) {
  uint64_t seed = 1;
  for (auto _ : state) {
    const absl::Status status = run(Request(model, seed++, model.steps));
    if (!status.ok()) state.SkipWithError(std::string(status.message()).c_str());
  }
  Report(state, model);
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void Pairs(benchmark::State& state, const BenchModel& model) {
  // Configurations per second.
  const auto rate = [&](Run run, uint64_t seed, uint64_t steps) {
    const auto start = std::chrono::steady_clock::now();
    const absl::Status status = run(Request(model, seed, steps));
    if (!status.ok()) state.SkipWithError(std::string(status.message()).c_str());
    return static_cast<double>(steps) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  rate(&RunInProcess, 1, model.steps);
  const auto steps = std::max<uint64_t>(100, static_cast<uint64_t>(rate(&RunInProcess, 1, model.steps)));
  std::vector<double> in_process, streamed, ratio;
  uint64_t seed = 2;
  for (auto _ : state) {
    // The first of a pair is the other one each time.
    const bool first = seed % 2 == 0;
    const double one = rate(first ? &RunInProcess : &RunStreamed, seed, steps);
    const double other = rate(first ? &RunStreamed : &RunInProcess, seed, steps);
    in_process.push_back(first ? one : other);
    streamed.push_back(first ? other : one);
    ratio.push_back(streamed.back() / in_process.back());
    ++seed;
  }
  state.counters["in-process"] = Median(in_process);
  state.counters["streamed"] = Median(streamed);
  state.counters["ratio"] = Median(ratio);
  state.counters["ratio_low"] = *std::min_element(ratio.begin(), ratio.end());
  state.counters["ratio_high"] = *std::max_element(ratio.begin(), ratio.end());
}

int Register() {
  for (const BenchModel& model : Models()) {
    const auto name = [&](const char* way) { return std::string(way) + "/" + model.name; };
    const auto timed = [](benchmark::internal::Benchmark* bench) {
      bench->UseRealTime()->Unit(benchmark::kMillisecond);
    };
    timed(benchmark::RegisterBenchmark(name("model-alone").c_str(), ModelAlone, model));
    timed(benchmark::RegisterBenchmark(name("in-process").c_str(), Through, model, &RunInProcess));
    timed(benchmark::RegisterBenchmark(name("streamed").c_str(), Through, model, &RunStreamed));
    benchmark::RegisterBenchmark(name("streamed-over-in-process").c_str(), Pairs, model)
        ->Iterations(9)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  return 0;
}
const int registered = Register();

}  // namespace
}  // namespace haarflow
