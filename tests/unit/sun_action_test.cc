// The SU(N) action against plain loops, and the exact solution of the two-dimensional torus: published digits,
// coefficients by quadrature over the group, finite differences, and small lattices by Haar Monte Carlo.
#include <array>
#include <cmath>
#include <complex>
#include <numbers>
#include <random>
#include <vector>

#include "core/action/sun_torus.h"
#include "core/action/sun_wilson.h"
#include "gtest/gtest.h"
#include "tests/reference/sun_reference.h"

namespace haarflow {
namespace {

using std::numbers::pi;

const std::vector<reference::Shape> kShapes = {{2, 2}, {3, 4}, {5, 2}, {2, 3, 4}, {2, 3, 2, 4}};

TEST(SunWilson, ActionAgreesWithTheOracle) {
  std::mt19937_64 random(1);
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    for (const int n : {2, 3}) {
      const auto field = reference::RandomSunField(shape, n, &random);
      const auto numbers = reference::Numbers(field);
      for (const double c1 : {0.0, -1.0 / 12, -0.331, 2.5}) {
        const double expected = reference::SunAction(shape, n, 1.7, c1, field);
        EXPECT_NEAR(SunWilsonActionOf(lattice, n, 1.7, c1, numbers.data()), expected, 1e-11 * (1 + std::abs(expected)));
      }
      const SunLoopSums sums = SunLoopSumsOf(lattice, n, numbers.data(), /*rectangles=*/true);
      EXPECT_NEAR(sums.plaquettes / (n * static_cast<double>(lattice.plaquettes())),
                  reference::SunPlaquette(shape, n, field), 1e-13);
      EXPECT_NEAR(sums.rectangles / (n * static_cast<double>(RectanglesOf(lattice))),
                  reference::SunRectangle(shape, n, field), 1e-13);
    }
  }
}

TEST(SunWilson, TheColdFieldHasTheActionOfAllLoopsOne) {
  for (const int n : {2, 3}) {
    const Lattice lattice = Lattice::Create({2, 3, 4, 2}).value();
    reference::Field cold(lattice.links() * 2 * n * n, 0.0);
    for (int64_t link = 0; link < lattice.links(); ++link) {
      for (int i = 0; i < n; ++i) cold[(link * n * n + i * n + i) * 2] = 1;
    }
    // (1 - 8 c1) + 2 c1 for every plaquette.
    const double plaquettes = static_cast<double>(lattice.plaquettes());
    EXPECT_NEAR(SunWilsonActionOf(lattice, n, 3, -1.0 / 12, cold.data()), -3 * 1.5 * plaquettes, 1e-10);
    EXPECT_NEAR(SunWilsonActionOf(lattice, n, -2, 0, cold.data()), 2 * plaquettes, 1e-10);
  }
}

TEST(SunWilson, TheActionIsGaugeInvariant) {
  std::mt19937_64 random(2);
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    for (const int n : {2, 3}) {
      const auto field = reference::RandomSunField(shape, n, &random);
      const auto moved = reference::Numbers(reference::RandomGauge(shape, n, field, &random));
      const double before = SunWilsonActionOf(lattice, n, 2.1, 0.4, reference::Numbers(field).data());
      EXPECT_NEAR(SunWilsonActionOf(lattice, n, 2.1, 0.4, moved.data()), before, 1e-12 * (1 + std::abs(before)));
    }
  }
}

// shared/exact-values.json, sun_2d_torus (targets.md 1.2), all digits. 8 and 16: the extent.
struct Known {
  int colours;
  double beta, plaquette, per_site, log_z8, log_z16, w2, w4_of_8, w4_of_16;
};
constexpr std::array<Known, 6> kKnown = {{{2, 1.8, 0.39937238005963, 0.38084390863574, 24.374010152687, 97.496040610749,
                                           0.02543970705038, 4.1884026301492e-7, 4.188402630149e-7},
                                          {2, 2.2, 0.46447902527042, 0.55393456372077, 35.451812078129, 141.80724831252,
                                           0.04654407764661, 4.6930773656758e-6, 4.6930773656499e-6},
                                          {2, 2.7, 0.53297073358968, 0.80386256433951, 51.447204117729, 205.78881647092,
                                           0.080688835367423, 4.238906024402e-5, 4.2389060224978e-5},
                                          {3, 4.0, 0.2796191494093, 0.52991840678527, 33.914778034257, 135.65911213703,
                                           0.0061131864396729, 1.3965952619683e-9, 1.3965952619683e-9},
                                          {3, 5.0, 0.35395443670527, 0.84705680541544, 54.211635546588, 216.84654218635,
                                           0.015696016326076, 6.0695677998968e-8, 6.0695677998968e-8},
                                          {3, 6.0, 0.42253173964998, 1.2358900915969, 79.096965862203, 316.38786344881,
                                           0.031874057444848, 1.0321656551878e-6, 1.0321656551877e-6}}};

TEST(SunTorus, HasTheKnownValues) {
  for (const Known& known : kKnown) {
    const SunTorus small = SunTorus::Create(known.colours, 64, known.beta).value();
    const SunTorus large = SunTorus::Create(known.colours, 256, known.beta).value();
    for (const SunTorus* torus : {&small, &large}) {
      EXPECT_NEAR(torus->Plaquette(), known.plaquette, 5e-14) << known.colours << " " << known.beta;
      EXPECT_NEAR(torus->WilsonLoop(1), known.plaquette, 5e-14);
      EXPECT_NEAR(torus->WilsonLoop(4) / known.w2, 1, 1e-12);
      EXPECT_NEAR(torus->WilsonLoop(0), 1, 1e-14);
    }
    EXPECT_NEAR(small.WilsonLoop(16) / known.w4_of_8, 1, 1e-12);
    EXPECT_NEAR(large.WilsonLoop(16) / known.w4_of_16, 1, 1e-12);
    EXPECT_NEAR(small.LogZ() / 64, known.per_site, 1e-13);
    EXPECT_NEAR(small.LogZ() / known.log_z8, 1, 1e-13);
    EXPECT_NEAR(large.LogZ() / known.log_z16, 1, 1e-13);
  }
}

// c_R by the trapezoidal rule over the maximal torus: exact to rounding.
double Su3CoefficientByQuadrature(int p, int q, double beta) {
  constexpr int kPoints = 96;
  const auto character = [&](const std::array<std::complex<double>, 3>& z) {
    // Weyl: a ratio of determinants; both by Leibniz' formula.
    const auto determinant = [&z](int a, int b, int c) {
      const auto power = [](std::complex<double> x, int n) { return std::pow(x, n); };
      return power(z[0], a) * power(z[1], b) * power(z[2], c) - power(z[0], a) * power(z[2], b) * power(z[1], c) -
             power(z[1], a) * power(z[0], b) * power(z[2], c) + power(z[1], a) * power(z[2], b) * power(z[0], c) +
             power(z[2], a) * power(z[0], b) * power(z[1], c) - power(z[2], a) * power(z[1], b) * power(z[0], c);
    };
    return std::pair(determinant(p + q + 2, q + 1, 0), determinant(2, 1, 0));
  };
  std::complex<double> sum = 0;
  double volume = 0;
  for (int i = 0; i < kPoints; ++i) {
    for (int j = 0; j < kPoints; ++j) {
      const double a = 2 * pi * i / kPoints, b = 2 * pi * j / kPoints;
      const std::array<std::complex<double>, 3> z = {std::polar(1.0, a), std::polar(1.0, b), std::polar(1.0, -a - b)};
      const auto [numerator, vandermonde] = character(z);
      // chi^* |Vandermonde|^2 = numerator^* Vandermonde.
      const double weight = std::exp(beta / 3 * (z[0] + z[1] + z[2]).real());
      sum += std::conj(numerator) * vandermonde * weight;
      volume += std::norm(vandermonde);
    }
  }
  return sum.real() / volume / ((p + 1.0) * (q + 1.0) * (p + q + 2.0) / 2);
}

TEST(SunTorus, SmallVolumesAgreeWithSumsOfCoefficientsByQuadrature) {
  for (const double beta : {0.0, 0.5, 3.0, 9.0}) {
    for (const int volume : {4, 6}) {
      double z = 0;
      for (int shell = 0; shell <= 12; ++shell) {
        for (int p = 0; p <= shell; ++p) z += std::pow(Su3CoefficientByQuadrature(p, shell - p, beta), volume);
      }
      EXPECT_NEAR(SunTorus::Create(3, volume, beta)->LogZ(), std::log(z), 1e-12) << beta << " " << volume;
    }
  }
}

TEST(SunTorus, ThePlaquetteIsTheDerivativeOfLogZ) {
  for (const int n : {2, 3}) {
    for (const double beta : {0.3, 2.0, 7.0, 20.0, 150.0, 900.0}) {
      for (const int64_t volume : {int64_t{4}, int64_t{6}, int64_t{64}, int64_t{1} << 20}) {
        // Of log Z / V, in steps of h: fourth order.
        const double h = 0.01 * beta;
        const auto at = [&](double x) { return SunTorus::Create(n, volume, x)->LogZ() / static_cast<double>(volume); };
        const double slope = (8 * (at(beta + h) - at(beta - h)) - at(beta + 2 * h) + at(beta - 2 * h)) / (12 * h);
        EXPECT_NEAR(SunTorus::Create(n, volume, beta)->Plaquette(), slope, 1e-7) << n << " " << beta << " " << volume;
      }
    }
  }
}

TEST(SunTorus, LargeBetaIsGaussian) {
  // log c_0 -> beta + const - (N^2 - 1)/2 log beta: the plaquette is 1 - (N^2 - 1) / (2 beta) + O(1/beta^2).
  for (const int n : {2, 3}) {
    const double plaquette = SunTorus::Create(n, 4096, 1000)->Plaquette();
    EXPECT_NEAR((1 - plaquette) * 1000, (n * n - 1) / 2.0, 0.01) << n;
  }
}

TEST(SunTorus, RefusesWhatItCannotDo) {
  EXPECT_FALSE(SunTorus::Create(4, 16, 1).ok());
  EXPECT_FALSE(SunTorus::Create(1, 16, 1).ok());
  EXPECT_FALSE(SunTorus::Create(3, 0, 1).ok());
  EXPECT_FALSE(SunTorus::Create(3, 16, -1).ok());
  EXPECT_FALSE(SunTorus::Create(2, 16, 1001).ok());
  EXPECT_FALSE(SunTorus::Create(2, 16, std::nan("")).ok());
}

// Links from Haar measure, weights exp(-S): every expectation on a small lattice, finite-size terms and all.
TEST(SunTorus, AgreesWithHaarMonteCarloOnTheSmallestLattices) {
  struct Case {
    reference::Shape shape;
    int n;
    double beta;
  };
  for (const Case& c : {Case{{2, 2}, 2, 1.5}, Case{{2, 2}, 3, 2.5}, Case{{2, 3}, 2, 1.2}}) {
    const Lattice lattice = Lattice::Create(c.shape).value();
    const SunTorus torus = SunTorus::Create(c.n, lattice.volume(), c.beta).value();
    std::mt19937_64 random(20 + c.n);
    // Weight; weight x plaquette; weight x correlator at distances 0, 1; of many fields, in bins.
    constexpr int kBins = 64, kPerBin = 1500;
    std::vector<std::array<double, 4>> bins(kBins);
    for (auto& bin : bins) {
      bin = {};
      for (int i = 0; i < kPerBin; ++i) {
        const auto field = reference::RandomSunField(c.shape, c.n, &random);
        const auto numbers = reference::Numbers(field);
        const double plaquette =
            SunLoopSumsOf(lattice, c.n, numbers.data(), false).plaquettes / static_cast<double>(c.n * lattice.volume());
        const auto loops = SunPolyakovTraces(lattice, c.n, numbers.data(), 1);
        const size_t columns = loops.size() / 2;
        double same = 0, next = 0;
        for (size_t x = 0; x < columns; ++x) {
          const size_t y = (x + 1) % columns;
          same += loops[2 * x] * loops[2 * x] + loops[2 * x + 1] * loops[2 * x + 1];
          next += loops[2 * x] * loops[2 * y] + loops[2 * x + 1] * loops[2 * y + 1];
        }
        const double weight = std::exp(c.beta * plaquette * static_cast<double>(lattice.volume()));
        const double norm = static_cast<double>(columns) * c.n * c.n;
        bin[0] += weight / kPerBin;
        bin[1] += weight * plaquette / kPerBin;
        bin[2] += weight * same / norm / kPerBin;
        bin[3] += weight * next / norm / kPerBin;
      }
    }
    const double z = std::exp(torus.LogZ());
    const double height = static_cast<double>(c.shape[0]);
    const std::array<double, 4> exact = {z, z * torus.Plaquette(), z * torus.PolyakovCorrelator(0),
                                         z * torus.PolyakovCorrelator(static_cast<int64_t>(height))};
    for (int k = 0; k < 4; ++k) {
      double mean = 0, square = 0;
      for (const auto& bin : bins) {
        mean += bin[k] / kBins;
        square += bin[k] * bin[k] / kBins;
      }
      const double error = std::sqrt((square - mean * mean) / (kBins - 1));
      EXPECT_LT(std::abs(mean - exact[k]), 4.5 * error) << c.n << " quantity " << k << ": " << mean << " " << exact[k];
      EXPECT_LT(error, 0.02 * exact[0]);
    }
  }
}

}  // namespace
}  // namespace haarflow
