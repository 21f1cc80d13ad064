// SU(2) and SU(3): round trips, also next to degenerate eigenvalues; Haar moments; the kernels' exponential and Haar
// draws against these.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "core/group/sun_group.h"
#include "core/kernel/cpu/gauge_isa.h"
#include "core/kernel/cpu/loop_isa.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

using Complex = std::complex<double>;
using std::numbers::pi;

template <int N>
double Distance(const GroupMatrix<N>& a, const GroupMatrix<N>& b) {
  double largest = 0;
  for (int i = 0; i < N * N; ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}
template <int N>
double Unitarity(const GroupMatrix<N>& u) {
  return std::max(Distance<N>(Multiply<N>(Adjoint<N>(u), u), Identity<N>()), std::abs(Determinant<N>(u) - 1.0));
}

template <int N>
class GroupTest : public testing::Test {
 protected:
  using Matrix = GroupMatrix<N>;
  using Vector = AlgebraVector<N>;

  Vector Normal(double size) {
    std::normal_distribution<double> normal;
    Vector f;
    for (double& x : f) x = size * normal(random_);
    return f;
  }
  Matrix Random() { return HaarMatrix<N>(5, NoisePurpose::kInitial, next_++, 0); }
  // V diag(exp(i angle)) V^+ with a random V; the last angle makes the determinant 1.
  Matrix WithAngles(std::vector<double> angle) {
    double sum = 0;
    for (const double a : angle) sum += a;
    angle.push_back(-sum);
    Matrix d{};
    for (int i = 0; i < N; ++i) d[N * i + i] = std::polar(1.0, angle[i]);
    const Matrix v = Random();
    return Multiply<N>(Multiply<N>(v, d), Adjoint<N>(v));
  }

  std::mt19937_64 random_{1};
  uint64_t next_ = 0;
};
struct Two : GroupTest<2> {};
struct Three : GroupTest<3> {};

// exp by its series of the halved matrix, squared again.
template <int N>
GroupMatrix<N> ExponentialSeries(const AlgebraVector<N>& f) {
  GroupMatrix<N> x = AlgebraMatrix<N>(f), sum = Identity<N>(), power = Identity<N>();
  for (Complex& z : x) z /= 64;
  for (int k = 1; k < 20; ++k) {
    power = Multiply<N>(power, x);
    for (int i = 0; i < N * N; ++i) {
      power[i] /= k;
      sum[i] += power[i];
    }
  }
  for (int i = 0; i < 6; ++i) sum = Multiply<N>(sum, sum);
  return sum;
}

template <int N>
void CheckAlgebra(const AlgebraVector<N>& f) {
  const GroupMatrix<N> m = AlgebraMatrix<N>(f);
  EXPECT_LT(std::abs(Trace<N>(m)), 1e-15);
  const AlgebraVector<N> back = AlgebraComponents<N>(m);
  double square = 0;
  for (size_t a = 0; a < f.size(); ++a) {
    EXPECT_NEAR(back[a], f[a], 1e-15);
    square += f[a] * f[a];
  }
  // tr F F = -sum F^a F^a / 2.
  EXPECT_NEAR(Trace<N>(Multiply<N>(m, m)).real(), -square / 2, 1e-13);
  for (int i = 0; i < N; ++i) {
    for (int j = 0; j < N; ++j) EXPECT_LT(std::abs(m[N * i + j] + std::conj(m[N * j + i])), 1e-15);
  }
}

TEST_F(Two, AlgebraMatricesAndComponents) { CheckAlgebra<2>(Normal(1)); }
TEST_F(Three, AlgebraMatricesAndComponents) { CheckAlgebra<3>(Normal(1)); }

TEST_F(Two, ExponentialAgreesWithItsSeries) {
  for (const double size : {1e-9, 1e-3, 1.0, 4.0}) {
    const auto f = Normal(size);
    EXPECT_LT(Distance<2>(Exponential<2>(f), ExponentialSeries<2>(f)), 1e-13);
    EXPECT_LT(Unitarity<2>(Exponential<2>(f)), 1e-14);
  }
}
TEST_F(Three, ExponentialAgreesWithItsSeries) {
  for (const double size : {1e-9, 1e-3, 1.0, 4.0}) {
    const auto f = Normal(size);
    EXPECT_LT(Distance<3>(Exponential<3>(f), ExponentialSeries<3>(f)), 1e-13);
    EXPECT_LT(Unitarity<3>(Exponential<3>(f)), 1e-14);
  }
}

template <int N>
void CheckEigen(const GroupMatrix<N>& u, const std::string& what) {
  const EigenSystem<N> system = Eigen<N>(u);
  EXPECT_LT(Distance<N>(Multiply<N>(Adjoint<N>(system.vectors), system.vectors), Identity<N>()), 1e-14) << what;
  double sum = 0;
  GroupMatrix<N> d{};
  for (int i = 0; i < N; ++i) {
    sum += system.angle[i];
    d[N * i + i] = std::polar(1.0, system.angle[i]);
    if (i > 0) {
      EXPECT_LE(system.angle[i], system.angle[i - 1]) << what;
    }
  }
  EXPECT_LT(std::abs(sum), 1e-14) << what;
  EXPECT_LE(system.angle.front() - system.angle.back(), 2 * pi + 1e-14) << what;
  const auto rebuilt = Multiply<N>(Multiply<N>(system.vectors, d), Adjoint<N>(system.vectors));
  EXPECT_LT(Distance<N>(rebuilt, u), 5e-15) << what;
  EXPECT_LT(Distance<N>(Exponential<N>(Logarithm<N>(u)), u), 1e-13) << what;
}

TEST_F(Two, EigenvectorsAndLogarithmEverywhere) {
  for (int i = 0; i < 200; ++i) CheckEigen<2>(Random(), "Haar");
  for (double split = 1; split > 1e-17; split /= 7) {
    CheckEigen<2>(WithAngles({split}), "near 1: " + std::to_string(split));
    CheckEigen<2>(WithAngles({pi - split}), "near -1: " + std::to_string(split));
  }
  CheckEigen<2>(Identity<2>(), "1");
}

TEST_F(Three, EigenvectorsAndLogarithmEverywhere) {
  for (int i = 0; i < 500; ++i) CheckEigen<3>(Random(), "Haar");
  for (double split = 1; split > 1e-17; split /= 7) {
    const std::string text = std::to_string(split);
    CheckEigen<3>(WithAngles({split, 2 * split}), "near 1: " + text);
    CheckEigen<3>(WithAngles({0.7, 0.7 + split}), "two alike: " + text);
    CheckEigen<3>(WithAngles({0.7, 0.7 + split * split}), "two alike: " + text);
    CheckEigen<3>(WithAngles({pi, pi - split}), "two alike at -1: " + text);
    CheckEigen<3>(WithAngles({2 * pi / 3 + split, 2 * pi / 3 - 3 * split}), "near the centre: " + text);
    // Angles a and -a, whose cosines coincide.
    CheckEigen<3>(WithAngles({1.1, -1.1 + split}), "conjugate pair: " + text);
    CheckEigen<3>(WithAngles({pi / 2 + split, -pi / 6}), "mirror images: " + text);
  }
  CheckEigen<3>(Identity<3>(), "1");
  GroupMatrix<3> centre = Identity<3>();
  for (Complex& z : centre) z *= std::polar(1.0, 2 * pi / 3);
  CheckEigen<3>(centre, "centre");
}

// The logarithm is the F that was exponentiated, as long as its eigenvalues are in the cell.
TEST_F(Two, LogarithmInvertsTheExponential) {
  for (const double size : {1e-12, 1e-6, 1e-3, 0.5}) {
    const auto f = Normal(size), back = Logarithm<2>(Exponential<2>(f));
    for (size_t a = 0; a < f.size(); ++a) EXPECT_NEAR(back[a], f[a], 1e-14);
  }
}
TEST_F(Three, LogarithmInvertsTheExponential) {
  for (const double size : {1e-12, 1e-6, 1e-3, 0.5}) {
    const auto f = Normal(size), back = Logarithm<3>(Exponential<3>(f));
    for (size_t a = 0; a < f.size(); ++a) EXPECT_NEAR(back[a], f[a], 1e-14);
  }
}

template <int N, class Next>
void CheckProjection(const Next& next, std::mt19937_64* random) {
  std::normal_distribution<double> normal;
  for (const double noise : {0.0, 1e-12, 1e-3, 0.05}) {
    const GroupMatrix<N> u = next();
    GroupMatrix<N> m = u;
    for (Complex& z : m) z += noise * Complex(normal(*random), normal(*random));
    const GroupMatrix<N> p = Project<N>(m);
    EXPECT_LT(Unitarity<N>(p), 1e-14);
    EXPECT_LT(Distance<N>(p, u), 1e-14 + 10 * noise);
    // Hermitian factors, of either side, are projected away; the projection of w m is w times that of m.
    const GroupMatrix<N> w = next();
    EXPECT_LT(Distance<N>(Project<N>(Multiply<N>(w, m)), Multiply<N>(w, p)), 1e-14);
    GroupMatrix<N> h = m;
    for (int i = 0; i < N * N; ++i) h[i] = (i % (N + 1) == 0 ? 1.0 : 0.0) + 0.1 * (m[i] + Adjoint<N>(m)[i]);
    EXPECT_LT(Distance<N>(Project<N>(Multiply<N>(u, h)), u), 1e-14);
  }
}
TEST_F(Two, ProjectionIsCovariantAndUnitary) {
  CheckProjection<2>([this] { return Random(); }, &random_);
}
TEST_F(Three, ProjectionIsCovariantAndUnitary) {
  CheckProjection<3>([this] { return Random(); }, &random_);
}

struct Mean {
  double sum = 0, square = 0;
  int n = 0;
  void Add(double x) {
    sum += x;
    square += x * x;
    ++n;
  }
  void Expect(double value) const {
    const double mean = sum / n, error = std::sqrt((square / n - mean * mean) / n);
    EXPECT_LT(std::abs(mean - value), 4 * error) << mean << " +- " << error;
  }
};

template <int N>
void CheckHaar() {
  Mean re, modulus, cube, fourth, left;
  const GroupMatrix<N> fixed = HaarMatrix<N>(7, NoisePurpose::kInitial, 1, 3);
  for (uint64_t i = 0; i < 40000; ++i) {
    const GroupMatrix<N> u = HaarMatrix<N>(8, NoisePurpose::kPrior, i / 4, static_cast<uint32_t>(i % 4));
    if (i < 100) {
      EXPECT_LT(Unitarity<N>(u), 2e-15);
    }
    const Complex t = Trace<N>(u);
    re.Add(t.real());
    modulus.Add(std::norm(t));
    cube.Add((t * t * t).real());
    fourth.Add(std::norm(t) * std::norm(t));
    const Complex s = Trace<N>(Multiply<N>(fixed, u));
    left.Add(std::norm(s) * std::norm(s));
  }
  // The number of singlets in the products of fundamental representations.
  re.Expect(0);
  modulus.Expect(1);
  cube.Expect(N == 3 ? 1 : 0);
  fourth.Expect(2);
  left.Expect(2);
}
TEST_F(Two, HaarMoments) { CheckHaar<2>(); }
TEST_F(Three, HaarMoments) { CheckHaar<3>(); }

// A matrix of the kernels: rows of 8 lanes.
template <int N>
GroupMatrix<N> FromLanes(const double* rows, int lane) {
  const auto at = [&](int r) { return rows[r * kernel::kGaugeLanes + lane]; };
  GroupMatrix<N> m;
  if constexpr (N == 2) {
    m = {Complex(at(0), at(3)), Complex(at(2), at(1)), Complex(-at(2), at(1)), Complex(at(0), -at(3))};
  } else {
    for (int i = 0; i < 9; ++i) m[i] = {at(2 * i), at(2 * i + 1)};
  }
  return m;
}

template <int N>
void CheckKernels(const std::string& isa, std::mt19937_64* random) {
  const kernel::GaugeKernels* gauge = kernel::GaugeKernelsFor(isa.c_str());
  if (gauge == nullptr) return;  // this machine lacks it
  constexpr int kLanes = kernel::kGaugeLanes, kNumbers = N == 2 ? 4 : 18, kDim = N * N - 1, kLinks = 3;
  alignas(64) double links[kLinks * kNumbers * kLanes];
  alignas(64) double momenta[kLinks * kDim * kLanes];
  alignas(64) double largest[kLanes] = {};
  uint64_t seed[kLanes], index[kLanes];
  std::normal_distribution<double> normal;
  for (int c = 0; c < kLanes; ++c) {
    seed[c] = 11 + c;
    index[c] = (uint64_t{1} << 33) + 5 * c;
  }
  hf_loop_flow flow = {};
  flow.colours = N;
  flow.links = kLinks;
  kernel::LoopKernelsFor(isa.c_str())
      ->haar_tile(flow, static_cast<uint32_t>(NoisePurpose::kInitial), seed, index, links);
  // |step P| up to 4.
  for (double& p : momenta) p = normal(*random);
  for (int c = 0; c < kLanes; ++c) {
    double square = 0;
    for (int a = 0; a < kDim; ++a) square += momenta[a * kLanes + c] * momenta[a * kLanes + c];
    if (c % 2 == 0) {
      for (int a = 0; a < kDim; ++a) momenta[a * kLanes + c] *= 4 / (0.7 * std::sqrt(square));
    }
  }
  GroupMatrix<N> before[kLinks][kLanes];
  for (uint32_t l = 0; l < kLinks; ++l) {
    for (int c = 0; c < kLanes; ++c) {
      before[l][c] = FromLanes<N>(links + l * kNumbers * kLanes, c);
      EXPECT_LT(Distance<N>(before[l][c], HaarMatrix<N>(seed[c], NoisePurpose::kInitial, index[c], l)), 1e-14) << isa;
    }
  }
  gauge->drift(N, kLinks, 0.7, momenta, links, largest);
  for (int l = 0; l < kLinks; ++l) {
    for (int c = 0; c < kLanes; ++c) {
      AlgebraVector<N> f;
      for (int a = 0; a < kDim; ++a) f[a] = 0.7 * momenta[(l * kDim + a) * kLanes + c];
      const auto expected = Multiply<N>(Exponential<N>(f), before[l][c]);
      EXPECT_LT(Distance<N>(FromLanes<N>(links + l * kNumbers * kLanes, c), expected), 2e-14) << isa;
    }
  }
  EXPECT_GT(*std::max_element(largest, largest + kLanes), 15.9);
  // Off by rounding and more: back to the group, near what it was.
  for (double& x : links) x += 1e-9 * normal(*random);
  gauge->reunitarise(N, kLinks, links);
  for (int c = 0; c < kLanes; ++c) EXPECT_LT(Unitarity<N>(FromLanes<N>(links, c)), 2e-15) << isa;
}
TEST_F(Two, KernelsAgree) {
  for (const char* isa : {"baseline", "avx2", "avx512"}) CheckKernels<2>(isa, &random_);
}
TEST_F(Three, KernelsAgree) {
  for (const char* isa : {"baseline", "avx2", "avx512"}) CheckKernels<3>(isa, &random_);
}

}  // namespace
}  // namespace haarflow
