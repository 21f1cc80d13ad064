// What a spectral coupling layer does, against plain code written from model.proto: the map of a matrix, from an
// independent decomposition, and what is mapped.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <vector>

#include "tests/exactness/spectral_flow.h"
#include "tests/reference/spectral_specs.h"

namespace haarflow {
namespace {

using kernel::kTile;
using testing::Distance;
using testing::Fields;
using testing::kSquare;
using testing::PerField;
using testing::Single;
using testing::SpectralFlow;
using testing::SpectralOptions;
using testing::SpectralSpec;
using testing::Wilson;

template <class T>
class SpectralReference : public ::testing::Test {
 public:
  static constexpr int N = T::value;
};
using Colours = ::testing::Types<std::integral_constant<int, 2>, std::integral_constant<int, 3>>;
TYPED_TEST_SUITE(SpectralReference, Colours);

// The rational-quadratic spline of [0, 1] (arXiv:1906.04032, equations 4 to 8), written out; p: widths, heights,
// derivatives.
double PlainSpline(int bins, const double* p, double x) {
  std::vector<double> w(bins), h(bins);
  double sum_w = 0, sum_h = 0;
  for (int j = 0; j < bins; ++j) {
    sum_w += w[j] = std::exp(p[j]);
    sum_h += h[j] = std::exp(p[bins + j]);
  }
  double x0 = 0, y0 = 0;
  for (int j = 0; j < bins; ++j) {
    const double width = 1e-3 + (1 - bins * 1e-3) * w[j] / sum_w, height = 1e-3 + (1 - bins * 1e-3) * h[j] / sum_h;
    if (x <= x0 + width || j + 1 == bins) {
      const double xi = (x - x0) / width, s = height / width;
      const double d0 = std::exp(p[2 * bins + j]), d1 = std::exp(p[2 * bins + j + 1]);
      return y0 + height * (s * xi * xi + d0 * xi * (1 - xi)) / (s + (d0 + d1 - 2 * s) * xi * (1 - xi));
    }
    x0 += width;
    y0 += height;
  }
  return 1;
}

// The map as model.proto describes it, from an independent decomposition.
template <int N>
GroupMatrix<N> PlainMap(const v1::SpectralMap& map, const std::vector<double>& p, const GroupMatrix<N>& u) {
  EigenSystem<N> x = Eigen<N>(u);
  const int bins = static_cast<int>(map.bins());
  if constexpr (N == 2) {
    const double s = PlainSpline(bins, p.data(), x.angle[0] / M_PI);
    x.angle = {M_PI * s, -M_PI * s};
  } else {
    const double s = PlainSpline(bins, p.data(), (x.angle[0] - x.angle[2]) / (2 * M_PI));
    const int count = static_cast<int>(3 * map.ratio_bins() + 1), last = static_cast<int>(map.ratio_nodes()) - 1;
    const int node = std::min(static_cast<int>(s * last), last - 1);
    std::vector<double> q(count);
    for (int j = 0; j < count; ++j) {
      const double *low = p.data() + 3 * bins + 1 + node * count + j, *high = low + count;
      q[j] = *low + (s * last - node) * (*high - *low);
    }
    const double v = PlainSpline(static_cast<int>(map.ratio_bins()), q.data(),
                                 (x.angle[0] - x.angle[1]) / (x.angle[0] - x.angle[2]));
    const double first = 2 * M_PI * s * v, second = 2 * M_PI * s * (1 - v);
    x.angle = {(2 * first + second) / 3, (second - first) / 3, -(first + 2 * second) / 3};
  }
  GroupMatrix<N> scaled = x.vectors;
  for (int i = 0; i < N * N; ++i) scaled[i] *= std::polar(1.0, x.angle[i % N]);
  return Multiply<N>(scaled, Adjoint<N>(x.vectors));
}

TYPED_TEST(SpectralReference, MapsAsDescribed) {
  constexpr int N = TestFixture::N;
  SpectralFlow<N> flow("name: \"a\" spec_version: 1 target { " + Single(N) +
                       " } prior { uniform {} } layers { spectral_coupling_stack { layers: 1 network { kernel: 1 "
                       "precision: PRECISION_FLOAT64 initialisation: INITIALISATION_FAN_IN } " +
                       testing::SpectralMapText(N) + " } }");
  // A linear network of the constant 1: parameters are the first row of weights plus the bias.
  const auto& blocks = flow.plan().layout.blocks();
  std::vector<double> p(blocks[1].size);
  for (size_t j = 0; j < p.size(); ++j) p[j] = flow.parameters()[j] + flow.parameters()[blocks[1].offset + j];
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Fields<N> fields = flow.Haar(seed);
    PerField log_det;
    const Fields<N> image = flow.Map(fields, false, &log_det);
    for (int i = 0; i < kTile; ++i) {
      const auto& map = flow.spec().layers(0).spectral_coupling_stack().map();
      EXPECT_LT(Distance<N>(image[i][0], PlainMap<N>(map, p, fields[i][0])), 1e-12);
    }
  }
}

// What is transformed: U times the way back, on the way from the loop to its mirror image. The network's parameters
// are constants here.
TYPED_TEST(SpectralReference, MovesTheActiveLoopAsDescribed) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.features = "";
  options.kernels = "1, 1";
  options.towards_mirror = 0.3;
  SpectralFlow<N> flow(SpectralSpec(N, kSquare, Wilson(N), options));
  SpectralFlow<N> single(SpectralSpec(N, "", Single(N)));
  single.SetParameters(flow.parameters());  // the same network, of the same constant
  const Lattice& lattice = flow.plan().lattice;
  const Fields<N> fields = flow.Haar(3);
  PerField log_det, alone;
  const Fields<N> image = flow.Map(fields, false, &log_det);
  PerField sum{};
  for (const int32_t link : flow.plan().layers[0].active_links) {
    const int64_t x = link;  // direction 0
    const int64_t right = lattice.Shift(x, 0, 1), up = lattice.Shift(x, 1, 1), down = lattice.Shift(x, 1, -1);
    Fields<N> loop;
    std::vector<GroupMatrix<N>> way(kTile);
    for (int i = 0; i < kTile; ++i) {
      const auto& f = fields[i];
      const auto at = [&](int mu, int64_t site) { return f[lattice.Link(mu, site)]; };
      const auto above = Multiply<N>(at(1, right), Multiply<N>(Adjoint<N>(at(0, up)), Adjoint<N>(at(1, x))));
      const auto below = Multiply<N>(Adjoint<N>(at(1, lattice.Shift(right, 1, -1))),
                                     Multiply<N>(Adjoint<N>(at(0, down)), at(1, down)));
      AlgebraVector<N> w = Logarithm<N>(Multiply<N>(Adjoint<N>(above), below));
      for (double& component : w) component *= 0.3;
      way[i] = Multiply<N>(above, Exponential<N>(w));
      loop[i] = {Multiply<N>(f[link], way[i])};
    }
    const Fields<N> mapped = single.Map(loop, false, &alone);
    for (int i = 0; i < kTile; ++i) {
      EXPECT_LT(Distance<N>(image[i][link], Multiply<N>(mapped[i][0], Adjoint<N>(way[i]))), 1e-11);
      sum[i] += alone[i];
    }
  }
  EXPECT_LT(Distance(sum, log_det), 1e-9);
}

}  // namespace
}  // namespace haarflow
