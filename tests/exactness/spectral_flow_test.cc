// Spectral coupling layers of SU(N) links: the log-Jacobian against the full Jacobian by differences, also near
// degenerate eigenvalues; the inverse, symmetries.
#include "tests/exactness/spectral_flow.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <vector>

#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "tests/reference/determinant.h"
#include "tests/reference/spectral_specs.h"

namespace haarflow {
namespace {

using kernel::kTile;
using testing::Distance;
using testing::Fields;
using testing::LinkField;
using testing::PerField;
using testing::Single;
using testing::SpectralFlow;
using testing::SpectralOptions;
using testing::SpectralSpec;
using testing::Wilson;

using testing::kSquare;
using testing::LogDeterminant;

// log |det| of the map at `field` in the links' algebra coordinates, exp(w T) U, by fourth-order differences.
template <int N>
double FullLogDeterminant(SpectralFlow<N>* flow, const LinkField<N>& field, double step) {
  constexpr int kDim = N * N - 1;
  const size_t size = field.size() * kDim;
  std::vector<std::vector<double>> jacobian(size, std::vector<double>(size));
  PerField unused;
  Fields<N> fields;
  fields.fill(field);
  const LinkField<N> centre = flow->Map(fields, false, &unused)[0];
  static constexpr double kPlace[4] = {-2, -1, 1, 2}, kWeight[4] = {1.0 / 12, -2.0 / 3, 2.0 / 3, -1.0 / 12};
  for (size_t first = 0; first < size; first += 4) {
    fields.fill(field);
    for (size_t i = 0; i < kTile; ++i) {
      const size_t column = first + i / 4;
      if (column >= size) break;
      AlgebraVector<N> w{};
      w[column % kDim] = step * kPlace[i % 4];
      GroupMatrix<N>& u = fields[i][column / kDim];
      u = Multiply<N>(Exponential<N>(w), u);
    }
    const Fields<N> image = flow->Map(fields, false, &unused);
    for (size_t i = 0; i < kTile && first + i / 4 < size; ++i) {
      for (size_t l = 0; l < field.size(); ++l) {
        const auto moved = Logarithm<N>(Multiply<N>(image[i][l], Adjoint<N>(centre[l])));
        for (int a = 0; a < kDim; ++a) jacobian[l * kDim + a][first + i / 4] += kWeight[i % 4] / step * moved[a];
      }
    }
  }
  return LogDeterminant(std::move(jacobian));
}

template <class T>
class Spectral : public ::testing::Test {
 public:
  static constexpr int N = T::value;
};
using Colours = ::testing::Types<std::integral_constant<int, 2>, std::integral_constant<int, 3>>;
TYPED_TEST_SUITE(Spectral, Colours);

TYPED_TEST(Spectral, LogJacobianIsThatOfTheFullJacobian) {
  constexpr int N = TestFixture::N;
  for (const double power : {0.0, 0.5, 0.8}) {
    for (const int layers : {1, 3}) {
      SpectralOptions options;
      options.layers = layers;
      options.towards_mirror = power;
      SpectralFlow<N> flow(SpectralSpec(N, kSquare, Wilson(N), options));
      const Fields<N> fields = flow.Haar(17 + layers);
      PerField log_det;
      flow.Map(fields, false, &log_det);
      const double full = FullLogDeterminant<N>(&flow, fields[0], 2e-5);
      EXPECT_NEAR(log_det[0], full, 2e-7) << "power " << power << ", " << layers << " layers";
      EXPECT_GT(std::abs(full), 0.1);
    }
  }
}

TYPED_TEST(Spectral, LogJacobianOfASingleMatrix) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.layers = 2;
  SpectralFlow<N> flow(SpectralSpec(N, "", Single(N), options));
  const Fields<N> fields = flow.Haar(5);
  PerField log_det;
  flow.Map(fields, false, &log_det);
  for (int i = 0; i < kTile; ++i) {
    EXPECT_NEAR(log_det[i], FullLogDeterminant<N>(&flow, fields[i], 1e-5), 1e-7) << i;
  }
}

// Two eigenvalues of the active matrix `gap` apart; three for SU(3) near the cell's corners.
template <int N>
std::vector<GroupMatrix<N>> NearlyDegenerate(double gap) {
  std::vector<std::array<double, N>> angles;
  if constexpr (N == 2) {
    angles = {{gap / 2, -gap / 2}, {M_PI - gap / 2, gap / 2 - M_PI}};
  } else {
    const double third = 2 * M_PI / 3;
    angles = {{1 + gap / 2, 1 - gap / 2, -2},
              {2, -1 + gap / 2, -1 - gap / 2},
              {M_PI - gap / 2 - 0.2, 0.4, -M_PI + gap / 2 - 0.2},
              {gap, 0.3 * gap, -1.3 * gap},
              {third + gap, third - 0.4 * gap, -2 * third - 0.6 * gap}};
  }
  std::vector<GroupMatrix<N>> all;
  for (size_t k = 0; k < angles.size(); ++k) {
    const GroupMatrix<N> v = HaarMatrix<N>(99, NoisePurpose::kInitial, k, 0);
    GroupMatrix<N> scaled = v;
    for (int i = 0; i < N * N; ++i) scaled[i] *= std::polar(1.0, angles[k][i % N]);
    all.push_back(Multiply<N>(scaled, Adjoint<N>(v)));
  }
  return all;
}

TYPED_TEST(Spectral, NearlyDegenerateEigenvaluesAreNoException) {
  constexpr int N = TestFixture::N;
  SpectralFlow<N> flow(SpectralSpec(N, "", Single(N)));
  Fields<N> fields = flow.Haar(1), nearer = fields;
  PerField log_det, limit;
  for (const double gap : {1e-2, 1e-4}) {
    const auto matrices = NearlyDegenerate<N>(gap);
    for (size_t k = 0; k < matrices.size(); ++k) fields[k][0] = matrices[k];
    flow.Map(fields, false, &log_det);
    for (size_t k = 0; k < matrices.size(); ++k) {
      EXPECT_NEAR(log_det[k], FullLogDeterminant<N>(&flow, fields[k], gap / 50), gap < 1e-3 ? 3e-5 : 1e-5)
          << "gap " << gap << ", case " << k;
    }
  }
  // Continuous down to exact degeneracy, and invertible. In a corner of the cell the limit depends on the direction.
  for (const double gap : {1e-8, 1e-11, 0.0}) {
    const auto matrices = NearlyDegenerate<N>(gap);
    for (size_t k = 0; k < matrices.size(); ++k) nearer[k][0] = matrices[k];
    PerField back;
    const Fields<N> image = flow.Map(nearer, false, &limit);
    EXPECT_LT(Distance<N>(flow.Map(image, true, &back), nearer), 1e-10) << gap;
    for (size_t k = 0; k < matrices.size(); ++k) {
      EXPECT_TRUE(std::isfinite(limit[k])) << gap << " " << k;
      if (k > 2 && gap != 1e-8) continue;
      EXPECT_NEAR(limit[k], log_det[k], gap == 0 ? 0.05 : 5e-3) << gap << " " << k;
    }
  }
}

TYPED_TEST(Spectral, InverseGivesTheFieldBack) {
  constexpr int N = TestFixture::N;
  for (const double power : {0.0, 0.5}) {
    SpectralOptions options;
    options.layers = 4;
    options.towards_mirror = power;
    SpectralFlow<N> flow(SpectralSpec(N, kSquare, Wilson(N), options));
    const Fields<N> fields = flow.Haar(23);
    PerField there, back;
    const Fields<N> image = flow.Map(fields, false, &there);
    EXPECT_LT(Distance<N>(flow.Map(image, true, &back), fields), 1e-11);
    EXPECT_LT(Distance(there, back, -1), 1e-9);
    EXPECT_GT(Distance<N>(image, fields), 0.1);
    double residual = 0;
    for (const auto& field : image) {
      for (const auto& u : field) {
        residual = std::max(residual, Distance<N>(Multiply<N>(u, Adjoint<N>(u)), Identity<N>()));
        residual = std::max(residual, std::abs(Determinant<N>(u) - 1.0));
      }
    }
    EXPECT_LT(residual, 1e-13);
  }
}

TYPED_TEST(Spectral, CommutesWithGaugeTransformations) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.layers = 2;
  options.towards_mirror = 0.5;
  SpectralFlow<N> flow(SpectralSpec(N, kSquare, Wilson(N), options));
  const Lattice& lattice = flow.plan().lattice;
  const auto transform = [&](Fields<N> fields) {
    for (int i = 0; i < kTile; ++i) {
      const auto g = [&](int64_t site) {
        return HaarMatrix<N>(7, NoisePurpose::kInitial, static_cast<uint64_t>(i), static_cast<uint32_t>(site));
      };
      for (int mu = 0; mu < 2; ++mu) {
        for (int64_t x = 0; x < lattice.volume(); ++x) {
          GroupMatrix<N>& u = fields[i][lattice.Link(mu, x)];
          u = Multiply<N>(g(x), Multiply<N>(u, Adjoint<N>(g(lattice.Shift(x, mu, 1)))));
        }
      }
    }
    return fields;
  };
  const Fields<N> fields = flow.Haar(31);
  PerField before, after;
  const Fields<N> image = flow.Map(fields, false, &before);
  EXPECT_LT(Distance<N>(flow.Map(transform(fields), false, &after), transform(image)), 1e-12);
  EXPECT_LT(Distance(before, after), 1e-11);
}

// Conjugation by permutations, which exchange eigenvalues on the diagonal, and the centre's cyclic group.
TYPED_TEST(Spectral, IsEquivariantUnderPermutationsOfEigenvalues) {
  constexpr int N = TestFixture::N;
  SpectralFlow<N> flow(SpectralSpec(N, "", Single(N)));
  Fields<N> fields = flow.Haar(2);
  const std::array<double, 3> angle = {1.1, -0.4, -0.7};
  std::array<int, 3> order = {0, 1, 2};
  int used = 0;
  do {
    GroupMatrix<N> u{};
    for (int i = 0; i < N; ++i) u[i * N + i] = std::polar(1.0, N == 2 ? (order[i] == 0 ? 1.1 : -1.1) : angle[order[i]]);
    fields[used++][0] = u;
  } while (std::next_permutation(order.begin(), order.begin() + N));
  PerField log_det;
  const Fields<N> image = flow.Map(fields, false, &log_det);
  std::array<int, 3> again = {0, 1, 2};
  int k = 0;
  do {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < N; ++j) {
        const std::complex<double> expected = i == j ? image[0][0][again[i] * N + again[i]] : 0.0;
        EXPECT_LT(std::abs(image[k][0][i * N + j] - expected), 1e-13);
      }
    }
    EXPECT_NEAR(log_det[k], log_det[0], 1e-12);
    ++k;
  } while (std::next_permutation(again.begin(), again.begin() + N));
}

TYPED_TEST(Spectral, CommutesWithTranslationsByTheMasksPeriod) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.layers = 2;
  options.towards_mirror = 0.5;
  SpectralFlow<N> flow(SpectralSpec(N, "shape: [8, 8]", Wilson(N), options));
  const Lattice& lattice = flow.plan().lattice;
  // Both masks are invariant under (2, 2) and (4, 0), (0, 4).
  const auto move = [&](const Fields<N>& fields, int64_t dx, int64_t dy) {
    Fields<N> moved = fields;
    for (int i = 0; i < kTile; ++i) {
      for (int mu = 0; mu < 2; ++mu) {
        for (int64_t x = 0; x < lattice.volume(); ++x) {
          moved[i][lattice.Link(mu, lattice.Shift(lattice.Shift(x, 0, dx), 1, dy))] = fields[i][lattice.Link(mu, x)];
        }
      }
    }
    return moved;
  };
  const Fields<N> fields = flow.Haar(37);
  PerField before, after;
  const Fields<N> image = flow.Map(fields, false, &before);
  EXPECT_LT(Distance<N>(flow.Map(move(fields, 4, 4), false, &after), move(image, 4, 4)), 1e-13);
  EXPECT_LT(Distance(before, after), 1e-11);
  EXPECT_GT(Distance<N>(flow.Map(move(fields, 1, 0), false, &after), move(image, 1, 0)), 0.1);
}

// Every conjugation of SU(2) is a gauge transformation times a constant one.
TEST(SpectralSu2, CommutesWithChargeConjugation) {
  SpectralOptions options;
  options.layers = 2;
  SpectralFlow<2> flow(SpectralSpec(2, kSquare, Wilson(2), options));
  const auto conjugate = [](Fields<2> fields) {
    for (auto& field : fields) {
      for (auto& u : field) {
        for (auto& z : u) z = std::conj(z);
      }
    }
    return fields;
  };
  const Fields<2> fields = flow.Haar(41);
  PerField before, after;
  const Fields<2> image = flow.Map(fields, false, &before);
  EXPECT_LT(Distance<2>(flow.Map(conjugate(fields), false, &after), conjugate(image)), 1e-12);
  EXPECT_LT(Distance(before, after), 1e-11);
}

TYPED_TEST(Spectral, InstructionSetsAgree) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.towards_mirror = 0.5;
  options.layers = 2;
  const std::string text = SpectralSpec(N, kSquare, Wilson(N), options);
  SpectralFlow<N> reference(text, 1.5, "baseline");
  const Fields<N> fields = reference.Haar(43);
  PerField expected, log_det;
  const Fields<N> image = reference.Map(fields, false, &expected);
  for (const char* isa : {"avx2", "avx512"}) {
    if (kernel::SpectralKernelsFor(isa) == nullptr) continue;
    SpectralFlow<N> flow(text, 1.5, isa);
    EXPECT_LT(Distance<N>(flow.Map(fields, false, &log_det), image), 1e-11) << isa;
    EXPECT_LT(Distance(log_det, expected), 1e-10) << isa;
  }
}

TYPED_TEST(Spectral, ProposalsDependOnTheirNamesAlone) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.layers = 2;
  options.precision = "PRECISION_FLOAT32";
  for (const std::string& text :
       {SpectralSpec(N, kSquare, Wilson(N), options), SpectralSpec(N, "", Single(N), options)}) {
    const auto spec = *ParseSpec(text);
    const SpectralFlowPlan plan = *PlanSpectralFlow(spec);
    TensorMap weights;
    const auto values = plan.InitialValues(3);
    for (const ParameterBlock& block : plan.layout.blocks()) {
      weights[block.name] =
          Tensor::FromDoubles(Tensor::Type::kFloat32, block.shape,
                              {values.begin() + block.offset, values.begin() + block.offset + block.size});
    }
    const auto model = *Model::Create(spec, weights, CpuKernels(), 0);
    std::vector<uint64_t> seed(37, 5), index(37);
    for (size_t i = 0; i < index.size(); ++i) index[i] = 3 * i + 1;
    Proposals all, one;
    ASSERT_TRUE(model->Draw(spec.target(), seed, index, &all).ok());
    for (const size_t i : {0, 15, 16, 36}) {
      ASSERT_TRUE(model->Draw(spec.target(), {seed.data(), 1}, {&index[i], 1}, &one).ok());
      EXPECT_EQ(one.log_q[0], all.log_q[i]);
      EXPECT_EQ(one.action[0], all.action[i]);
      for (int64_t k = 0; k < one.field_size; ++k) ASSERT_EQ(one.field[k], all.field[i * all.field_size + k]);
    }
    // And the density of what was drawn.
    Proposals given = all;
    ASSERT_TRUE(model->Density(spec.target(), &given).ok());
    for (int64_t i = 0; i < all.n; ++i) {
      EXPECT_NEAR(given.log_q[i], all.log_q[i], 1e-4);  // float32 networks see rounded features
      EXPECT_NEAR(given.action[i], all.action[i], 1e-12);
    }
  }
}

}  // namespace
}  // namespace haarflow
