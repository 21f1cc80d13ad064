// The launches of one sub-batch of a scalar flow, in order.
#pragma once

#include <type_traits>

#include "core/kernel/cuda/continuous.h"
#include "core/kernel/cuda/network_launches.h"
#include "core/kernel/cuda/scalar_bodies.h"
#include "core/kernel/cuda/scalar_tables.h"

namespace haarflow::isa_cuda {

class ScalarLauncher {
 public:
  ScalarLauncher(const ScalarTables& flow, const ScalarLayout& layout, cudaStream_t stream, const Buffers& b,
                 int64_t batch)
      : flow_(flow),
        layout_(layout),
        stream_(stream),
        b_(b),
        batch_(batch),
        field_(int64_t{flow.sites.components} * flow.sites.sites),
        log_q_(b.results + batch * field_) {}

  // From names and the action's numbers to fields, log q and action.
  int32_t Draw() {
    HF_CUDA(cudaMemsetAsync(log_q_, 0, batch_ * sizeof(double), stream_));
    for (const ScalarPart& part : flow_.parts) HF_TRY(Run<false>(part));
    HF_TRY(NeedRows());
    if (flow_.sites.drawn > 0) {
      const BlockShape shape = RowShape(flow_.sites.drawn);
      HF_TRY(LaunchRows(HeatBathDrawBody{shape, flow_.sites, flow_.conditional, b_.names, b_.results, log_q_}));
    }
    return Action();
  }

  // From fields in `results` and the action's numbers to log q and action.
  int32_t Density() {
    HF_TRY(Action());
    HF_CUDA(cudaMemsetAsync(log_q_, 0, batch_ * sizeof(double), stream_));
    if (flow_.sites.drawn > 0) {
      const BlockShape shape = RowShape(flow_.sites.drawn);
      HF_TRY(LaunchRows(HeatBathTakeBody{shape, flow_.sites, flow_.conditional, b_.results, log_q_}));
    }
    for (auto part = flow_.parts.rbegin(); part != flow_.parts.rend(); ++part) HF_TRY(Run<true>(*part));
    return HF_OK;
  }

 private:
  // Threads for `work` pieces of a configuration.
  BlockShape RowShape(int64_t work) const {
    return {static_cast<int32_t>(std::clamp<int64_t>((work + kWarp - 1) / kWarp * kWarp, kWarp, kThreads)), 1, batch_};
  }
  template <class Body>
  int32_t LaunchRows(const Body& body) const {
    return LaunchBlocks(stream_, body, body.shape.threads * 8, layout_.shared_limit(), INT32_MAX);
  }

  int32_t Action() {
    return LaunchRows(ScalarActionBody{RowShape(flow_.sites.sites), flow_.sites, b_.couplings(batch_), b_.results,
                                       b_.results + batch_ * (field_ + 1)});
  }

  // Couplings work on columns, everything else on rows.
  int32_t NeedRows() {
    if (!in_columns_) return HF_OK;
    in_columns_ = false;
    return Launch(stream_, static_cast<int32_t>(field_), batch_, ToRowsBody{b_.columns, b_.results, field_, batch_});
  }
  int32_t NeedColumns() {
    if (in_columns_) return HF_OK;
    in_columns_ = true;
    return Launch(stream_, static_cast<int32_t>(field_), batch_, FromRowsBody{b_.results, b_.columns, field_, batch_});
  }

  template <bool kInverse>
  int32_t Run(const ScalarPart& part) {
    if (part.coupling >= 0) {
      HF_TRY(NeedColumns());
      const ScalarCouplingTables& l = flow_.couplings[part.coupling];
      return l.network.double_network ? RunCoupling<double, kInverse>(l) : RunCoupling<float, kInverse>(l);
    }
    HF_TRY(NeedRows());
    if (flow_.sites.components == 2) {
      return layout_.slots() == 0 ? RunContinuous<0, 2, kInverse>(part) : RunContinuous<8, 2, kInverse>(part);
    }
    switch (layout_.slots()) {
      case 0:
        return RunContinuous<0, 1, kInverse>(part);
      case 8:
        return RunContinuous<8, 1, kInverse>(part);
      default:
        return RunContinuous<16, 1, kInverse>(part);
    }
  }

  template <int kSlots, int kComponents, bool kInverse>
  int32_t RunContinuous(const ScalarPart& part) {
    ContinuousBody<kSlots, kComponents> body = {};
    body.shape = layout_.Shape(batch_);
    body.cas = flow_.cas;
    body.prior = flow_.prior;
    body.phase = part.phase[kInverse];
    body.phases = part.phases[kInverse];
    body.from_prior = part.with_prior && !kInverse;
    body.to_prior = part.with_prior && kInverse;
    body.names = b_.names;
    body.rows = b_.results;
    body.log_q = log_q_;
    body.log_q_constant = part.log_q_constant;
    body.buffers = layout_.buffers();
    char* scratch = static_cast<char*>(b_.scratch);
    body.work = layout_.work_bytes() > 0 ? reinterpret_cast<double*>(scratch) : nullptr;
    body.states = reinterpret_cast<double*>(scratch + layout_.work_bytes() * layout_.blocks());
    return LaunchBlocks(stream_, body, layout_.shared_bytes(), layout_.shared_limit(), layout_.blocks());
  }

  // Features, network; of odd layers those of the negated features first, as both runs use the same rows.
  template <class T, bool kInverse>
  int32_t RunCoupling(const ScalarCouplingTables& l) {
    void* const parameters = b_.network[(l.network.stages.size() - 1) & 1];
    if (l.odd) HF_TRY(RunNetwork<T>(l, -1.0, b_.network[2]));
    HF_TRY(RunNetwork<T>(l, 1.0, parameters));
    if (l.odd) {
      HF_TRY(Launch(stream_, l.active, batch_,
                    SymmetriseBody<T>{l.map, l.pieces, static_cast<const T*>(b_.network[2]),
                                      static_cast<T*>(parameters), batch_}));
    }
    const auto launch = [&](auto kind) {
      return Launch(
          stream_, l.active, batch_,
          LineCoupleBody<T, kind(), kInverse>{l.active_sites, l.pieces, l.range, static_cast<const T*>(parameters),
                                              b_.columns, b_.sums, batch_});
    };
    switch (static_cast<LineMapKind>(l.map)) {
      case LineMapKind::kAffine:
        HF_TRY(launch(std::integral_constant<LineMapKind, LineMapKind::kAffine>()));
        break;
      case LineMapKind::kAffineTanh:
        HF_TRY(launch(std::integral_constant<LineMapKind, LineMapKind::kAffineTanh>()));
        break;
      default:
        HF_TRY(launch(std::integral_constant<LineMapKind, LineMapKind::kSpline>()));
    }
    return Launch(stream_, 1, batch_, AccumulateBody{l.active, b_.sums, log_q_, batch_});
  }

  template <class T>
  int32_t RunNetwork(const ScalarCouplingTables& l, double sign, void* out) const {
    HF_TRY(Launch(
        stream_, l.features, batch_,
        FieldSumBody<T>{l.feature_begin, l.feature_sites, b_.columns, sign, static_cast<T*>(b_.network[1]), batch_}));
    return LaunchNetwork<T>(stream_, l.network, b_, out, batch_);
  }

  const ScalarTables& flow_;
  const ScalarLayout& layout_;
  const cudaStream_t stream_;
  const Buffers& b_;
  const int64_t batch_;
  const int64_t field_;
  double* const log_q_;
  bool in_columns_ = false;
};

}  // namespace haarflow::isa_cuda
