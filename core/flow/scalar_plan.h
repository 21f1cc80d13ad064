// A scalar flow as tables: what a spec's prior and layers are made of, without weights. Together with parameters, and
// the values that the model is conditioned on, it gives the tables that kernels run from (hf_scalar_flow).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/flow/parameters.h"
#include "core/flow/scalar_coupling_plan.h"
#include "core/kernel/table.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// Tensors, float64: NAME.kernel [features][kernel orbits][time modes][conditioning modes], K_f(d; t) = sum over modes
// of kernel x T_n(2 t - 1) x conditioning mode; NAME.frequency [sines]. Beside the trained ones "steps", float64 [1]:
// the number of Runge-Kutta steps that is served.
struct ScalarContinuousPlan {
  std::string name;  // "layers.0"
  int32_t frequencies = 0;
  double max_frequency = 0;
  int32_t time_modes = 1;
  std::vector<int32_t> orbits;                          // displacement orbits that carry a number
  int32_t features() const { return frequencies + 1; }  // the first is linear
};

struct ScalarLayerPlan {
  std::optional<ScalarCouplingPlan> coupling;  // or
  std::optional<ScalarContinuousPlan> continuous;
  size_t first_block = 0;  // in the layout's blocks: kernel, then frequency; or weight and bias of each stage
};

struct ScalarFlowPlan {
  v1::Target target;
  Lattice lattice;
  int components = 1;
  bool heat_bath = false;  // the flow acts on even sites
  Orbits orbits;
  // [momentum orbit][displacement orbit]: sum over the displacement orbit of cos(k d).
  std::vector<double> orbit_cosines;
  bool fourier_prior = false;
  bool learnable_prior = false;       // tensor "prior.log_sigma" [orbits][conditioning modes], float64
  std::vector<double> initial_sigma;  // [orbits], or [1] for independent sites
  // With a heat bath spectra have half the period: [orbits], the orbit that shares the number of each (itself
  // elsewhere).
  std::vector<int32_t> spectrum_orbit;
  std::vector<v1::Conditioning> conditioning;
  int32_t conditioning_modes = 1;  // product of (degree + 1)
  std::vector<ScalarLayerPlan> layers;
  ParameterLayout layout;

  bool has_continuous_layer() const;
  // Products of Chebyshev polynomials at a target's values of the conditioned parameters, [conditioning_modes]; outside
  // of an interval at its end.
  std::vector<double> ConditioningModes(const v1::Target& target) const;
  // A new model: couplings as for U(1), kernels zero, frequencies evenly spaced, the prior's spectrum that of the spec.
  std::vector<double> InitialValues(uint64_t seed) const;
  // The sizes in which parameters move: optimisers work on parameter / scale, so that all kernels move alike.
  std::vector<double> ParameterScales() const;
};

// khat^2 = 4 sum sin^2(k / 2) of the momentum 2 pi n / L, n the coordinates of `site`.
double SquaredLatticeMomentum(const Lattice& lattice, int64_t site);

// Requires a spec that ValidateSpec accepts.
absl::StatusOr<ScalarFlowPlan> PlanScalarFlow(const v1::ModelSpec& spec);

// Parameters of `to` from those of another plan with the same layers: couplings and frequencies are copied, kernels by
// displacement (halved where a displacement of half the extent becomes two, and the other way round), spectra
// interpolated in 1 / sigma^2 over khat^2. Where the conditioning is not the same, `to` starts, at every value of its
// own, from the flow at its target. INVALID_ARGUMENT, naming the difference, where the layers are not the same.
absl::StatusOr<std::vector<double>> TransferScalarParameters(const ScalarFlowPlan& from,
                                                             absl::Span<const double> parameters,
                                                             const ScalarFlowPlan& to);

// The tables of a flow for kernels: owns what view() points to. `plan` must outlive it.
class ScalarFlowTables {
 public:
  // `steps`: Runge-Kutta steps of every continuous layer.
  ScalarFlowTables(const ScalarFlowPlan& plan, int32_t steps);
  ScalarFlowTables(const ScalarFlowTables&) = delete;
  ScalarFlowTables& operator=(const ScalarFlowTables&) = delete;

  // Fills in parameters at given conditioning modes; `couplings` {hop, quadratic, quartic} are the heat bath's.
  void Set(absl::Span<const double> parameters, absl::Span<const double> conditioning_modes, const double* couplings);
  const hf_scalar_flow& view() const { return flow_; }
  // Gradients with respect to a continuous layer's tables.
  struct ContinuousGradient {
    std::vector<double> kernel;     // [2 steps + 1][features][orbits]
    std::vector<double> origin;     // [2 steps + 1][features]: with respect to at_origin
    std::vector<double> frequency;  // [features]
  };
  ContinuousGradient MakeGradient(size_t layer) const;
  // Adds them to the gradient with respect to the parameters (after Set with the same modes). `log_sigma` by site.
  void AddGradient(absl::Span<const double> conditioning_modes, absl::Span<const double> log_sigma,
                   const std::vector<ContinuousGradient>& layers, absl::Span<double> parameter_gradient) const;

 private:
  struct Continuous {
    hf_scalar_continuous flow{};
    std::vector<double> frequency;
    std::vector<double> kernel;
    std::vector<double> time;  // [2 steps + 1][time modes]: Chebyshev polynomials
  };
  struct Coupling {
    hf_scalar_coupling flow{};
    std::vector<hf_stage> stages;
    std::vector<std::vector<double>> weights;  // reinterpreted as float where the network is float
  };
  void SetPrior(absl::Span<const double> parameters, absl::Span<const double> modes);
  void SetContinuous(size_t layer, absl::Span<const double> parameters, absl::Span<const double> modes);
  void SetCoupling(size_t layer, absl::Span<const double> parameters);

  const ScalarFlowPlan& plan_;
  hf_scalar_flow flow_{};
  std::vector<double> sigma_;
  std::vector<Continuous> continuous_;  // one per layer, unused for couplings
  std::vector<Coupling> coupling_;      // likewise
  std::vector<hf_scalar_layer> layers_;
};

}  // namespace haarflow
