// Heat bath and over-relaxation of U(1) links against the exact solution in two dimensions and HMC in three and four.
#include "core/mcmc/u1_heat_bath.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/mcmc/hmc.h"
#include "core/observable/observable.h"
#include "gtest/gtest.h"
#include "tests/reference/tier.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

using testing::Length;

constexpr int kChains = 64;

v1::Target TargetOf(const std::vector<int64_t>& shape, double beta) {
  v1::Target target;
  for (const int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_u1_wilson()->set_beta(beta);
  return target;
}

struct Average {
  double mean = 0;
  double error = 0;
};
// Chains are independent: their scatter is the error.
template <class Chains, class Update>
std::vector<Average> Measure(Chains* chains, const v1::Target& target, const std::vector<std::string>& names,
                             int length, const Update& update) {
  const ObservableSet set = ObservableSet::Create(target, names).value();
  std::vector<std::vector<double>> mean(names.size(), std::vector<double>(kChains));
  std::vector<double> values(names.size());
  for (int i = 0; i < 100; ++i) update();
  for (int i = 0; i < length; ++i) {
    update();
    for (int c = 0; c < kChains; ++c) {
      set.Evaluate(chains->Field(c).data(), values.data());
      for (size_t o = 0; o < names.size(); ++o) mean[o][c] += values[o] / length;
    }
  }
  std::vector<Average> averages;
  for (const auto& chain_means : mean) {
    Average a;
    double square = 0;
    for (const double x : chain_means) a.mean += x / kChains;
    for (const double x : chain_means) square += (x - a.mean) * (x - a.mean);
    a.error = std::sqrt(square / (kChains * (kChains - 1.0)));
    averages.push_back(a);
  }
  return averages;
}
std::vector<Average> FromHeatBath(const v1::Target& target, const std::vector<int64_t>& shape,
                                  const std::vector<std::string>& names, int length, int over_relaxations = 2) {
  const U1HeatBathOptions options = {.chains = kChains, .seed = 3, .over_relaxations = over_relaxations};
  U1HeatBath chains = U1HeatBath::Create(Lattice::Create(shape).value(), target.u1_wilson().beta(), options).value();
  return Measure(&chains, target, names, length, [&] { chains.Sweep(); });
}

void ExpectNear(const std::string& what, const Average& a, double expected, double expected_error, double* squares) {
  const double z = (a.mean - expected) / std::hypot(a.error, expected_error);
  EXPECT_LT(std::abs(z), 3.5) << what << ": " << a.mean << " +- " << a.error << ", expected " << expected;
  *squares += z * z;
}

// Weak and strong coupling: both proposals. The charge moves at these beta.
TEST(U1HeatBath, AgreesWithTheTorus) {
  double squares = 0;
  int count = 0;
  const std::vector<std::string> names = {"plaquette", "wilson_loop_2x2", "charge_squared"};
  for (const double beta : {0.04, 0.3, 1.0, 2.0, -1.0}) {
    const v1::Target target = TargetOf({6, 4}, beta), mirror = TargetOf({6, 4}, std::abs(beta));
    const auto averages = FromHeatBath(target, {6, 4}, names, Length(400, 20000));
    for (size_t o = 0; o < names.size(); ++o) {
      // A change of sign of one link in every plaquette, of an even torus, changes that of beta. Q it changes more.
      if (beta < 0 && names[o] == "charge_squared") continue;
      const double sign = beta < 0 && names[o] == "plaquette" ? -1 : 1;
      const double exact = sign * ExactExpectation(mirror, names[o]).value();
      ExpectNear(names[o] + " beta " + std::to_string(beta), averages[o], exact, 0, &squares);
      ++count;
    }
  }
  EXPECT_LT(std::sqrt(squares / count), 1 + 3.5 / std::sqrt(count));
}

TEST(U1HeatBath, AgreesWithHmcInThreeAndFourDimensions) {
  double squares = 0;
  const std::vector<std::string> names = {"plaquette"};
  for (const auto& [shape, beta] : {std::pair<std::vector<int64_t>, double>{{3, 4, 2}, 1.2}, {{3, 2, 3, 2}, 0.8}}) {
    const v1::Target target = TargetOf(shape, beta);
    U1HmcOptions options;
    options.chains = kChains;
    U1Hmc hmc = U1Hmc::Create(Lattice::Create(shape).value(), beta, options).value();
    const auto b = Measure(&hmc, target, names, Length(200, 5000), [&] { hmc.Trajectory(); });
    for (const int over_relaxations : {0, 2}) {
      const auto a = FromHeatBath(target, shape, names, Length(200, 5000), over_relaxations);
      ExpectNear("beta " + std::to_string(beta), a[0], b[0].mean, b[0].error, &squares);
    }
  }
  EXPECT_LT(squares, 20);
}

// Reflections keep the action of the oracle.
TEST(U1HeatBath, OverRelaxationKeepsTheAction) {
  const reference::Shape shape = {2, 3, 4};
  const Lattice lattice = Lattice::Create(shape).value();
  U1HeatBath one = U1HeatBath::Create(lattice, 1.3, {.chains = 1, .seed = 2, .over_relaxations = 0}).value();
  U1HeatBath other = U1HeatBath::Create(lattice, 1.3, {.chains = 1, .seed = 2, .over_relaxations = 1}).value();
  one.Sweep();
  other.Sweep();
  // The same heat-bath sweep, and then one more of reflections.
  const auto before = one.Field(0), after = other.Field(0);
  EXPECT_NEAR(reference::Action(shape, 1.3, before), reference::Action(shape, 1.3, after), 1e-12);
  double moved = 0;
  for (size_t l = 0; l < before.size(); ++l) moved = std::max(moved, std::abs(before[l] - after[l]));
  EXPECT_GT(moved, 0.5);
}

TEST(U1HeatBath, AChainDoesNotDependOnOthers) {
  const Lattice lattice = Lattice::Create({3, 4}).value();
  U1HeatBath many = U1HeatBath::Create(lattice, 1.3, {.chains = 21, .seed = 2}).value();
  U1HeatBath few = U1HeatBath::Create(lattice, 1.3, {.chains = 2, .first_chain = 13, .seed = 2}).value();
  for (int i = 0; i < 5; ++i) {
    many.Sweep();
    few.Sweep();
  }
  EXPECT_EQ(many.Field(13), few.Field(0));
  EXPECT_EQ(many.Field(14), few.Field(1));
  EXPECT_NE(many.Field(14), many.Field(13));
}

}  // namespace
}  // namespace haarflow
