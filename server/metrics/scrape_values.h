// What is read from the running server when it is scraped, instead of being counted.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace haarflow {

struct ScrapeValues {
  struct Memory {
    int64_t used = 0;
    int64_t budget = 0;  // 0: no bound
  };
  struct GpuMemory {
    std::string device;
    uint64_t free = 0, used = 0;  // other processes' included
  };
  struct Jobs {
    int64_t count = 0;
    std::optional<double> unchanged_seconds;  // of the one that was stored longest ago; not of jobs that have ended
  };
  struct ModelAge {
    std::string model;
    uint64_t version = 0;
    double seconds = 0;
  };
  bool draining = false;
  int64_t max_streams = 0;
  std::map<std::string, Memory> memory;             // by kind
  std::vector<GpuMemory> gpu_memory;                // of what has memory of its own, and says how much
  std::map<std::string, int64_t> models;            // by state
  std::vector<ModelAge> ages;                       // of what is served
  std::optional<std::map<std::string, Jobs>> jobs;  // by state; nothing without a job table, or while it cannot be read
  int64_t store_free_bytes = -1;                    // -1: not known
};

}  // namespace haarflow
