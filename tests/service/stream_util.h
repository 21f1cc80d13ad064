// Reads streams into plain vectors, and says what they must be by a plain loop.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/base/digest.h"
#include "core/base/noise.h"
#include "haarflow/v1/sampler.pb.h"
#include "tests/service/fake_sampler.h"

namespace haarflow::testing {

struct Configuration {
  uint64_t index = 0;
  uint64_t multiplicity = 0;
  double log_weight = 0;
  double log_q = 0;
  double action = 0;
  std::string field;  // bytes
  std::vector<double> observables;
  friend bool operator==(const Configuration&, const Configuration&) = default;
};

// What a client made of a stream. Feed it every message.
class Collector {
 public:
  void Add(const v1::SampleResponse& message) {
    if (message.has_header()) {
      header = message.header();
    } else if (message.has_summary()) {
      summary = message.summary();
      summarised = true;
    } else {
      AddChunk(message.chunk());
    }
  }
  // Drops what a stream had begun and not completed, as a client does before it resumes.
  void DropPartial() { partial_.clear(); }

  v1::SampleHeader header;
  v1::SampleSummary summary;
  bool summarised = false;
  std::string token;
  std::vector<Configuration> configurations;
  size_t largest_payload = 0;
  int chunks = 0;

  // One entry per step.
  std::vector<Configuration> Expanded() const {
    std::vector<Configuration> steps;
    for (Configuration c : configurations) {
      const uint64_t n = c.multiplicity;
      c.multiplicity = 1;
      steps.insert(steps.end(), n, c);
    }
    return steps;
  }

 private:
  void AddChunk(const v1::SampleChunk& chunk) {
    ++chunks;
    largest_payload = std::max(largest_payload, chunk.payload().size());
    EXPECT_EQ(chunk.crc32c(), Crc32c(chunk.payload().data(), chunk.payload().size()));
    EXPECT_GT(chunk.index_size(), 0);
    token = chunk.resume_token();
    EXPECT_EQ(chunk.payload_offset(), partial_.size());
    partial_ += chunk.payload();
    if (partial_.size() < chunk.payload_total()) {
      EXPECT_EQ(chunk.index_size(), 1) << "only a single configuration is split";
      return;
    }
    EXPECT_EQ(partial_.size(), chunk.payload_total());
    const size_t bytes = partial_.size() / static_cast<size_t>(chunk.index_size());
    for (int i = 0; i < chunk.index_size(); ++i) {
      Configuration c;
      c.index = chunk.index(i);
      if (chunk.multiplicity_size() > 0) c.multiplicity = chunk.multiplicity(i);
      c.log_weight = chunk.log_weight(i);
      c.log_q = chunk.log_q(i);
      c.action = chunk.action(i);
      c.field = partial_.substr(static_cast<size_t>(i) * bytes, bytes);
      for (const auto& column : chunk.observables()) c.observables.push_back(column.value(i));
      configurations.push_back(std::move(c));
    }
    partial_.clear();
  }
  std::string partial_;
};

inline Configuration FakeConfiguration(const FakeSampler& sampler, uint64_t seed, uint64_t index) {
  Configuration c;
  c.index = index;
  c.log_weight = sampler.LogWeight(seed, index);
  c.action = FakeSampler::Action(sampler.target());
  c.log_q = -c.log_weight - c.action;
  c.log_weight = -c.action - c.log_q;  // with the rounding of the real thing
  for (int64_t l = 0; l < sampler.field_size(); ++l) {
    const double link = sampler.Link(seed, index, l);
    c.field.append(reinterpret_cast<const char*>(&link), sizeof link);
  }
  return c;
}

// The expanded Metropolis chain, by a plain loop.
inline std::vector<Configuration> PlainChain(const FakeSampler& sampler, uint64_t seed, uint64_t first,
                                             uint64_t burn_in, uint64_t count) {
  std::vector<Configuration> steps;
  bool open = false;
  Configuration state;
  for (uint64_t i = first; steps.size() < burn_in + count; ++i) {
    const Configuration proposal = FakeConfiguration(sampler, seed, i);
    if (std::isfinite(proposal.log_weight)) {
      const double log_u = std::log1p(-UniformNoise(seed, NoisePurpose::kAccept, i, 0));
      if (!open || log_u <= proposal.log_weight - state.log_weight) state = proposal;
      open = true;
    }
    if (!open) continue;
    state.multiplicity = 1;
    steps.push_back(state);
  }
  steps.erase(steps.begin(), steps.begin() + static_cast<int64_t>(burn_in));
  return steps;
}

}  // namespace haarflow::testing
