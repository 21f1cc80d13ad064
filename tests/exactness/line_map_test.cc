// Maps of the line against a plain-loop reference whose derivatives come from complex steps: values, both ways,
// derivatives, gradients, symmetries, and what happens at the ends of a spline's range.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <string>
#include <vector>

#include "core/base/noise.h"
#include "core/kernel/cpu/scalar_isa.h"
#include "core/kernel/cuda/scalar_math.h"
#include "tests/reference/scalar_coupling_reference.h"

// After scalar_math.h: templates over what it defines.
#include "core/kernel/line_map.h"

namespace haarflow {
namespace {

using reference::LineMap;
using Complex = std::complex<double>;
constexpr double kStep = 1e-100;  // imaginary: the derivative is the imaginary part over it

const std::vector<LineMap>& Maps() {
  static const std::vector<LineMap> maps = {{LineMap::kAffine, 0, 0},
                                            {LineMap::kAffineTanh, 0, 0},
                                            {LineMap::kSpline, 2, 1.5},
                                            {LineMap::kSpline, 8, 3},
                                            {LineMap::kSpline, 33, 20}};
  return maps;
}

double Gaussian(uint64_t index, uint32_t dof) { return NormalNoise(3, NoisePurpose::kInitial, index, dof); }

// n maps of one kind at one point each, inside and outside a spline's range; parameters [parameters][n].
struct Points {
  Points(const LineMap& line_map, int64_t count, double scale) : map(line_map), n(count) {
    for (int64_t i = 0; i < n; ++i) {
      x.push_back((map.kind == LineMap::kSpline ? 0.7 * map.range : 2) * Gaussian(i, 1000));
    }
    for (int j = 0; j < map.parameters(); ++j) {
      for (int64_t i = 0; i < n; ++i) p.push_back(scale * Gaussian(i, static_cast<uint32_t>(j)));
    }
  }
  std::vector<double> Parameters(int64_t i) const {
    std::vector<double> one;
    for (int j = 0; j < map.parameters(); ++j) one.push_back(p[j * n + i]);
    return one;
  }
  LineMap map;
  int64_t n;
  std::vector<double> x, p;
};

struct Values {
  explicit Values(int64_t n) : value(n), log_derivative(n) {}
  std::vector<double> value, log_derivative;
};

class EveryInstructionSet : public ::testing::TestWithParam<std::string> {
 protected:
  Values Forward(const Points& at, const std::vector<double>& x) const {
    Values v(at.n);
    kernel::ScalarKernelsFor(GetParam().c_str())
        ->line_forward(at.map.kind, at.map.bins, at.map.range, at.n, at.n, x.data(), at.p.data(), v.value.data(),
                       v.log_derivative.data());
    return v;
  }
  Values Inverse(const Points& at, const std::vector<double>& y) const {
    Values v(at.n);
    kernel::ScalarKernelsFor(GetParam().c_str())
        ->line_inverse(at.map.kind, at.map.bins, at.map.range, at.n, at.n, y.data(), at.p.data(), v.value.data(),
                       v.log_derivative.data());
    return v;
  }
};

TEST_P(EveryInstructionSet, MapsAndTheirDerivativesAreThoseOfTheReference) {
  for (const LineMap& map : Maps()) {
    const Points at(map, 2048, 1);
    const Values v = Forward(at, at.x);
    int outside = 0;
    for (int64_t i = 0; i < at.n; ++i) {
      const std::vector<double> p = at.Parameters(i);
      const Complex y =
          reference::Forward(map, std::vector<Complex>(p.begin(), p.end()), Complex(at.x[i], kStep)).value;
      ASSERT_NEAR(v.value[i], y.real(), 1e-13 * (1 + std::abs(y.real()) + map.range)) << map.kind << " " << map.bins;
      ASSERT_NEAR(v.log_derivative[i], std::log(y.imag() / kStep), 1e-11) << map.kind << " " << map.bins;
      outside += map.kind == LineMap::kSpline && std::abs(y.real()) >= map.range ? 1 : 0;
    }
    if (map.kind != LineMap::kSpline) continue;
    EXPECT_GT(outside, 50);
    EXPECT_LT(outside, at.n / 2);
  }
}

TEST_P(EveryInstructionSet, TheInverseReturnsThePointAndTheOppositeLogDerivative) {
  for (const LineMap& map : Maps()) {
    const Points at(map, 4096, 1);
    const Values v = Forward(at, at.x), back = Inverse(at, v.value);
    for (int64_t i = 0; i < at.n; ++i) {
      ASSERT_NEAR(back.value[i], at.x[i], 1e-11 * (1 + map.range)) << map.kind << " " << map.bins;
      ASSERT_NEAR(back.log_derivative[i], -v.log_derivative[i], 1e-10) << map.kind << " " << map.bins;
    }
  }
}

TEST_P(EveryInstructionSet, ZeroParametersAreTheIdentity) {
  for (const LineMap& map : Maps()) {
    const Points at(map, 1024, 0);
    const Values v = Forward(at, at.x), back = Inverse(at, at.x);
    for (int64_t i = 0; i < at.n; ++i) {
      ASSERT_NEAR(v.value[i], at.x[i], 1e-14 * (1 + map.range));
      ASSERT_NEAR(v.log_derivative[i], 0, 1e-13);
      ASSERT_NEAR(back.value[i], at.x[i], 1e-14 * (1 + map.range));
      ASSERT_NEAR(back.log_derivative[i], 0, 1e-13);
    }
  }
}

TEST_P(EveryInstructionSet, ReflectedParametersReflectTheMap) {
  for (const LineMap& map : Maps()) {
    const Points at(map, 1024, 1);
    Points reflected = at;
    double difference = 0;
    for (int64_t i = 0; i < at.n; ++i) {
      const std::vector<double> p = reference::Reflected(map, at.Parameters(i));
      for (size_t j = 0; j < p.size(); ++j) reflected.p[j * at.n + i] = p[j];
      reflected.x[i] = -at.x[i];
    }
    const Values v = Forward(at, at.x), w = Forward(reflected, reflected.x), same = Forward(at, reflected.x);
    for (int64_t i = 0; i < at.n; ++i) {
      ASSERT_NEAR(v.value[i], -w.value[i], 1e-13 * (1 + map.range));
      ASSERT_NEAR(v.log_derivative[i], w.log_derivative[i], 1e-11);
      difference = std::max(difference, std::abs(v.value[i] + same.value[i]));
    }
    EXPECT_GT(difference, 0.1);
  }
}

// At +-range the map is continuous with its derivative, so that the side on which rounding puts a number is irrelevant.
TEST_P(EveryInstructionSet, ASplineMeetsTheIdentityAtTheEndsOfItsRange) {
  for (const LineMap& map : Maps()) {
    if (map.kind != LineMap::kSpline) continue;
    Points at(map, 1024, 1);
    for (int64_t i = 0; i < at.n; ++i) {
      at.p[i] = at.p[at.n + i] = 0;
      const double end = i % 2 == 0 ? map.range : -map.range;
      at.x[i] = i % 8 < 2   ? end
                : i % 8 < 4 ? std::nextafter(end, 0)
                : i % 8 < 6 ? std::nextafter(end, 2 * end)
                            : 9 * end;
    }
    for (const Values& v : {Forward(at, at.x), Inverse(at, at.x)}) {
      for (int64_t i = 0; i < at.n; ++i) {
        ASSERT_NEAR(v.value[i], at.x[i], 1e-13 * map.range) << i;
        ASSERT_NEAR(v.log_derivative[i], 0, 1e-11) << i;
      }
    }
  }
}

TEST_P(EveryInstructionSet, WildParametersGiveIncreasingMapsThatCanBeInverted) {
  for (const LineMap& map : Maps()) {
    const Points at(map, 4096, 30);
    const Values v = Forward(at, at.x);
    Points ahead = at;
    for (double& x : ahead.x) x += 1e-3 * (1 + map.range);
    const Values w = Forward(ahead, ahead.x), back = Inverse(at, v.value);
    for (int64_t i = 0; i < at.n; ++i) {
      ASSERT_TRUE(std::isfinite(v.value[i]) && std::isfinite(v.log_derivative[i]));
      ASSERT_LE(std::abs(v.log_derivative[i]), 6 + 25) << map.kind << " " << map.bins;
      ASSERT_GT(w.value[i], v.value[i]);
      const double image_error = 1e-14 * (std::abs(v.value[i]) + std::abs(at.p[at.n + i]) + map.range);
      ASSERT_NEAR(back.value[i], at.x[i], 1e-6 * (1 + map.range) + 100 * image_error * std::exp(-v.log_derivative[i]));
    }
  }
}

TEST_P(EveryInstructionSet, ANumberThatIsNoneStaysNone) {
  for (const LineMap& map : Maps()) {
    const Points at(map, 16, 1);
    const double none = std::nan("");
    const Values v = Forward(at, std::vector<double>(16, none)), back = Inverse(at, std::vector<double>(16, none));
    for (int64_t i = 0; i < at.n; ++i) {
      EXPECT_TRUE(std::isnan(v.value[i]));
      EXPECT_TRUE(std::isnan(back.value[i]));
    }
  }
}

std::vector<std::string> InstructionSets() {
  std::vector<std::string> sets;
  for (const char* name : {"baseline", "avx2", "avx512"}) {
    if (kernel::ScalarKernelsFor(name) != nullptr) sets.push_back(name);
  }
  return sets;
}
INSTANTIATE_TEST_SUITE_P(Isa, EveryInstructionSet, ::testing::ValuesIn(InstructionSets()),
                         [](const auto& i) { return i.param; });

// The templates of line_map.h with plain doubles, as a GPU would run them.
TEST(LineMapBackward, GivesTheGradientsOfValueAndLogDerivative) {
  for (const LineMap& map : Maps()) {
    const auto kind = static_cast<isa_cuda::LineMapKind>(map.kind);
    ASSERT_EQ(isa_cuda::LineMapParameters(kind, map.bins), map.parameters());
    const Points at(map, 300, 1);
    for (int64_t i = 0; i < at.n; ++i) {
      const std::vector<double> p = at.Parameters(i);
      const double grad_y = Gaussian(i, 2000), grad_l = Gaussian(i, 2001);
      std::vector<double> gradient(p.size(), std::nan(""));
      double grad_x;
      isa_cuda::LineMapBackward(
          kind, map.bins, map.range, [&](int j) { return p[j]; }, at.x[i], grad_y, grad_l, &grad_x,
          [&](int j, double v) {
            EXPECT_TRUE(std::isnan(gradient[j])) << "parameter " << j << " is told twice";
            gradient[j] = v;
          });
      const auto derivative = [&](int which) {
        std::vector<Complex> q(p.begin(), p.end());
        Complex x = at.x[i];
        (which < 0 ? x : q[which]) += Complex(0, kStep);
        const auto f = reference::Forward(map, q, x);
        return (grad_y * f.value + grad_l * f.log_derivative).imag() / kStep;
      };
      ASSERT_NEAR(grad_x, derivative(-1), 1e-10 * (1 + std::abs(grad_x))) << map.kind << " " << map.bins;
      for (int j = 0; j < map.parameters(); ++j) {
        ASSERT_NEAR(gradient[j], derivative(j), 1e-10 * (1 + map.range)) << map.kind << " " << map.bins << ": " << j;
      }
    }
  }
}

TEST(ReflectedLineParameter, IsTheReferencesReflection) {
  for (const LineMap& map : Maps()) {
    std::vector<double> p;
    for (int j = 0; j < map.parameters(); ++j) p.push_back(j + 1);
    const std::vector<double> expected = reference::Reflected(map, p);
    for (int j = 0; j < map.parameters(); ++j) {
      double sign;
      const int from = isa_cuda::ReflectedLineParameter(map.bins, j, &sign);
      EXPECT_EQ(sign * p[from], expected[j]) << j;
    }
  }
}

}  // namespace
}  // namespace haarflow
