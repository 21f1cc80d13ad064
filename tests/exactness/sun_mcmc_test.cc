// Ensembles of SU(2) and SU(3) links from heat bath with over-relaxation and from HMC against the exact solution in two
// dimensions, strong coupling and independent simulations in four.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "core/exact/estimate.h"
#include "core/mcmc/sun_heat_bath.h"
#include "core/mcmc/sun_hmc.h"
#include "core/observable/observable.h"
#include "core/train/target_samples.h"
#include "gtest/gtest.h"
#include "tests/reference/tier.h"

namespace haarflow {
namespace {

using testing::Length;

struct Average {
  double mean = 0;
  double error = 0;
};

// Deviations over errors: each below 3.5, and of the right size together.
class Pulls {
 public:
  void Add(const std::string& what, const Average& measured, double expected, double expected_error = 0) {
    const double z = (measured.mean - expected) / std::hypot(measured.error, expected_error);
    std::printf("  %s: %.7f +- %.7f, expected %.7f: %+.2f sigma\n", what.c_str(), measured.mean, measured.error,
                expected, z);
    EXPECT_LT(std::abs(z), 3.5) << what;
    squares_ += z * z;
    ++count_;
  }
  ~Pulls() {
    const double rms = std::sqrt(squares_ / count_);
    std::printf("  %d pulls, rms %.2f\n", count_, rms);
    EXPECT_LT(rms, 1 + 3.5 * std::sqrt(1.0 / count_));  // observables of one ensemble are correlated
    EXPECT_GT(rms, 0.15);
  }

 private:
  double squares_ = 0;
  int count_ = 0;
};

v1::Target TargetOf(const std::vector<int64_t>& shape, int colours, double beta, double rectangle = 0) {
  v1::Target target;
  for (const int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_sun_wilson()->set_colours(static_cast<uint32_t>(colours));
  target.mutable_sun_wilson()->set_beta(beta);
  target.mutable_sun_wilson()->set_rectangle(rectangle);
  return target;
}
Lattice LatticeOf(const v1::Target& target) {
  return Lattice::Create({target.lattice().shape().begin(), target.lattice().shape().end()}).value();
}
std::string Describe(const v1::Target& target) {
  const auto& action = target.sun_wilson();
  char text[100];
  std::snprintf(text, sizeof text, "SU(%u) %s beta %g c1 %g", action.colours(), LatticeOf(target).ToString().c_str(),
                action.beta(), action.rectangle());
  return text;
}

// Means over chains, the Gamma method's error of each: [observable], from [observable][chain][time].
using Series = std::vector<std::vector<std::vector<double>>>;
std::vector<Average> Averages(const Series& series) {
  std::vector<Average> averages;
  for (const auto& chains : series) {
    Average average;
    double square = 0;
    for (const auto& chain : chains) {
      const ChainEstimate estimate = GammaMethod(chain).value();
      average.mean += estimate.mean / static_cast<double>(chains.size());
      square += estimate.error * estimate.error;
    }
    average.error = std::sqrt(square) / static_cast<double>(chains.size());
    averages.push_back(average);
  }
  return averages;
}

constexpr int kChains = 16;
constexpr int kThermalisation = 100;

template <class Chains, class Update>
Series Record(Chains* chains, const v1::Target& target, const std::vector<std::string>& names, int length,
              const Update& update) {
  const ObservableSet set = ObservableSet::Create(target, names).value();
  Series series(names.size() + 1, std::vector<std::vector<double>>(kChains));
  std::vector<double> values(names.size());
  for (int i = 0; i < length; ++i) {
    update();
    for (int c = 0; c < kChains; ++c) {
      set.Evaluate(chains->Field(c).data(), values.data());
      for (size_t o = 0; o < names.size(); ++o) series[o][c].push_back(values[o]);
    }
  }
  series.pop_back();
  return series;
}

Series FromHeatBath(const v1::Target& target, const std::vector<std::string>& names, int length,
                    int over_relaxations = 2) {
  SunHeatBathOptions options;
  options.chains = kChains;
  options.seed = 21;
  options.over_relaxations = over_relaxations;
  SunHeatBath chains = SunHeatBath::Create(LatticeOf(target), SunCouplingsOf(target.sun_wilson()), options).value();
  for (int i = 0; i < kThermalisation; ++i) chains.Sweep();
  return Record(&chains, target, names, length, [&] { chains.Sweep(); });
}

// The last series is exp(-dH).
Series FromHmc(const v1::Target& target, const std::vector<std::string>& names, int length) {
  SunHmcOptions options;
  options.chains = kChains;
  options.seed = 22;
  options.steps = 8;
  options.step_size = 0.25;
  SunHmc chains = SunHmc::Create(LatticeOf(target), SunCouplingsOf(target.sun_wilson()), options).value();
  for (int i = 0; i < kThermalisation; ++i) chains.Trajectory();
  EXPECT_TRUE(chains.Tune(0.85).ok());
  std::vector<std::vector<double>> weight(kChains);
  Series series = Record(&chains, target, names, length, [&] {
    chains.Trajectory();
    for (int c = 0; c < kChains; ++c) weight[c].push_back(std::exp(-chains.energy_change()[c]));
  });
  std::printf("  HMC: %d steps of %.3f, acceptance %.3f\n", chains.steps(), chains.step_size(), chains.acceptance());
  EXPECT_GT(chains.acceptance(), 0.6);
  EXPECT_LT(chains.acceptance(), 0.995);
  series.push_back(weight);
  return series;
}

void AddExact(const v1::Target& target, const std::vector<std::string>& names, const Series& series,
              const std::string& method, Pulls* pulls) {
  const std::vector<Average> averages = Averages(series);
  for (size_t o = 0; o < names.size(); ++o) {
    pulls->Add(method + " " + Describe(target) + " " + names[o], averages[o],
               ExactExpectation(target, names[o]).value());
  }
  if (averages.size() > names.size()) pulls->Add(method + " <exp(-dH)>", averages.back(), 1);
}

// Weak and strong coupling: every branch of the rejection samplers.
TEST(SunEnsembles, HeatBathAgreesWithTheTorus) {
  Pulls pulls;
  const std::vector<std::string> names = {"plaquette", "wilson_loop_2x2", "polyakov_real"};
  const int length = Length(1000, 40000);
  for (const double beta : {0.02, 0.5, 2.2, 8.0, 40.0}) {
    const v1::Target target = TargetOf({8, 8}, 2, beta);
    AddExact(target, names, FromHeatBath(target, names, length), "heat bath", &pulls);
  }
  for (const double beta : {0.05, 1.5, 5.0, 20.0}) {
    const v1::Target target = TargetOf({8, 8}, 3, beta);
    AddExact(target, names, FromHeatBath(target, names, length), "heat bath", &pulls);
  }
}

// Where every representation winds: small tori, extents of 2, and heat bath alone.
TEST(SunEnsembles, SmallToriAgreeWithTheCharacterExpansion) {
  Pulls pulls;
  const std::vector<std::string> names = {"plaquette", "polyakov_real"};
  for (const auto& shape : {std::vector<int64_t>{2, 2}, {3, 2}, {3, 3}}) {
    for (const int n : {2, 3}) {
      const v1::Target target = TargetOf(shape, n, 4);
      AddExact(target, names, FromHeatBath(target, names, Length(4000, 40000), shape[0] - 2), "heat bath", &pulls);
      AddExact(target, names, FromHmc(target, names, Length(1500, 20000)), "HMC", &pulls);
    }
  }
}

TEST(SunEnsembles, HmcAgreesWithTheTorus) {
  Pulls pulls;
  const std::vector<std::string> names = {"plaquette", "wilson_loop_2x2"};
  for (const v1::Target& target : {TargetOf({8, 8}, 2, 2.2), TargetOf({8, 8}, 3, 5)}) {
    AddExact(target, names, FromHmc(target, names, Length(500, 20000)), "HMC", &pulls);
  }
}

// A change of sign of one link in every plaquette, of an even torus, changes that of beta.
TEST(SunEnsembles, NegativeBetaIsTheMirrorImageInSu2) {
  Pulls pulls;
  const double exact = ExactExpectation(TargetOf({6, 4}, 2, 2.2), "plaquette").value();
  const v1::Target target = TargetOf({6, 4}, 2, -2.2);
  const int length = Length(1000, 20000);
  pulls.Add("heat bath, beta -2.2", Averages(FromHeatBath(target, {"plaquette"}, length))[0], -exact);
  pulls.Add("HMC, beta -2.2", Averages(FromHmc(target, {"plaquette"}, length))[0], -exact);
}

// Strong coupling to many orders (targets.md 1.6), and a scalar program of our own, written independently
// (reference-4d.json, "A").
TEST(SunEnsembles, FourDimensionsAgreeWithIndependentValues) {
  Pulls pulls;
  const struct {
    double beta, plaquette, plaquette_error, rectangle, rectangle_error;
  } points[] = {{1, 0.0601302, 1e-6, 0.0036068, 2.08e-5},
                {2, 0.1288569, 3.33e-5, 0.0165854, 2.2e-5},
                {5.7, 0.5597835, 1.086e-4, 0.341273, 1.524e-4}};
  for (const auto& p : points) {
    const v1::Target target = TargetOf({4, 4, 4, 4}, 3, p.beta);
    const auto heat_bath = Averages(FromHeatBath(target, {"plaquette", "rectangle"}, Length(160, 10000)));
    pulls.Add("heat bath " + Describe(target) + " plaquette", heat_bath[0], p.plaquette, p.plaquette_error);
    pulls.Add("heat bath " + Describe(target) + " rectangle", heat_bath[1], p.rectangle, p.rectangle_error);
  }
  const v1::Target target = TargetOf({4, 4, 4, 4}, 3, 2);
  const auto hmc = Averages(FromHmc(target, {"plaquette"}, Length(60, 5000)));
  pulls.Add("HMC " + Describe(target) + " plaquette", hmc[0], points[1].plaquette, points[1].plaquette_error);
  pulls.Add("HMC <exp(-dH)>", hmc[1], 1);
}

// Three dimensions, where nothing is known: two methods agree.
TEST(SunEnsembles, HeatBathAndHmcAgreeInThreeDimensions) {
  Pulls pulls;
  for (const int n : {2, 3}) {
    const v1::Target target = TargetOf({3, 4, 2}, n, 3);
    const std::vector<std::string> names = {"plaquette", "rectangle", "polyakov_real"};
    const auto a = Averages(FromHeatBath(target, names, Length(1000, 20000)));
    const auto b = Averages(FromHmc(target, names, Length(500, 10000)));
    for (size_t o = 0; o < names.size(); ++o) {
      pulls.Add(Describe(target) + " " + names[o], a[o], b[o].mean, b[o].error);
    }
  }
}

// The heat bath's ensemble of plaquettes, reweighted, is HMC's ensemble with rectangles.
TEST(SunEnsembles, RectanglesOfHmcAgreeWithReweighting) {
  Pulls pulls;
  const struct {
    std::vector<int64_t> shape;
    int colours;
    double beta, rectangle;
  } points[] = {{{4, 3}, 2, 1.5, -1.0 / 12}, {{3, 3}, 3, 2, -1.0 / 12}, {{2, 2, 3}, 2, 1, 0.05}};
  for (const auto& p : points) {
    // At the beta of the plaquettes' own coefficient the weights vary least.
    const v1::Target plain = TargetOf(p.shape, p.colours, p.beta * (1 - 8 * p.rectangle));
    const v1::Target improved = TargetOf(p.shape, p.colours, p.beta, p.rectangle);
    const std::vector<std::string> names = {"plaquette", "rectangle"};
    const Series series = FromHeatBath(plain, names, Length(4000, 40000));
    const double rectangles = static_cast<double>(2 * LatticeOf(plain).plaquettes());
    // S_improved - S_plain = -beta c1 sum_R Re Tr R / N; one chain after the other, autocorrelations are short.
    std::vector<double> weight, weighted[2];
    for (int c = 0; c < kChains; ++c) {
      for (size_t i = 0; i < series[0][c].size(); ++i) {
        const double w = std::exp(p.beta * p.rectangle * rectangles * series[1][c][i]);
        weight.push_back(w);
        for (int o = 0; o < 2; ++o) weighted[o].push_back(w * series[o][c][i]);
      }
    }
    const auto hmc = Averages(FromHmc(improved, names, Length(1500, 20000)));
    const FunctionOfMeans ratio = {[](absl::Span<const double> m) { return m[0] / m[1]; },
                                   [](absl::Span<const double> m) {
                                     return std::vector<double>{1 / m[1], -m[0] / (m[1] * m[1])};
                                   }};
    for (int o = 0; o < 2; ++o) {
      const ChainEstimate reweighted = GammaMethodOfFunction({weighted[o], weight}, ratio).value();
      pulls.Add("HMC " + Describe(improved) + " " + names[o], hmc[o], reweighted.mean, reweighted.error);
    }
  }
}

TEST(SunTargetSamples, AreOfTheTargetWhateverTheThreads) {
  Pulls pulls;
  const std::vector<std::string> names = {"plaquette", "wilson_loop_2x2"};
  for (const int n : {2, 3}) {
    for (const TargetSampler sampler : {TargetSampler::kCluster, TargetSampler::kHmc}) {
      const v1::Target target = TargetOf({4, 4}, n, 3);
      const TargetSamples samples = DrawTargetSamples(target, 2000, 5, 2, sampler).value();
      EXPECT_GE(samples.n, 2000);
      const TargetSamples again = DrawTargetSamples(target, 2000, 5, 1, sampler).value();
      EXPECT_EQ(samples.field, again.field);
      const ObservableSet set = ObservableSet::Create(target, names).value();
      const int64_t size = static_cast<int64_t>(samples.field.size()) / samples.n;
      // Fields of one chain are samples.n / 128 apart in no order that matters: treated as independent.
      for (size_t o = 0; o < names.size(); ++o) {
        double sum = 0, square = 0;
        const double count = static_cast<double>(samples.n);
        for (int64_t i = 0; i < samples.n; ++i) {
          double values[2];
          set.Evaluate(samples.field.data() + i * size, values);
          sum += values[o];
          square += values[o] * values[o];
        }
        const double mean = sum / count;
        pulls.Add("samples of " + Describe(target) + " " + names[o],
                  {mean, std::sqrt((square / count - mean * mean) / count)},
                  ExactExpectation(target, names[o]).value());
      }
    }
  }
  // Rectangles: HMC.
  EXPECT_EQ(DrawTargetSamples(TargetOf({2, 3}, 2, 1, 0.1), 16, 5, 1).value().n, 16);
}

}  // namespace
}  // namespace haarflow
