// Prometheus metrics, prefix haarflow_, on a port of their own. server/metrics/README.md lists them,
// metric_table.h is the list.
//
// Lifetime: must outlive the scheduler, its tasks and the gRPC server. Thread-safety: thread-safe. Ownership: owns the
// HTTP endpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/metrics/model_metrics.h"
#include "server/metrics/scrape_values.h"
#include "server/sampling/observer.h"

namespace haarflow {

class Metrics final : public SamplingObserver {
 public:
  struct BuildInfo {
    std::string version;
    std::string device;
    std::string numerics;
  };
  // `listen` is host:port (port 0 picks one), or empty for no endpoint. UNAVAILABLE when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<Metrics>> Create(const BuildInfo& build, const std::string& listen);
  ~Metrics() override;

  // Where it listens, or empty.
  const std::string& address() const { return address_; }
  // The exposition text.
  std::string Text() const;

  void OnBatch(const ServedModel& model, int64_t proposals, double seconds) override;
  void OnLogWeights(const ServedModel& model, const Digest& target, absl::Span<const double> log_weights) override;
  void OnProgress(const ServedModel& model, const Counts& counts) override;
  void OnQueueWait(double seconds) override;
  void OnQueueDepth(int64_t proposals) override;
  void OnStall(double seconds) override;
  void OnStreams(int change) override;
  void OnOpenCalls(int change);
  void OnRejected(const char* reason) override;

  void OnRequest(const std::string& method, const std::string& code, double seconds);
  void OnFirstConfiguration(double seconds);
  void OnStreamBytes(uint64_t bytes);
  void OnCancelled();
  void SetDeviceHealthy(bool healthy);
  void OnModelSwap(const std::string& outcome, double seconds);
  void OnLeasesExpired(int leases);
  // A job published a version.
  void OnPublished(bool champion);
  // Values that are read at each scrape, on the scraper's thread. Null: none; what the source before used may go once
  // this has returned.
  void SetSource(std::function<ScrapeValues()> source);

  // For views of the running server.
  std::map<std::string, ModelActivity> Activity() const;
  bool device_healthy() const;
  int64_t queue_depth() const;

  // Of this process, from the kernel.
  static uint64_t ResidentBytes();
  // The models served now; series of others are removed.
  void SetModels(const std::vector<std::shared_ptr<const ServedModel>>& models);

 private:
  struct Families;
  Metrics();
  std::unique_ptr<Families> families_;
  std::string address_;
};

}  // namespace haarflow
