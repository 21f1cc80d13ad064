// Draws from a smooth density of one variable that depends on another, by inverting its distribution function. Internal
// to core/action.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace haarflow {

// For a density g(x; phi) >= 0, not normalised, the map u -> x with int_{-w}^x g(t; phi) dt = u int_{-w}^w g(t; phi)
// dt, invertible and smooth. The integral is tabulated at equidistant x and phi (Gauss-Legendre, four points a cell)
// and interpolated by 12 points in both; the same interpolation gives the map and its inverse, so that they agree to
// rounding.
//
// What interpolation does to a wave e^{ikx} at nodes h apart is below kInterpolationError (k h)^12 of its amplitude.
class ConditionalQuantile {
 public:
  static constexpr double kInterpolationError = 5.5e-5;
  static constexpr int kPoints = 12;

  // [-half_width, half_width] in `cells` cells, at least 1.
  struct Axis {
    double half_width;
    int64_t cells;
    double spacing() const { return 2 * half_width / static_cast<double>(cells); }
  };
  // values[i] = g(x[i]; phi) for i < n. Evaluated up to 8 cells outside of the axes too, where it may be negative.
  using Density = std::function<void(double phi, int64_t n, const double* x, double* values)>;
  // `phi` of one cell and half width 0: the density does not depend on it.
  ConditionalQuantile(const Axis& x, const Axis& phi, const Density& density);

  // u in [0, 1] to x; phi outside of its axis counts as the nearest end.
  double Quantile(double phi, double u) const;
  double Distribution(double phi, double x) const;
  // int_{-w}^w g(t; phi) dt.
  double Total(double phi) const;

  // The largest interpolation errors of the tabulated integrals in either variable, from their twelfth differences.
  struct Errors {
    double x, phi;
  };
  Errors LargestErrors() const;

  // Doubles of the table.
  int64_t size() const { return static_cast<int64_t>(table_.size()); }

 private:
  static constexpr int kMargin = 8;  // nodes outside of an axis of x
  static constexpr int kSide = kPoints / 2 - 1;
  static constexpr int kBlock = 16;  // columns that are interpolated at once

  // Rows around phi and their weights.
  struct Rows {
    const double* first;
    double weight[kPoints];
    const double* nearest;
  };
  Rows RowsAt(double phi) const;
  // Interpolated in phi: the integrals up to nodes column .. column + N - 1.
  template <int N>
  void Columns(const Rows& rows, int64_t column, double* values) const;

  Axis x_;
  Axis phi_;
  double x_scale_;  // cells per unit
  double phi_scale_;
  int64_t stride_;
  std::vector<double> table_;  // [node of phi][node of x]
};

}  // namespace haarflow
