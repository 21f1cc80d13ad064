// Every sampler of a target behind one interface, for the comparison in samplers.cc: flows and perfect samplers as
// independence Metropolis chains, HMC, heat bath with over-relaxation, clusters.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/store.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow::bench {

// "1,230(40)", "0.583(12)"; without an error three digits.
std::string WithError(double value, double error);

class ChainSampler {
 public:
  virtual ~ChainSampler() = default;
  // "HMC", "loop flow su2-l16-b2.2".
  virtual std::string Name() const = 0;
  // What was set or measured besides: acceptance, ESS.
  virtual std::string Remark() const = 0;
  virtual int chains() const = 0;
  // Successive fields are independent.
  virtual bool independent() const { return false; }
  // The next piece of every chain: what is timed.
  virtual void Advance() = 0;
  // The fields of the last piece, in the order of their chains' time.
  using Visitor = std::function<void(int chain, const double* field)>;
  virtual void Visit(const Visitor& visit) const = 0;
};

struct SamplerOptions {
  uint64_t seed = 1;
  int thermalisation = 300;  // updates before anything is counted; tuning of HMC comes before
  int tuning_rounds = 10;
};

// All that can draw from `target`: the models of `store` made for it, the perfect sampler, and the Markov chains of its
// theory, thermalised, steps of HMC tuned to an acceptance of 0.8.
absl::StatusOr<std::vector<std::unique_ptr<ChainSampler>>> SamplersOf(const v1::Target& target, const ModelStore& store,
                                                                      const SamplerOptions& options);

}  // namespace haarflow::bench
