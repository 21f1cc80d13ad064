// The list of phases of a run of continuous layers.
#pragma once

#include <cmath>
#include <vector>

#include "core/kernel/cuda/continuous_tables.h"

namespace haarflow::HF_ISA {

struct ScheduleOptions {
  bool backwards = false;
  bool from_prior = false, to_prior = false;  // else rows
};

class Schedule {
 public:
  // `layers` in the flow's order.
  Schedule(const CasTables& cas, const PriorTable& prior, std::vector<const ContinuousTable*> layers,
           const ScheduleOptions& options)
      : cas_(cas), layers_(std::move(layers)), options_(options) {
    const bool fourier = prior.fourier != 0, bath = fourier && prior.heat_bath != 0;
    // With independent modes state and noise are the same up to factors: no transform.
    bool modes = options.from_prior && fourier && !bath;
    const bool stays = options.to_prior && fourier && !bath;
    Add(PhaseRecord::kBegin, modes ? PhaseRecord::kAtModes : 0);
    if (!modes && (!layers_.empty() || (options.from_prior && bath) || (options.to_prior && fourier))) {
      for (int32_t p = 0; p < cas.passes; ++p) AddPass(p, false);
      modes = true;
    }
    if (options.from_prior && bath) Add(PhaseRecord::kScale, 0);
    if (!layers_.empty()) Integrate();
    if (options.to_prior && bath) Add(PhaseRecord::kDivide, 0);
    const double sites = cas.sites;
    double factor = stays ? 1 / std::sqrt(sites) : 1;
    if (modes && !stays) {
      for (int32_t p = cas.passes - 1; p >= 0; --p) AddPass(p, true);
      modes = false;
      factor = 1 / sites;
    }
    Add(PhaseRecord::kEnd, modes ? PhaseRecord::kAtModes : 0).a = factor;
  }

  const std::vector<PhaseRecord>& phases() const { return phases_; }

 private:
  PhaseRecord& Add(PhaseRecord::Op op, int32_t flags) {
    PhaseRecord r = {};
    r.op = op;
    r.flags = flags;
    r.from = r.to = buffer_;
    phases_.push_back(r);
    return phases_.back();
  }

  void AddPass(int32_t pass, bool transposed) {
    PhaseRecord& r = Add(PhaseRecord::kPass, transposed ? PhaseRecord::kTransposed : 0);
    r.pass = pass;
    if (cas_.pass[pass].radix == 0) r.to = buffer_ = 1 - buffer_;
  }

  const ContinuousTable& LayerAt(size_t i) const { return *layers_[options_.backwards ? layers_.size() - 1 - i : i]; }

  // Index of a stage's time in the tables; stages count from where the integration starts.
  int64_t Time(const ContinuousTable& flow, int32_t stage) const {
    const int32_t time = 2 * (stage / 4) + (stage % 4 + 1) / 2;
    return options_.backwards ? 2 * flow.steps - time : time;
  }
  static const double* Kernel(const ContinuousTable& flow, int64_t time, int32_t feature) {
    return flow.kernel + (time * (1 + flow.sines) + feature) * flow.columns;
  }

  void Integrate() {
    PhaseRecord& start = Add(PhaseRecord::kMode, PhaseRecord::kFromWork | PhaseRecord::kRaw);
    Continue(LayerAt(0), 0, &start);
    for (size_t l = 0; l < layers_.size(); ++l) {
      const ContinuousTable& flow = LayerAt(l);
      for (int32_t stage = 0; stage < 4 * flow.steps; ++stage) {
        for (int32_t sine = 0; sine < flow.sines; ++sine) Sine(flow, stage, sine);
        const int32_t flags = (stage % 4 == 3 ? PhaseRecord::kFull : 0) | (flow.sines > 0 ? PhaseRecord::kFromWork : 0);
        PhaseRecord& r = Add(PhaseRecord::kMode, flags);
        if (flow.sines > 0) SetKernel(flow, stage, flow.sines - 1, &r);
        const double h = (options_.backwards ? -1.0 : 1.0) / flow.steps;
        r.a = h * StageWeight(stage);
        r.b = h * (stage % 4 == 2 ? 1.0 : 0.5);
        if (stage + 1 < 4 * flow.steps) {
          Continue(flow, stage + 1, &r);
        } else if (l + 1 < layers_.size()) {
          Continue(LayerAt(l + 1), 0, &r);
        } else {
          r.flags |= PhaseRecord::kToWork | PhaseRecord::kRawOut;
        }
      }
    }
  }

  static double StageWeight(int32_t stage) { return stage % 4 == 1 || stage % 4 == 2 ? 1.0 / 3 : 1.0 / 6; }

  // What follows a phase at a thread's own frequencies: stage `stage` of `flow`.
  void Continue(const ContinuousTable& flow, int32_t stage, PhaseRecord* r) const {
    r->next = flow.linear != 0 ? Kernel(flow, Time(flow, stage), 0) : nullptr;
    r->next_orbit = flow.orbit;
    if (flow.sines > 0) r->flags |= PhaseRecord::kToWork;
  }

  void SetKernel(const ContinuousTable& flow, int32_t stage, int32_t sine, PhaseRecord* r) const {
    r->kernel = Kernel(flow, Time(flow, stage), 1 + sine);
    r->orbit = flow.orbit;
  }

  // The middle passes back (for the first sine), the sine, the middle passes.
  void Sine(const ContinuousTable& flow, int32_t stage, int32_t sine) {
    for (int32_t p = cas_.passes - 2; sine == 0 && p > 0; --p) AddPass(p, true);
    PhaseRecord& r = Add(PhaseRecord::kSine, 0);
    if (sine == 0) {
      r.flags = PhaseRecord::kFromWork | (flow.sines > 1 ? PhaseRecord::kKeep : 0);
    } else {
      // While others still read what the sine before left: each one uses the other buffer.
      r.flags = PhaseRecord::kAdd;
      SetKernel(flow, stage, sine - 1, &r);
      r.to = buffer_ = 1 - buffer_;
    }
    r.a = flow.frequency[sine];
    r.b = StageWeight(stage) * flow.divergence[Time(flow, stage) * flow.sines + sine];
    for (int32_t p = 1; p < cas_.passes - 1; ++p) AddPass(p, false);
  }

  const CasTables& cas_;
  const std::vector<const ContinuousTable*> layers_;
  const ScheduleOptions options_;
  int32_t buffer_ = 0;
  std::vector<PhaseRecord> phases_;
};

}  // namespace haarflow::HF_ISA
