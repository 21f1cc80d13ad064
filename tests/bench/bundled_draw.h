// Draws of bundled models, for benchmarks: batches of 16, one thread.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/store.h"

namespace haarflow::bench {

inline StoredModel LoadBundled(const std::string& name) {
  return ModelStore::Open(HAARFLOW_MODELS)->LoadChampion(name).value();
}

// Counters: `configurations` and `effective` (x the card's ESS) per second. Returns how many were drawn.
inline double DrawBundled(benchmark::State& state, const StoredModel& stored, const Model& model) {
  constexpr int kBatch = 16;
  std::vector<uint64_t> seed(kBatch, 1), index(kBatch);
  Proposals proposals;
  uint64_t next = 0;
  for (auto _ : state) {
    for (uint64_t& i : index) i = next++;
    if (!model.Draw(model.target(), seed, index, &proposals).ok()) state.SkipWithError("draw failed");
  }
  const auto n = static_cast<double>(next);
  state.counters["configurations"] = benchmark::Counter(n, benchmark::Counter::kIsRate);
  state.counters["effective"] =
      benchmark::Counter(n * stored.manifest.card.quality().ess(), benchmark::Counter::kIsRate);
  return n;
}

}  // namespace haarflow::bench
