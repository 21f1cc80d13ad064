#include "core/action/conditional_quantile.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace haarflow {
namespace {

constexpr int kPoints = ConditionalQuantile::kPoints;
constexpr int kHalf = kPoints / 2;

// Node k of the stencil of a cell is at k - 5.5 from the cell's middle.
constexpr double Node(int k) { return k - (kPoints - 1) / 2.0; }

constexpr std::array<double, kPoints> Denominators() {
  std::array<double, kPoints> inverse{};
  for (int k = 0; k < kPoints; ++k) {
    double product = 1;
    for (int m = 0; m < kPoints; ++m) product *= m == k ? 1 : Node(k) - Node(m);
    inverse[k] = 1 / product;
  }
  return inverse;
}

// Lagrange's weights at t in [-1/2, 1/2].
void Weights(double t, double* weight) {
  static constexpr std::array<double, kPoints> kInverse = Denominators();
  double below = 1;
  for (int k = 0; k < kPoints; ++k) {
    weight[k] = kInverse[k] * below;
    below *= t - Node(k);
  }
  double above = 1;
  for (int k = kPoints - 1; k >= 0; --k) {
    weight[k] *= above;
    above *= t - Node(k);
  }
}

// The polynomial through values at the nodes: coefficients of t^0, t^1, ... Even powers come from the sums of opposite
// values, odd ones from the differences: [parity][k][power / 2] for k in the upper half.
struct PowerMatrix {
  double entry[2][kHalf][kHalf];
};
constexpr PowerMatrix MakePowerMatrix() {
  PowerMatrix matrix{};
  for (int k = kHalf; k < kPoints; ++k) {
    // prod_{m != k} (t - n_m) / (n_k - n_m), multiplied out.
    std::array<double, kPoints> power{};
    power[0] = 1;
    double denominator = 1;
    int degree = 0;
    for (int m = 0; m < kPoints; ++m) {
      if (m == k) continue;
      denominator *= Node(k) - Node(m);
      ++degree;
      for (int d = degree; d > 0; --d) power[d] = power[d - 1] - Node(m) * power[d];
      power[0] *= -Node(m);
    }
    for (int d = 0; d < kPoints; ++d) matrix.entry[d % 2][k - kHalf][d / 2] = power[d] / denominator;
  }
  return matrix;
}

struct Polynomial {
  double even[kHalf], odd[kHalf];  // of t^{2d}, t^{2d+1}
};
Polynomial Interpolate(const double* value) {
  static constexpr PowerMatrix kMatrix = MakePowerMatrix();
  double sum[kHalf], difference[kHalf];
  for (int k = 0; k < kHalf; ++k) {
    sum[k] = value[kHalf + k] + value[kHalf - 1 - k];
    difference[k] = value[kHalf + k] - value[kHalf - 1 - k];
  }
  Polynomial p{};
  for (int k = 0; k < kHalf; ++k) {
    for (int d = 0; d < kHalf; ++d) {
      p.even[d] += kMatrix.entry[0][k][d] * sum[k];
      p.odd[d] += kMatrix.entry[1][k][d] * difference[k];
    }
  }
  return p;
}

// t in [-1/2, 1/2] where the interpolating polynomial has this value; it grows from value[5] to value[6].
double Solve(const double* value, double wanted) {
  const Polynomial p = Interpolate(value);
  // The inverse series to third order, then Newton, which squares the error; where the density has a zero, halving.
  const double line = (wanted - p.even[0]) / p.odd[0], bend = p.even[1] / p.odd[0] * line;
  double t = line * (1 - bend + (2 * bend * bend - p.odd[1] / p.odd[0] * line * line));
  double low = -0.5, high = 0.5;
  if (!(t >= low && t <= high)) t = 0;
  for (int iteration = 0; iteration < 60; ++iteration) {
    // Even and odd parts apart: shorter chains of dependent operations.
    const double s = t * t;
    double even = p.even[kHalf - 1], odd = p.odd[kHalf - 1], even_slope = 0, odd_slope = 0;
    for (int d = kHalf - 2; d >= 0; --d) {
      even_slope = even_slope * s + even;
      odd_slope = odd_slope * s + odd;
      even = even * s + p.even[d];
      odd = odd * s + p.odd[d];
    }
    const double excess = even + t * odd - wanted, slope = 2 * t * even_slope + odd + 2 * s * odd_slope;
    (excess > 0 ? high : low) = t;
    double next = t - excess / slope;
    const bool newton = next >= low && next <= high;
    if (!newton) next = 0.5 * (low + high);
    const double step = std::abs(next - t);
    t = next;
    if (step < (newton ? 1e-8 : 1e-15)) break;
  }
  return t;
}

constexpr double kGaussPosition[4] = {0.069431844202973712388, 0.33000947820757186760, 0.66999052179242813240,
                                      0.93056815579702628761};
constexpr double kGaussWeight[4] = {0.17392742256872692869, 0.32607257743127307131, 0.32607257743127307131,
                                    0.17392742256872692869};

}  // namespace

ConditionalQuantile::ConditionalQuantile(const Axis& x, const Axis& phi, const Density& density)
    : x_(x), phi_(phi), x_scale_(1 / x.spacing()), phi_scale_(phi.half_width > 0 ? 1 / phi.spacing() : 0) {
  const int64_t cells = x.cells + 2 * kMargin;
  stride_ = cells + 1;
  std::vector<double> position(4 * cells), values(4 * cells);
  for (int64_t c = 0; c < cells; ++c) {
    for (int q = 0; q < 4; ++q) {
      const double at = static_cast<double>(c - kMargin) + kGaussPosition[q];
      position[4 * c + q] = -x.half_width + at * x.spacing();
    }
  }
  const int64_t rows = phi.cells + 1 + 2 * kSide;
  table_.resize(rows * stride_);
  for (int64_t j = 0; j < rows; ++j) {
    density(-phi.half_width + static_cast<double>(j - kSide) * phi.spacing(), 4 * cells, position.data(),
            values.data());
    double* row = table_.data() + j * stride_;
    const auto integral = [&](int64_t cell) {
      double sum = 0;
      for (int q = 0; q < 4; ++q) sum += kGaussWeight[q] * values[4 * cell + q];
      return sum * x.spacing();
    };
    // From 0 at the lower end, outwards.
    row[kMargin] = 0;
    for (int64_t c = kMargin; c < cells; ++c) row[c + 1] = row[c] + integral(c);
    for (int64_t c = kMargin - 1; c >= 0; --c) row[c] = row[c + 1] - integral(c);
  }
}

ConditionalQuantile::Rows ConditionalQuantile::RowsAt(double phi) const {
  const double at = std::clamp((phi + phi_.half_width) * phi_scale_, 0.0, static_cast<double>(phi_.cells));
  const int64_t cell = std::min(static_cast<int64_t>(at), phi_.cells - 1);
  const double t = at - static_cast<double>(cell) - 0.5;
  Rows rows;
  rows.first = table_.data() + cell * stride_;
  rows.nearest = rows.first + (t < 0 ? kSide : kSide + 1) * stride_;
  Weights(t, rows.weight);
  return rows;
}

template <int N>
void ConditionalQuantile::Columns(const Rows& rows, int64_t column, double* values) const {
  double sum[N] = {};
  const double* row = rows.first + column;
  for (int k = 0; k < kPoints; ++k, row += stride_) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) sum[i] += rows.weight[k] * row[i];
  }
  for (int i = 0; i < N; ++i) values[i] = sum[i];
}

double ConditionalQuantile::Quantile(double phi, double u) const {
  const Rows rows = RowsAt(phi);
  double wanted;
  Columns<1>(rows, kMargin + x_.cells, &wanted);
  wanted *= u;
  // The cell in the nearest row; the interpolated one is not far.
  const double* lower = rows.nearest + kMargin;
  const double here = u * lower[x_.cells];
  int64_t cell = 0;
  for (int64_t left = x_.cells; left > 1;) {
    const int64_t half = left / 2;
    cell = lower[cell + half] <= here ? cell + half : cell;
    left -= half;
  }
  double values[kBlock];
  for (;;) {
    // Columns from kSide + 2 nodes below the cell: five cells have their stencils within.
    const int64_t base = cell - kSide - 2;
    for (int part = 0; part < kBlock; part += 8) Columns<8>(rows, kMargin + base + part, values + part);
    int at = kSide;
    while (at < kSide + 5 && values[at + 1] <= wanted) ++at;
    if (values[at] > wanted && base + at > 0) {
      cell = std::max<int64_t>(0, cell - 4);
      continue;
    }
    if (at == kSide + 5 && cell + 3 < x_.cells) {
      cell = std::min(cell + 4, x_.cells - 1);
      continue;
    }
    const int64_t found = std::clamp<int64_t>(base + at, 0, x_.cells - 1);
    const double t = Solve(values + (found - base) - kSide, wanted);
    return -x_.half_width + (static_cast<double>(found) + 0.5 + t) * x_.spacing();
  }
}

double ConditionalQuantile::Total(double phi) const {
  double total;
  Columns<1>(RowsAt(phi), kMargin + x_.cells, &total);
  return total;
}

ConditionalQuantile::Errors ConditionalQuantile::LargestErrors() const {
  static constexpr double kBinomial[kPoints + 1] = {1, 12, 66, 220, 495, 792, 924, 792, 495, 220, 66, 12, 1};
  const auto largest = [&](int64_t steps, int64_t other_steps, int64_t step, int64_t other_step) {
    double result = 0;
    for (int64_t i = 0; i < other_steps; ++i) {
      const double* line = table_.data() + i * other_step;
      for (int64_t j = 0; j + kPoints < steps; ++j) {
        double sum = 0;
        for (int k = 0; k <= kPoints; ++k) sum += (k % 2 == 0 ? 1 : -1) * kBinomial[k] * line[(j + k) * step];
        result = std::max(result, std::abs(sum));
      }
    }
    return kInterpolationError * result;
  };
  const auto rows = static_cast<int64_t>(table_.size()) / stride_;
  return {largest(stride_, rows, 1, stride_), largest(rows, stride_, stride_, 1)};
}

double ConditionalQuantile::Distribution(double phi, double x) const {
  const Rows rows = RowsAt(phi);
  double total;
  Columns<1>(rows, kMargin + x_.cells, &total);
  const double at = std::clamp((x + x_.half_width) * x_scale_, 0.0, static_cast<double>(x_.cells));
  const int64_t cell = std::min(static_cast<int64_t>(at), x_.cells - 1);
  double values[kPoints], weight[kPoints];
  Columns<kPoints>(rows, kMargin + cell - kSide, values);
  Weights(at - static_cast<double>(cell) - 0.5, weight);
  double sum = 0;
  for (int k = 0; k < kPoints; ++k) sum += weight[k] * values[k];
  return sum / total;
}

}  // namespace haarflow
