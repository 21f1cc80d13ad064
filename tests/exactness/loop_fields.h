// Loop flows of SU(N) links at work on 8 fields of std::complex matrices, and the full Jacobian of their map by
// differences.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <complex>
#include <memory>
#include <string>
#include <vector>

#include "core/flow/loop_plan.h"
#include "core/flow/loop_scratch.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/tiles.h"
#include "google/protobuf/text_format.h"
#include "tests/reference/determinant.h"

namespace haarflow::testing {

using kernel::kMatrixLanes;
using Complex = std::complex<double>;
// Row-major N x N.
using Matrix = std::vector<Complex>;

inline v1::ModelSpec Parse(const std::string& text) {
  v1::ModelSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec));
  return spec;
}

inline Matrix Times(const Matrix& a, const Matrix& b, int n) {
  Matrix c(a.size());
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < n; ++k) {
      for (int j = 0; j < n; ++j) c[i * n + j] += a[i * n + k] * b[k * n + j];
    }
  }
  return c;
}
inline Matrix Dagger(const Matrix& a, int n) {
  Matrix c(a.size());
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) c[i * n + j] = std::conj(a[j * n + i]);
  }
  return c;
}
// Anti-Hermitian generators, tr T^a T^b = -delta_ab / 2: pairs, then diagonals.
inline std::vector<Matrix> Generators(int n) {
  std::vector<Matrix> all;
  const Complex i(0, 1);
  for (int a = 0; a < n; ++a) {
    for (int b = a + 1; b < n; ++b) {
      Matrix x(n * n), y(n * n);
      x[a * n + b] = x[b * n + a] = -0.5 * i;
      y[a * n + b] = -0.5;
      y[b * n + a] = 0.5;
      all.push_back(x);
      all.push_back(y);
    }
  }
  for (int k = 1; k < n; ++k) {
    Matrix d(n * n);
    for (int j = 0; j < k; ++j) d[j * n + j] = -0.5 * i * std::sqrt(2.0 / (k * (k + 1)));
    d[k * n + k] = 0.5 * i * std::sqrt(2.0 * k / (k + 1));
    all.push_back(d);
  }
  return all;
}
inline Matrix Exp(const Matrix& x, int n) {
  Matrix sum(n * n), term(n * n);
  for (int i = 0; i < n; ++i) sum[i * n + i] = term[i * n + i] = 1;
  for (int k = 1; k < 30; ++k) {
    term = Times(term, x, n);
    for (auto& t : term) t /= k;
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += term[j];
  }
  return sum;
}

// A gauge transformation of a field, the complex conjugate, and a translation in direction 1.
inline std::vector<Matrix> GaugeTransformed(const Lattice& lattice, const std::vector<Matrix>& gauge,
                                            const std::vector<Matrix>& u, int n) {
  std::vector<Matrix> v;
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int64_t x = 0; x < lattice.volume(); ++x) {
      v.push_back(Times(Times(gauge[x], u[lattice.Link(mu, x)], n), Dagger(gauge[lattice.Shift(x, mu, 1)], n), n));
    }
  }
  return v;
}
inline std::vector<Matrix> Conjugated(std::vector<Matrix> u) {
  for (Matrix& m : u) {
    for (auto& e : m) e = std::conj(e);
  }
  return u;
}
inline std::vector<Matrix> Translated(const Lattice& lattice, const std::vector<Matrix>& u, int64_t steps) {
  std::vector<Matrix> v(u.size());
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int64_t x = 0; x < lattice.volume(); ++x) {
      v[lattice.Link(mu, x)] = u[lattice.Link(mu, lattice.Shift(x, 1, steps))];
    }
  }
  return v;
}

// A flow with random coefficients, and room to work on 8 configurations.
class Flow {
 public:
  // `integration_steps`: of a continuous flow.
  Flow(const std::string& spec_text, double size, int32_t integration_steps = 0,
       const char* instruction_set = kernel::BestInstructionSet())
      : kernels_(*kernel::LoopKernelsFor(instruction_set)) {
    spec_ = Parse(spec_text);
    plan_ = std::make_unique<LoopFlowPlan>(*PlanLoopFlow(spec_, spec_.target()));
    tables_ = std::make_unique<LoopFlowTables>(*plan_, integration_steps);
    n_ = plan_->colours;
    numbers_ = n_ == 2 ? 4 : 18;
    parameters_.resize(plan_->layout.size());
    for (size_t i = 0; i < parameters_.size(); ++i) {
      parameters_[i] = size * (i % plan_->classes() == 0 ? 1.0 : 0.7 * std::cos(1.0 + 3.7 * static_cast<double>(i)));
    }
    tables_->Set(parameters_);
    scratch_ = std::make_unique<LoopScratch>(*plan_, view());
    train_ = scratch_->work;
    work_ = train_.forward;
    Haar(1);
  }

  void Haar(uint64_t seed, uint32_t purpose = 1) {
    uint64_t seeds[kMatrixLanes], index[kMatrixLanes];
    for (int i = 0; i < kMatrixLanes; ++i) {
      seeds[i] = seed;
      index[i] = static_cast<uint64_t>(i);
    }
    kernels_.haar_tile(view(), purpose, seeds, index, work_.links);
  }
  const hf_loop_flow& view() const { return tables_->view(); }

  Matrix Get(int64_t link, int lane) const {
    const auto x = [&](int r) { return work_.links[(link * numbers_ + r) * kMatrixLanes + lane]; };
    Matrix u(n_ * n_);
    if (n_ == 2) {
      u = {Complex(x(0), x(3)), Complex(x(2), x(1)), Complex(-x(2), x(1)), Complex(x(0), -x(3))};
    } else {
      for (int e = 0; e < 9; ++e) u[e] = {x(2 * e), x(2 * e + 1)};
    }
    return u;
  }
  void Put(int64_t link, int lane, const Matrix& u) {
    const auto x = [&](int r) -> double& { return work_.links[(link * numbers_ + r) * kMatrixLanes + lane]; };
    if (n_ == 2) {
      x(0) = u[0].real();
      x(3) = u[0].imag();
      x(2) = u[1].real();
      x(1) = u[1].imag();
    } else {
      for (int e = 0; e < 9; ++e) {
        x(2 * e) = u[e].real();
        x(2 * e + 1) = u[e].imag();
      }
    }
  }
  std::array<double, kMatrixLanes> Map() {
    std::array<double, kMatrixLanes> log_det{};
    kernels_.map_tile(view(), work_, log_det.data(), smallest.data());
    return log_det;
  }
  std::array<double, kMatrixLanes> Inverse() {
    std::array<double, kMatrixLanes> log_det{};
    kernels_.inverse_tile(view(), work_, log_det.data());
    return log_det;
  }

  std::array<double, kMatrixLanes> smallest{};
  const kernel::LoopKernels& kernels_;
  v1::ModelSpec spec_;
  std::unique_ptr<LoopFlowPlan> plan_;
  std::unique_ptr<LoopFlowTables> tables_;
  std::vector<double> parameters_;
  std::unique_ptr<LoopScratch> scratch_;
  kernel::LoopWorkspace work_{};
  kernel::LoopTrainWorkspace train_{};
  int n_ = 3;
  int64_t numbers_ = 18;
};

inline std::vector<Matrix> Fields(const Flow& flow, int lane) {
  std::vector<Matrix> field;
  for (int64_t l = 0; l < flow.plan_->lattice.links(); ++l) field.push_back(flow.Get(l, lane));
  return field;
}
inline void SetFields(Flow* flow, int lane, const std::vector<Matrix>& field) {
  for (size_t l = 0; l < field.size(); ++l) flow->Put(static_cast<int64_t>(l), lane, field[l]);
}
inline double Distance(const std::vector<Matrix>& a, const std::vector<Matrix>& b) {
  double largest = 0;
  for (size_t l = 0; l < a.size(); ++l) {
    for (size_t e = 0; e < a[l].size(); ++e) largest = std::max(largest, std::abs(a[l][e] - b[l][e]));
  }
  return largest;
}

// log |det| of the full Jacobian at a field, by differences of fourth order.
inline double FullLogDeterminant(Flow* flow, const std::vector<Matrix>& field) {
  const int n = flow->n_;
  const auto generators = Generators(n);
  const auto dim = static_cast<int64_t>(generators.size());
  const auto links = static_cast<int64_t>(field.size());
  constexpr double kStep = 2e-3;
  constexpr int kShift[4] = {-2, -1, 1, 2};
  constexpr double kWeight[4] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12};
  for (int lane = 0; lane < kMatrixLanes; ++lane) SetFields(flow, lane, field);
  flow->Map();
  const std::vector<Matrix> image = Fields(*flow, 0);
  std::vector<std::vector<double>> jacobian(links * dim, std::vector<double>(links * dim, 0.0));
  for (int64_t link = 0; link < links; ++link) {
    for (int64_t b = 0; b < dim; b += 2) {
      // Lanes: four shifts of two generators.
      for (int lane = 0; lane < kMatrixLanes; ++lane) {
        SetFields(flow, lane, field);
        Matrix x = generators[std::min(b + lane / 4, dim - 1)];
        for (auto& e : x) e *= kShift[lane % 4] * kStep;
        flow->Put(link, lane, Times(Exp(x, n), field[link], n));
      }
      flow->Map();
      for (int64_t g = 0; g < 2 && b + g < dim; ++g) {
        for (int64_t l = 0; l < links; ++l) {
          Matrix derivative(n * n);
          for (int s = 0; s < 4; ++s) {
            const Matrix u = flow->Get(l, static_cast<int>(4 * g) + s);
            for (int e = 0; e < n * n; ++e) derivative[e] += kWeight[s] / kStep * u[e];
          }
          const Matrix x = Times(derivative, Dagger(image[l], n), n);
          for (int64_t a = 0; a < dim; ++a) {
            Complex trace = 0;
            const Matrix tx = Times(generators[a], x, n);
            for (int e = 0; e < n; ++e) trace += tx[e * n + e];
            jacobian[l * dim + a][link * dim + b + g] = -2 * trace.real();
          }
        }
      }
    }
  }
  return LogDeterminant(jacobian);
}

}  // namespace haarflow::testing
