// Free energies and derivatives of log Z: against closed forms with honest errors, and against each other.
#include "core/exact/thermodynamics.h"

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>

#include "core/action/derivatives.h"
#include "core/action/phi4.h"
#include "core/action/target.h"
#include "core/exact/estimate.h"
#include "core/observable/observable.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

v1::Target TargetOf(const std::string& text) {
  v1::Target target;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &target)) << text;
  EXPECT_TRUE(ValidateTarget(target).ok()) << ValidateTarget(target);
  return target;
}

const char* const kTheories[] = {
    "lattice { shape: 3 shape: 4 } u1_wilson { beta: 1.25 }",
    "lattice { shape: 2 shape: 3 shape: 4 } u1_wilson { beta: -0.5 }",
    "lattice { shape: 3 shape: 4 } u1_wilson { beta: 1.25 theta_imaginary: 0.75 }",
    "lattice { shape: 3 shape: 4 } u1_wilson { beta: 0.8 theta_imaginary: -2 form: U1_ACTION_FORM_MANTON }",
    "lattice { shape: 3 shape: 4 } phi4 { mass { m2: -1.5 lambda: 2 normalisation: 0.5 } }",
    "lattice { shape: 6 } phi4 { mass { m2: 0.75 lambda: 0.5 } }",
    "lattice { shape: 4 shape: 4 } phi4 { hopping { kappa: 0.25 lambda: 0.02 } }",
    "lattice { shape: 2 shape: 2 shape: 3 } phi4 { components: 2 hopping { kappa: -0.1 lambda: 0.3 } }",
    "lattice { shape: 4 shape: 3 } phi4 { components: 2 mass { m2: 0.5 lambda: 0 normalisation: 2 } }",
};

double Parameter(const v1::Target& target, const std::string& name) {
  for (const auto& [known, value] : TheoryParameters(target)) {
    if (known == name) return name == "normalisation" && value == 0 ? 1 : value;
  }
  return std::nan("");
}

v1::Target Changed(v1::Target target, const std::string& name, double value) {
  EXPECT_TRUE(SetTheoryParameter(name, value, &target).ok());
  return target;
}

TEST(ActionDerivatives, AreDifferencesOfTheAction) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  for (const char* text : kTheories) {
    const v1::Target target = TargetOf(text);
    const auto derivatives = *ActionDerivatives::Create(target);
    std::vector<double> field(FieldSize(target)), values(derivatives.parameters().size());
    for (double& x : field) x = normal(random);
    derivatives.Evaluate(field.data(), values.data());
    for (size_t k = 0; k < values.size(); ++k) {
      const std::string& name = derivatives.parameters()[k];
      const double at = Parameter(target, name), h = 1e-3;
      double action[2];
      // The action is linear in each parameter: the difference quotient is exact.
      for (int side : {0, 1}) {
        const v1::Target shifted = Changed(target, name, at + side * h);
        ObservableSet::Create(shifted, {"action"})->Evaluate(field.data(), &action[side]);
      }
      EXPECT_NEAR(values[k], (action[1] - action[0]) / h, 1e-9 * (1 + std::abs(values[k]))) << text << " " << name;
      double from_terms = 0;
      for (const ActionDerivatives::Term& term : derivatives.terms(k)) {
        double density = 0;
        ObservableSet::Create(target, {term.observable})->Evaluate(field.data(), &density);
        from_terms += term.coefficient * density;
      }
      EXPECT_NEAR(values[k], from_terms, 1e-12 * (1 + std::abs(values[k]))) << text << " " << name;
    }
  }
  EXPECT_FALSE(ActionDerivatives::Create(v1::Target()).ok());
}

// -<dS / d parameter> from exact expectation values is the slope of the exact log Z, which comes from elsewhere.
TEST(ActionDerivatives, TheirExactMeansAreTheSlopeOfTheExactLogZ) {
  int compared = 0;
  for (const char* text : kTheories) {
    const v1::Target target = TargetOf(text);
    const auto derivatives = *ActionDerivatives::Create(target);
    for (size_t k = 0; k < derivatives.parameters().size(); ++k) {
      const std::string& name = derivatives.parameters()[k];
      double mean = 0;
      for (const ActionDerivatives::Term& term : derivatives.terms(k)) {
        mean += term.coefficient * ExactExpectation(target, term.observable).value_or(std::nan(""));
      }
      const double at = Parameter(target, name), h = 1e-4;
      const auto up = ExactLogZ(Changed(target, name, at + h)), down = ExactLogZ(Changed(target, name, at - h));
      if (std::isnan(mean) || !up.has_value() || !down.has_value()) continue;
      ++compared;
      EXPECT_NEAR(-mean, (*up - *down) / (2 * h), 1e-5 * (1 + std::abs(mean))) << text << " " << name;
    }
  }
  EXPECT_GE(compared,
            11);  // 2D U(1): beta, theta_imaginary; the chain: all three; the free field: m2 and normalisation
}

// Mean of squared pulls, by quantity.
class Pulls {
 public:
  void Add(const std::string& name, double value, double truth, double error) {
    ASSERT_GT(error, 0) << name;
    ASSERT_TRUE(std::isfinite(error)) << name;
    sums_[name].first += (value - truth) / error;
    sums_[name].second += std::pow((value - truth) / error, 2);
    ++n_[name];
  }
  void ExpectStandardNormal() const {
    for (const auto& [name, sums] : sums_) {
      const double n = n_.at(name);
      EXPECT_NEAR(sums.second / n, 1, 4 * std::sqrt(2 / n)) << name;
      EXPECT_LT(std::abs(sums.first / n), 4 / std::sqrt(n)) << name;
    }
    EXPECT_FALSE(sums_.empty());
  }

 private:
  std::map<std::string, std::pair<double, double>> sums_;
  std::map<std::string, double> n_;
};

// V independent sites: q = N(0, 1), S = a/2 sum x^2. log Z = V/2 log(2 pi / a), <S> = V/2, d log Z / da = -V / 2a.
constexpr int kSites = 4;
constexpr double kWidth = 1.3;
const double kLogTwoPi = std::log(2 * M_PI);

struct Gaussian {
  double log_weight, action, derivative;
};
Gaussian DrawGaussian(std::mt19937_64* random) {
  std::normal_distribution<double> normal;
  double squares = 0;
  for (int x = 0; x < kSites; ++x) squares += std::pow(normal(*random), 2);
  const double action = 0.5 * kWidth * squares;
  return {-action + 0.5 * squares + 0.5 * kSites * kLogTwoPi, action, 0.5 * squares};
}

TEST(Thermodynamics, ErrorsOfGaussianWeightsCoverTheTruthAndKnowTheCorrelations) {
  const double log_z = 0.5 * kSites * (kLogTwoPi - std::log(kWidth));
  Pulls pulls;
  double entropy_error = 0, independent_error = 0;
  for (int seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    ThermodynamicsEstimator estimator(kSites, {"a"});
    PartitionEstimator partition;
    for (int i = 0; i < 4096; ++i) {
      const Gaussian g = DrawGaussian(&random);
      estimator.Add(g.log_weight, g.action, {g.derivative});
      partition.Add(g.log_weight);
    }
    const v1::Thermodynamics t = estimator.Result();
    pulls.Add("E_p[log w]", t.mean_log_weight_target(), 0.5 * kSites * kLogTwoPi - 0.5 * kSites * (kWidth - 1) / kWidth,
              t.mean_log_weight_target_error());
    pulls.Add("f", t.free_energy_density(), -log_z / kSites, t.free_energy_density_error());
    pulls.Add("p", t.pressure(), log_z / kSites, t.pressure_error());
    pulls.Add("S", t.mean_action(), 0.5 * kSites, t.mean_action_error());
    pulls.Add("s", t.entropy_density(), (log_z + 0.5 * kSites) / kSites, t.entropy_density_error());
    ASSERT_EQ(t.derivatives_size(), 1);
    EXPECT_EQ(t.derivatives(0).observable(), "a");
    pulls.Add("d log Z / da", t.derivatives(0).value(), -0.5 * kSites / kWidth, t.derivatives(0).error());
    EXPECT_NEAR(t.pressure() * kSites, partition.LogZ(), 1e-12);
    EXPECT_NEAR(t.pressure_error() * kSites, partition.LogZError(), 1e-12);
    EXPECT_LT(partition.MeanLogWeight(), partition.LogZ());
    EXPECT_GT(t.mean_log_weight_target(), partition.LogZ());
    entropy_error += t.entropy_density_error();
    independent_error += std::hypot(t.pressure_error(), t.mean_action_error() / kSites);
  }
  pulls.ExpectStandardNormal();
  // log w = const - (a - 1)/a S: whoever adds the errors of log Z and <S> in quadrature is wrong, visibly.
  EXPECT_GT(std::abs(entropy_error / independent_error - 1), 0.05);
}

TEST(Thermodynamics, WithoutFluctuationsEverythingIsExact) {
  ThermodynamicsEstimator estimator(64, {"m2", "lambda"});
  for (int i = 0; i < 10000; ++i) {
    estimator.Add(-11.6228852573 + 1e-14 * (i % 7), 31.25, {2.5, 1e6});
  }
  const v1::Thermodynamics t = estimator.Result();
  EXPECT_NEAR(t.pressure() * 64, -11.6228852573, 1e-12);
  EXPECT_NEAR(t.mean_log_weight_target(), -11.6228852573, 1e-12);
  EXPECT_EQ(t.mean_action(), 31.25);
  EXPECT_EQ(t.mean_action_error(), 0);
  EXPECT_NEAR(t.entropy_density(), (-11.6228852573 + 31.25) / 64, 1e-13);
  EXPECT_EQ(t.derivatives(1).value(), -1e6);
  EXPECT_EQ(t.derivatives(1).error(), 0);
}

TEST(Thermodynamics, TheScaleOfTheWeightsDoesNotMatter) {
  std::vector<v1::Thermodynamics> results;
  for (const double shift : {0.0, 20000.0}) {
    std::mt19937_64 random(3);
    ThermodynamicsEstimator estimator(kSites, {"a"});
    for (int i = 0; i < 5000; ++i) {
      const Gaussian g = DrawGaussian(&random);
      estimator.Add(g.log_weight + shift, g.action, {g.derivative});
    }
    results.push_back(estimator.Result());
  }
  EXPECT_NEAR(results[1].pressure() - 5000, results[0].pressure(), 1e-8);
  EXPECT_NEAR(results[1].pressure_error(), results[0].pressure_error(), 1e-8);
  EXPECT_NEAR(results[1].mean_action(), results[0].mean_action(), 1e-8);
}

TEST(Thermodynamics, ZeroWeightsCountInvalidOnesDoNotAndFewProposalsClaimNoError) {
  ThermodynamicsEstimator estimator(1, {});
  for (int i = 0; i < 100; ++i) estimator.Add(1, 2, {});
  for (int i = 0; i < 100; ++i) estimator.Add(-kInf, 77, {});
  for (int i = 0; i < 300; ++i) estimator.Add(i % 2 == 0 ? kInf : std::nan(""), 5, {});
  const v1::Thermodynamics few = estimator.Result();
  EXPECT_NEAR(few.pressure(), 1 - std::log(2), 1e-12);
  EXPECT_EQ(few.mean_action(), 2);
  EXPECT_EQ(few.pressure_error(), kInf);
  for (int i = 0; i < 56; ++i) estimator.Add(1, 2, {});
  EXPECT_LT(estimator.Result().pressure_error(), 1);
  EXPECT_TRUE(std::isnan(ThermodynamicsEstimator(1, {}).Result().mean_action()));
}

// Fields of a free scalar of one mass, drawn by a dense Cholesky factor of its quadratic form, weighted to another
// mass.
TEST(Thermodynamics, TheFreeFieldIsReproducedFromAnotherMass) {
  const v1::Target from = TargetOf("lattice { shape: 3 shape: 4 } phi4 { mass { m2: 1.4 normalisation: 0.5 } }");
  const v1::Target to = TargetOf("lattice { shape: 3 shape: 4 } phi4 { mass { m2: 1 normalisation: 0.5 } }");
  const Lattice lattice = *LatticeOf(to);
  const auto couplings = [&](const v1::Target& target) { return Phi4CouplingsOf(target.phi4(), lattice.dims()); };
  const int n = static_cast<int>(lattice.volume());
  // 2 S = phi^T A phi: column j of A is the gradient of S at the unit vector e_j. A = C C^T.
  std::vector<std::vector<double>> c(n, std::vector<double>(n));
  for (int j = 0; j < n; ++j) {
    std::vector<double> unit(n, 0.0);
    unit[j] = 1;
    std::vector<double> column(n);
    Phi4Gradient(lattice, couplings(from), unit.data(), column.data());
    for (int i = 0; i < n; ++i) c[i][j] = column[i];
  }
  for (int j = 0; j < n; ++j) {
    for (int k = 0; k < j; ++k) {
      for (int i = j; i < n; ++i) c[i][j] -= c[i][k] * c[j][k];
    }
    const double root = std::sqrt(c[j][j]);
    for (int i = j; i < n; ++i) c[i][j] /= root;
  }
  const auto derivatives = *ActionDerivatives::Create(to);
  const double log_z_from = *FreeScalarLogZ(lattice, couplings(from));
  const double log_z = *FreeScalarLogZ(lattice, couplings(to));
  Pulls pulls;
  for (int seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    ThermodynamicsEstimator estimator(n, derivatives.parameters());
    std::vector<double> field(n), row(derivatives.parameters().size());
    for (int sample = 0; sample < 4000; ++sample) {
      for (double& x : field) x = normal(random);
      for (int i = n - 1; i >= 0; --i) {  // C^T phi = noise
        for (int k = i + 1; k < n; ++k) field[i] -= c[k][i] * field[k];
        field[i] /= c[i][i];
      }
      const double action = Phi4ActionOf(lattice, couplings(to), field.data());
      const double log_q = -Phi4ActionOf(lattice, couplings(from), field.data()) - log_z_from;
      derivatives.Evaluate(field.data(), row.data());
      estimator.Add(-action - log_q, action, row);
    }
    const v1::Thermodynamics t = estimator.Result();
    pulls.Add("p", t.pressure(), log_z / n, t.pressure_error());
    pulls.Add("s", t.entropy_density(), (log_z + 0.5 * n) / n, t.entropy_density_error());
    for (size_t k = 0; k < row.size(); ++k) {
      double exact = 0;
      for (const auto& term : derivatives.terms(k)) exact -= term.coefficient * *ExactExpectation(to, term.observable);
      pulls.Add(derivatives.parameters()[k], t.derivatives(k).value(), exact, t.derivatives(k).error());
    }
  }
  pulls.ExpectStandardNormal();
}

TEST(IntegrateGrid, IsOfFourthOrderAndSaysHowExact) {
  double last = 0;
  for (const int points : {11, 21, 41}) {
    const double h = 2.0 / (points - 1);
    std::vector<double> values(points);
    for (int i = 0; i < points; ++i) values[i] = std::exp(1 + h * i);
    const auto integral = *IntegrateGrid(h, values);
    const double error = std::abs(integral.value - (std::exp(3) - std::exp(1)));
    EXPECT_GT(error, 1e-12);
    EXPECT_LT(error, integral.truncation);
    EXPECT_LT(integral.truncation, 0.05);
    if (last > 0) {
      EXPECT_NEAR(std::log2(last / error), 4, 0.4) << points;
    }
    last = error;
    double sum = 0;
    for (const double weight : integral.weight) sum += weight;
    EXPECT_NEAR(sum, 2, 1e-12);
  }
  EXPECT_FALSE(IntegrateGrid(1, std::vector<double>(5, 1.0)).ok());
  EXPECT_NEAR(IntegrateGrid(-1, std::vector<double>(6, 1.0))->value, -5, 1e-12);
}

}  // namespace
}  // namespace haarflow
