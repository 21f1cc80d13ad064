// A sampler without physics: fields and log-weights are scripted functions of (seed, index), so that a plain loop can
// say what a stream must contain. Counts what it is asked for, and can be made to block, fail or throw.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/action/target.h"
#include "core/base/digest.h"
#include "core/base/mutex.h"
#include "core/base/noise.h"
#include "core/model/sampler.h"
#include "server/registry/registry.h"

namespace haarflow::testing {

inline v1::Target MakeTarget(const std::vector<uint32_t>& shape, double beta) {
  v1::Target target;
  for (const uint32_t extent : shape) target.mutable_lattice()->add_shape(extent);
  target.mutable_u1_wilson()->set_beta(beta);
  return target;
}

inline v1::Target MakeScalarTarget(const std::vector<uint32_t>& shape, double m2, double lambda, int components = 1) {
  v1::Target target;
  for (const uint32_t extent : shape) target.mutable_lattice()->add_shape(extent);
  target.mutable_phi4()->set_components(static_cast<uint32_t>(components));
  target.mutable_phi4()->mutable_mass()->set_m2(m2);
  target.mutable_phi4()->mutable_mass()->set_lambda(lambda);
  return target;
}

class FakeSampler : public Sampler {
 public:
  using Script = std::function<double(uint64_t seed, uint64_t index)>;
  FakeSampler(const std::vector<uint32_t>& shape, Script log_weight)
      : FakeSampler(MakeTarget(shape, 1.0), std::move(log_weight)) {}
  // `offset` is added to every number of a field: of a scalar, a mode that the model does not leave.
  FakeSampler(const v1::Target& target, Script log_weight, double offset = 0)
      : target_(target), lattice_(*LatticeOf(target_)), log_weight_(std::move(log_weight)), offset_(offset) {}

  // Normal log-weights of width `sigma`: acceptance falls with it.
  static Script Normal(double sigma) {
    return
        [sigma](uint64_t seed, uint64_t index) { return sigma * NormalNoise(seed, NoisePurpose::kTraining, index, 0); };
  }

  const Lattice& lattice() const override { return lattice_; }
  const v1::Target& target() const override { return target_; }
  std::string numerics_class() const override { return "fake-1"; }

  double LogWeight(uint64_t seed, uint64_t index) const { return log_weight_(seed, index); }
  // Number `at` of a field.
  double Link(uint64_t seed, uint64_t index, int64_t at) const {
    return (UniformNoise(seed, NoisePurpose::kPrior, index, static_cast<uint32_t>(at)) - 0.5) * 6 + offset_;
  }
  // As little physics as it gets: the first parameter of the theory.
  static double Action(const v1::Target& target) { return TheoryParameters(target)[0].second; }

  absl::Status Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                    Proposals* out) const override {
    std::function<absl::Status()> before;
    {
      MutexLock lock(&mutex_);
      before = before_draw_;
    }
    if (before) {
      if (absl::Status status = before(); !status.ok()) return status;
    }
    const auto n = static_cast<int64_t>(seed.size());
    const int64_t size = FieldSize(target_);
    out->Resize(n, size);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t l = 0; l < size; ++l) out->field[i * size + l] = Link(seed[i], index[i], l);
      const double log_weight = LogWeight(seed[i], index[i]);
      out->action[i] = Action(target);
      out->log_q[i] = -log_weight - out->action[i];
    }
    MutexLock lock(&mutex_);
    largest_batch_ = std::max(largest_batch_, n);
    for (int64_t i = 0; i < n; ++i) ++drawn_[seed[i]];
    return absl::OkStatus();
  }

  // Called at the start of every draw, on whatever thread draws.
  void BeforeDraw(std::function<absl::Status()> hook) {
    MutexLock lock(&mutex_);
    before_draw_ = std::move(hook);
  }
  int64_t drawn(uint64_t seed) const {
    MutexLock lock(&mutex_);
    const auto it = drawn_.find(seed);
    return it == drawn_.end() ? 0 : it->second;
  }
  int64_t largest_batch() const {
    MutexLock lock(&mutex_);
    return largest_batch_;
  }

 private:
  const v1::Target target_;
  const Lattice lattice_;
  const Script log_weight_;
  const double offset_;
  mutable Mutex mutex_;
  std::function<absl::Status()> before_draw_ ABSL_GUARDED_BY(mutex_);
  mutable std::map<uint64_t, int64_t> drawn_ ABSL_GUARDED_BY(mutex_);
  mutable int64_t largest_batch_ ABSL_GUARDED_BY(mutex_) = 0;
};

inline std::shared_ptr<const ServedModel> Serve(const std::string& name, std::shared_ptr<const Sampler> sampler,
                                                const std::string& weights = "") {
  auto model = std::make_shared<ServedModel>();
  model->manifest.model = name;
  model->manifest.version = 1;
  model->manifest.digest = Sha256Of(name + weights);
  model->manifest.target_digest = TargetDigest(sampler->target());
  model->sampler = std::move(sampler);
  return model;
}

// A one-way gate with a count of those who came.
class Gate {
 public:
  void Pass() {
    MutexLock lock(&mutex_);
    ++arrived_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(&mutex_);
  }
  void Open() {
    MutexLock lock(&mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  // False after a minute.
  bool WaitForArrival() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    MutexLock lock(&mutex_);
    while (arrived_ == 0 && std::chrono::steady_clock::now() < deadline) {
      changed_.WaitFor(&mutex_, std::chrono::seconds(1));
    }
    return arrived_ > 0;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  int arrived_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace haarflow::testing
