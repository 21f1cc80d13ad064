// A load generator for a running server.
//
//   load_bench --server 127.0.0.1:50151 --model u1-l16-b2 --count 500 --clients 1 4 16 --seconds 5
//   load_bench --server ... --model ... --count 500 --rate 20 40 80          # open loop: arrivals do not wait for
//   answers
//
// Closed loop: every client asks again when it has its answer. Open loop: requests arrive at random times (a Poisson
// process), whether the server keeps up or not, which shows what a queue does. A line for each number of clients or
// rate: requests and configurations (chain steps) per second, the time from a request to its first configuration, the
// time that streams waited for their first batch (from the server's metrics when --metrics names them), refusals.
// Clients read fields and check every message, as the client library does; a full server's hints are honoured.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "tests/service/scrape.h"

namespace haarflow {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

struct Settings {
  std::string server = "127.0.0.1:50151";
  std::string metrics;
  std::string model;
  uint64_t count = 500;
  bool omit_fields = false;
  double seconds = 5;
  std::vector<int> clients = {1, 2, 4, 8, 16};
  std::vector<double> rates;
};

// What all clients of a run measured.
class Measurements {
 public:
  void Add(double first_configuration, uint64_t steps) {
    std::lock_guard<std::mutex> lock(mutex_);
    first_.push_back(first_configuration);
    steps_ += steps;
  }
  void Refused() { ++refused_; }
  void Failed(const absl::Status& status) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (++failed_ == 1) std::fprintf(stderr, "load_bench: %s\n", std::string(status.message()).c_str());
  }
  // `label`: the number of clients, or the rate. `wait`: what the metrics say of queues.
  void Print(const std::string& label, double seconds, const std::string& wait) {
    std::sort(first_.begin(), first_.end());
    std::printf("%8s %12.1f %16.0f %10.1f %10.1f %14s %9d %7d\n", label.c_str(),
                static_cast<double>(first_.size()) / seconds, static_cast<double>(steps_) / seconds,
                Quantile(0.5) * 1e3, Quantile(0.99) * 1e3, wait.c_str(), refused_.load(), failed_);
    std::fflush(stdout);
  }

 private:
  double Quantile(double q) const {
    if (first_.empty()) return 0;
    return first_[std::min(first_.size() - 1, static_cast<size_t>(q * static_cast<double>(first_.size())))];
  }
  std::mutex mutex_;
  std::vector<double> first_;  // seconds, of requests that ended well
  uint64_t steps_ = 0;
  int failed_ = 0;
  std::atomic<int> refused_{0};
};

void Ask(const Client& client, const Settings& settings, uint64_t seed, Measurements* measured) {
  v1::SampleRequest request;
  request.set_model(settings.model);
  request.set_count(settings.count);
  request.set_seed(seed);
  request.set_omit_fields(settings.omit_fields);
  StreamOptions options;
  options.on_resume = [&](const absl::Status&) { measured->Refused(); };
  const auto start = Clock::now();
  double first = 0;
  const absl::Status status = client.Sample(request, options, [&](const v1::SampleResponse& message) {
    if (message.has_chunk() && first == 0) first = Seconds(Clock::now() - start);
    return true;
  });
  status.ok() ? measured->Add(first, settings.count) : measured->Failed(status);
}

// The mean of the queue's waits and how many there were, since the server's start.
struct QueueWait {
  double sum = 0;
  double count = 0;
};
QueueWait ReadQueueWait(const Settings& settings) {
  QueueWait wait;
  if (settings.metrics.empty()) return wait;
  std::istringstream text(testing::Scrape(settings.metrics));
  for (std::string line; std::getline(text, line);) {
    if (line.rfind("haarflow_queue_wait_seconds_sum ", 0) == 0) wait.sum = std::stod(line.substr(32));
    if (line.rfind("haarflow_queue_wait_seconds_count ", 0) == 0) wait.count = std::stod(line.substr(34));
  }
  return wait;
}
std::string MeanWait(const QueueWait& before, const QueueWait& after) {
  if (after.count <= before.count) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", (after.sum - before.sum) / (after.count - before.count) * 1e3);
  return text;
}

void Closed(const Settings& settings, const Client& client, int clients) {
  static std::atomic<uint64_t> seed{1};
  Measurements measured;
  const QueueWait before = ReadQueueWait(settings);
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < clients; ++i) {
    threads.emplace_back([&] {
      while (Seconds(Clock::now() - start) < settings.seconds) Ask(client, settings, seed++, &measured);
    });
  }
  for (std::thread& thread : threads) thread.join();
  measured.Print(std::to_string(clients), Seconds(Clock::now() - start), MeanWait(before, ReadQueueWait(settings)));
}

void Open(const Settings& settings, const Client& client, double rate) {
  static std::atomic<uint64_t> seed{uint64_t{1} << 32};
  Measurements measured;
  std::mt19937_64 random(1);
  std::exponential_distribution<double> gap(rate);
  std::mutex mutex;
  std::condition_variable never;
  const QueueWait before = ReadQueueWait(settings);
  const auto start = Clock::now();
  std::vector<std::thread> requests;
  for (double at = gap(random); at < settings.seconds; at += gap(random)) {
    std::unique_lock<std::mutex> lock(mutex);
    never.wait_until(lock, start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(at)),
                     [] { return false; });
    requests.emplace_back([&] { Ask(client, settings, seed++, &measured); });
  }
  for (std::thread& request : requests) request.join();
  char label[32];
  std::snprintf(label, sizeof label, "%g/s", rate);
  measured.Print(label, Seconds(Clock::now() - start), MeanWait(before, ReadQueueWait(settings)));
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Loads a haarflow server and says how it does.", "load_bench");
  app.add_option("--server", settings.server, "Its address")->capture_default_str();
  app.add_option("--metrics", settings.metrics, "Address of its metrics, for the queue's wait");
  app.add_option("--model", settings.model, "What to sample")->required();
  app.add_option("--count", settings.count, "Chain steps of a request")->capture_default_str();
  app.add_flag("--omit-fields", settings.omit_fields, "Ask for no fields");
  app.add_option("--seconds", settings.seconds, "Of each run")->capture_default_str();
  app.add_option("--clients", settings.clients, "Closed loop: clients at once")->capture_default_str();
  app.add_option("--rate", settings.rates, "Open loop instead: requests per second");
  CLI11_PARSE(app, argc, argv);
  const auto client = Client::Connect(settings.server, {});
  if (!client.ok()) {
    std::fprintf(stderr, "load_bench: %s\n", std::string(client.status().message()).c_str());
    return 1;
  }
  std::printf("%s, %llu steps a request%s, %g s each\n", settings.model.c_str(),
              static_cast<unsigned long long>(settings.count), settings.omit_fields ? " without fields" : "",
              settings.seconds);
  std::printf("%8s %12s %16s %10s %10s %14s %9s %7s\n", settings.rates.empty() ? "clients" : "rate", "requests/s",
              "configurations/s", "p50 ms", "p99 ms", "queue wait ms", "refused", "failed");
  if (settings.rates.empty()) {
    for (const int clients : settings.clients) Closed(settings, **client, clients);
  }
  for (const double rate : settings.rates) Open(settings, **client, rate);
  return 0;
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) { return haarflow::Main(argc, argv); }
