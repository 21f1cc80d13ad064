// Many independent scalar Markov chains of a target, and what their averages are worth: the scatter of the chains is
// the error, with no assumption about autocorrelation.
#pragma once

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "core/mcmc/phi4_cluster.h"
#include "core/mcmc/phi4_hmc.h"
#include "core/observable/observable.h"
#include "gtest/gtest.h"

namespace haarflow {

using Shape = std::vector<int64_t>;

struct Average {
  double mean = 0;
  double error = 0;
};
inline Average Over(const std::vector<double>& chain_means) {
  const double n = static_cast<double>(chain_means.size());
  Average a;
  double square = 0;
  for (const double x : chain_means) a.mean += x / n;
  for (const double x : chain_means) square += (x - a.mean) * (x - a.mean);
  a.error = std::sqrt(square / (n * (n - 1)));
  return a;
}

// Deviations over errors: each below 3.5, and of the right size together.
class Pulls {
 public:
  void Add(const std::string& what, const Average& measured, double expected, double expected_error = 0) {
    const double z = (measured.mean - expected) / std::hypot(measured.error, expected_error);
    EXPECT_LT(std::abs(z), 3.5) << what << ": " << measured.mean << " +- " << measured.error << ", expected "
                                << expected << " +- " << expected_error;
    squares_ += z * z;
    ++count_;
  }
  ~Pulls() {
    const double rms = std::sqrt(squares_ / count_);
    std::printf("  %d pulls, rms %.2f\n", count_, rms);
    // rms^2 of n standard normal numbers is 1 +- sqrt(2 / n). Observables of one ensemble are correlated.
    EXPECT_LT(rms, 1 + 3.5 * std::sqrt(1.0 / count_));
    EXPECT_GT(rms, 0.15);
  }

 private:
  double squares_ = 0;
  int count_ = 0;
};

inline v1::Target TargetOf(const Shape& shape, int components = 1) {
  v1::Target target;
  for (const int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_phi4()->set_components(components);
  return target;
}
inline v1::Target MassForm(const Shape& shape, double m2, double lambda, int components = 1) {
  v1::Target target = TargetOf(shape, components);
  target.mutable_phi4()->mutable_mass()->set_m2(m2);
  target.mutable_phi4()->mutable_mass()->set_lambda(lambda);
  return target;
}
inline v1::Target HoppingForm(const Shape& shape, double kappa, double lambda, int components = 1) {
  v1::Target target = TargetOf(shape, components);
  target.mutable_phi4()->mutable_hopping()->set_kappa(kappa);
  target.mutable_phi4()->mutable_hopping()->set_lambda(lambda);
  return target;
}
inline Lattice LatticeOf(const v1::Target& target) {
  return Lattice::Create({target.lattice().shape().begin(), target.lattice().shape().end()}).value();
}
inline Phi4Couplings CouplingsOf(const v1::Target& target) {
  return Phi4CouplingsOf(target.phi4(), target.lattice().shape_size());
}

enum class Method { kHmc, kFourierHmc, kCluster, kMetropolis };
inline constexpr Method kAll[] = {Method::kHmc, Method::kFourierHmc, Method::kCluster};
inline const char* Name(Method method) {
  switch (method) {
    case Method::kHmc:
      return "HMC";
    case Method::kFourierHmc:
      return "Fourier HMC";
    case Method::kCluster:
      return "cluster";
    default:
      return "Metropolis";
  }
}

// One of the samplers, thermalised.
class Sampler {
 public:
  Sampler(const v1::Target& target, Method method, int chains, int burn_in, double acceptance = 0.8) : chains_(chains) {
    const Lattice lattice = LatticeOf(target);
    const Phi4Couplings couplings = CouplingsOf(target);
    if (method == Method::kCluster || method == Method::kMetropolis) {
      Phi4ClusterOptions options = {.chains = chains, .clusters = method == Method::kCluster};
      cluster_ = std::make_unique<Phi4Cluster>(Phi4Cluster::Create(lattice, couplings, options).value());
    } else {
      Phi4HmcOptions options = {.chains = chains, .steps = 6, .step_size = 1.0 / 6};
      if (method == Method::kFourierHmc) options.fourier_m2 = 0.25;
      hmc_ = std::make_unique<Phi4Hmc>(Phi4Hmc::Create(lattice, couplings, options).value());
      EXPECT_TRUE(hmc_->Tune(acceptance).ok());
    }
    for (int i = 0; i < burn_in; ++i) Advance();
  }
  void Advance() {
    if (hmc_) {
      hmc_->Trajectory();
      creutz_ += 1;
      for (const double dh : hmc_->energy_change()) exp_minus_dh_.push_back(std::exp(-dh));
    } else {
      cluster_->Sweep();
    }
  }
  std::vector<double> Field(int chain) const { return hmc_ ? hmc_->Field(chain) : cluster_->Field(chain); }
  int chains() const { return chains_; }
  // <exp(-dH)> since the last call, chain by chain.
  Average ExpMinusEnergyChange() {
    std::vector<double> means(chains_, 0.0);
    for (size_t i = 0; i < exp_minus_dh_.size(); ++i) means[i % chains_] += exp_minus_dh_[i] / creutz_;
    exp_minus_dh_.clear();
    creutz_ = 0;
    return Over(means);
  }

 private:
  int chains_;
  std::unique_ptr<Phi4Hmc> hmc_;
  std::unique_ptr<Phi4Cluster> cluster_;
  std::vector<double> exp_minus_dh_;
  double creutz_ = 0;
};

// series[observable][chain][update]
using Series = std::vector<std::vector<std::vector<double>>>;
inline Series Record(Sampler* sampler, const v1::Target& target, const std::vector<std::string>& names, int updates,
                     int thin = 1) {
  const ObservableSet set = ObservableSet::Create(target, names).value();
  Series series(names.size(), std::vector<std::vector<double>>(sampler->chains()));
  std::vector<double> values(names.size());
  for (int i = 0; i < updates; ++i) {
    sampler->Advance();
    if ((i + 1) % thin != 0) continue;
    for (int c = 0; c < sampler->chains(); ++c) {
      set.Evaluate(sampler->Field(c).data(), values.data());
      for (size_t o = 0; o < names.size(); ++o) series[o][c].push_back(values[o]);
    }
  }
  return series;
}
inline double Mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}
inline std::vector<Average> Averages(const Series& series) {
  std::vector<Average> averages;
  for (const auto& chains : series) {
    std::vector<double> means;
    for (const auto& chain : chains) means.push_back(Mean(chain));
    averages.push_back(Over(means));
  }
  return averages;
}
inline std::vector<Average> Measure(const v1::Target& target, Method method, const std::vector<std::string>& names,
                                    int updates, int chains = 64, int burn_in = 300) {
  Sampler sampler(target, method, chains, burn_in);
  return Averages(Record(&sampler, target, names, updates, 2));
}

}  // namespace haarflow
