// Coupling layers of scalars in plain loops: the oracle that kernels and plans in core/ are tested against. Shares
// nothing with core/. Written over the number type: with std::complex numbers and an imaginary step of 1e-100 it gives
// derivatives to machine precision (every operation is analytic; branches look at real parts only).
//
// A field is [site] in C order of `shape`. Parameters are layer by layer, convolution by convolution: weights [tap][in]
// [out], taps in array order of the displacement, then biases.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

namespace haarflow::reference {

inline double Real(double x) { return x; }
inline double Real(const std::complex<double>& x) { return x.real(); }

// ---------------------------------------------------------------------------------------------------------- line maps

struct LineMap {
  enum Kind { kAffine = 1, kAffineTanh = 2, kSpline = 3 } kind = kAffine;
  int bins = 0;
  double range = 0;
  int parameters() const { return kind == kSpline ? 3 * bins + 1 : 2; }
};

template <class T>
struct Mapped {
  T value, log_derivative;
};

template <class T>
T Clamped(const T& x) {
  return Real(x) > 6 ? T(6) : Real(x) < -6 ? T(-6) : x;
}

// Knots from -range to range, unconstrained[first .. first + bins - 1] being the intervals'.
template <class T>
std::vector<T> Knots(const LineMap& map, const std::vector<T>& unconstrained, int first) {
  T sum = 0;
  for (int k = 0; k < map.bins; ++k) sum += std::exp(unconstrained[first + k]);
  std::vector<T> knots = {T(-map.range)};
  for (int k = 0; k < map.bins; ++k) {
    const T share = 0.001 + (1 - 0.001 * map.bins) * std::exp(unconstrained[first + k]) / sum;
    knots.push_back(knots.back() + 2 * map.range * share);
  }
  return knots;
}

// arXiv:1906.04032, equations 4 and 5.
template <class T>
Mapped<T> Spline(const LineMap& map, const std::vector<T>& p, T u) {
  if (Real(u) <= -map.range || Real(u) >= map.range) return {u, T(0)};
  const std::vector<T> x = Knots(map, p, 2), y = Knots(map, p, 2 + map.bins);
  int k = 0;
  while (k + 1 < map.bins && Real(x[k + 1]) <= Real(u)) ++k;
  const auto slope_at = [&](int knot) {
    return knot == 0 || knot == map.bins ? T(1) : std::exp(Clamped(p[2 + 2 * map.bins + knot - 1]));
  };
  const T d0 = slope_at(k), d1 = slope_at(k + 1);
  const T s = (y[k + 1] - y[k]) / (x[k + 1] - x[k]), xi = (u - x[k]) / (x[k + 1] - x[k]);
  const T den = s + (d1 + d0 - 2.0 * s) * xi * (1.0 - xi);
  const T value = y[k] + (y[k + 1] - y[k]) * (s * xi * xi + d0 * xi * (1.0 - xi)) / den;
  const T slope = s * s * (d1 * xi * xi + 2.0 * s * xi * (1.0 - xi) + d0 * (1.0 - xi) * (1.0 - xi)) / (den * den);
  return {value, std::log(slope)};
}

template <class T>
Mapped<T> Forward(const LineMap& map, const std::vector<T>& p, T x) {
  const bool tanh = map.kind == LineMap::kAffineTanh;
  const T s = tanh ? std::tanh(p[0]) : Clamped(p[0]), t = tanh ? std::tanh(p[1]) : p[1];
  const T u = std::exp(s) * x + t;
  if (map.kind != LineMap::kSpline) return {u, s};
  const Mapped<T> g = Spline(map, p, u);
  return {g.value, s + g.log_derivative};
}

// The point that is mapped to y, and the log-derivative there of the forward map: bisection of the real parts, then
// Newton's method, which also finds the imaginary part.
template <class T>
Mapped<T> Inverse(const LineMap& map, const std::vector<T>& p, T y) {
  std::vector<double> real;
  for (const T& parameter : p) real.push_back(Real(parameter));
  double low = -1e6, high = 1e6;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (Forward(map, real, middle).value < Real(y) ? low : high) = middle;
  }
  T x = 0.5 * (low + high);
  for (int i = 0; i < 3; ++i) {
    const Mapped<T> f = Forward(map, p, x);
    x -= (f.value - y) / std::exp(f.log_derivative);
  }
  return {x, Forward(map, p, x).log_derivative};
}

// Parameters of x -> -f(-x).
template <class T>
std::vector<T> Reflected(const LineMap& map, std::vector<T> p) {
  p[1] = -p[1];
  if (map.kind != LineMap::kSpline) return p;
  const auto widths = p.begin() + 2, heights = widths + map.bins, slopes = heights + map.bins;
  std::reverse(widths, heights);
  std::reverse(heights, slopes);
  std::reverse(slopes, p.end());
  return p;
}

// ------------------------------------------------------------------------------------------------------------- layers

enum class Activation { kSilu, kLeakyRelu, kTanh };

struct CouplingStack {
  std::vector<int64_t> shape;
  int layers = 1;
  int shells = 0;
  std::vector<int> hidden, kernel;
  Activation activation = Activation::kSilu;
  LineMap map;
  bool odd = false;

  using Coordinates = std::vector<int64_t>;
  int64_t volume() const {
    int64_t v = 1;
    for (int64_t extent : shape) v *= extent;
    return v;
  }
  int64_t Site(const Coordinates& x) const {
    int64_t site = 0;
    for (size_t a = 0; a < shape.size(); ++a) site = site * shape[a] + ((x[a] % shape[a]) + shape[a]) % shape[a];
    return site;
  }
  Coordinates At(int64_t site) const {
    Coordinates x(shape.size());
    for (size_t a = shape.size(); a-- > 0; site /= shape[a]) x[a] = site % shape[a];
    return x;
  }
  bool Active(int layer, int64_t site) const {
    int64_t sum = layer;
    for (int64_t c : At(site)) sum += c;
    return sum % 2 == 1;
  }
  int64_t Sum(int64_t site, const Coordinates& d) const {
    Coordinates x = At(site);
    for (size_t a = 0; a < x.size(); ++a) x[a] += d[a];
    return Site(x);
  }

  // Displacements with odd coordinate sum, grouped by symmetry, nearest first; at equal distance the group with the
  // smallest site.
  std::vector<std::vector<Coordinates>> Shells() const {
    std::map<std::vector<std::pair<int64_t, int64_t>>, std::pair<std::pair<int64_t, int64_t>, std::vector<Coordinates>>>
        groups;
    for (int64_t site = 0; site < volume(); ++site) {
      Coordinates d = At(site);
      std::vector<std::pair<int64_t, int64_t>> key;
      int64_t square = 0, sum = 0;
      for (size_t a = 0; a < d.size(); ++a) {
        const int64_t near = std::min(d[a], shape[a] - d[a]);
        key.push_back({shape[a], near});
        square += near * near;
        sum += d[a];
      }
      if (sum % 2 == 0) continue;
      std::sort(key.begin(), key.end());
      auto& group = groups[key];
      if (group.second.empty()) group.first = {square, site};
      group.second.push_back(d);
    }
    std::vector<std::pair<std::pair<int64_t, int64_t>, std::vector<Coordinates>>> order;
    for (const auto& [key, group] : groups) order.push_back(group);
    std::sort(order.begin(), order.end());
    std::vector<std::vector<Coordinates>> result;
    for (const auto& [distance, members] : order) result.push_back(members);
    return result;
  }

  std::vector<Coordinates> Taps(int k) const {
    std::vector<Coordinates> taps = {{}};
    for (size_t a = 0; a < shape.size(); ++a) {
      std::vector<Coordinates> longer;
      for (const Coordinates& tap : taps) {
        for (int64_t d = -(k / 2); d <= k / 2; ++d) {
          longer.push_back(tap);
          longer.back().push_back(d);
        }
      }
      taps = longer;
    }
    return taps;
  }

  int inputs() const { return shells == 0 ? 1 : shells; }
  int channels(size_t stage) const { return stage == hidden.size() ? map.parameters() : hidden[stage]; }
  int64_t LayerParameters() const {
    int64_t sum = 0;
    for (size_t s = 0; s < kernel.size(); ++s) {
      const int64_t in = s == 0 ? inputs() : hidden[s - 1];
      sum += (in * static_cast<int64_t>(Taps(kernel[s]).size()) + 1) * channels(s);
    }
    return sum;
  }

  template <class T>
  T Activate(const T& x) const {
    if (activation == Activation::kTanh) return std::tanh(x);
    if (activation == Activation::kLeakyRelu) return Real(x) > 0 ? x : 0.01 * x;
    return x / (1.0 + std::exp(-x));
  }

  // The network at every site, [site][parameters]; active sites are not looked at.
  template <class T>
  std::vector<std::vector<T>> Network(int layer, const T* weight, const std::vector<T>& field, double sign) const {
    std::vector<std::vector<T>> rows(volume(), std::vector<T>(inputs(), T(0)));
    const auto shells_here = shells == 0 ? std::vector<std::vector<Coordinates>>() : Shells();
    for (int64_t x = 0; x < volume(); ++x) {
      if (shells == 0 && !Active(layer, x)) rows[x][0] = sign * field[x];
      for (int n = 0; n < shells && Active(layer, x); ++n) {
        for (const Coordinates& d : shells_here[n]) rows[x][n] += sign * field[Sum(x, d)];
      }
    }
    for (size_t s = 0; s < kernel.size(); ++s) {
      const auto taps = Taps(kernel[s]);
      const size_t in = rows[0].size(), out = channels(s);
      const T* bias = weight + taps.size() * in * out;
      std::vector<std::vector<T>> next(volume(), std::vector<T>(bias, bias + out));
      for (int64_t x = 0; x < volume(); ++x) {
        for (size_t t = 0; t < taps.size(); ++t) {
          const std::vector<T>& row = rows[Sum(x, taps[t])];
          for (size_t i = 0; i < in; ++i) {
            for (size_t o = 0; o < out; ++o) next[x][o] += row[i] * weight[(t * in + i) * out + o];
          }
        }
        for (size_t o = 0; o < out && s + 1 < kernel.size(); ++o) next[x][o] = Activate(next[x][o]);
      }
      rows = next;
      weight = bias + out;
    }
    return rows;
  }

  // One layer, in place; returns the sum of the log-derivatives of the forward map.
  template <class T>
  T Layer(int layer, bool inverse, const T* weight, std::vector<T>* field) const {
    const auto plain = Network(layer, weight, *field, 1.0);
    const auto negated = odd ? Network(layer, weight, *field, -1.0) : plain;
    T sum = 0;
    for (int64_t x = 0; x < volume(); ++x) {
      if (!Active(layer, x)) continue;
      std::vector<T> p = plain[x];
      const std::vector<T> other = odd ? Reflected(map, negated[x]) : p;
      for (size_t j = 0; j < p.size(); ++j) p[j] = 0.5 * (p[j] + other[j]);
      const Mapped<T> f = inverse ? Inverse(map, p, (*field)[x]) : Forward(map, p, (*field)[x]);
      (*field)[x] = f.value;
      sum += f.log_derivative;
    }
    return sum;
  }

  // All layers in turn, or inverted from the last to the first; the sum of the log-derivatives of the forward maps.
  template <class T>
  T Flow(bool inverse, const std::vector<T>& parameters, std::vector<T>* field) const {
    T sum = 0;
    for (int i = 0; i < layers; ++i) {
      const int layer = inverse ? layers - 1 - i : i;
      sum += Layer(layer, inverse, parameters.data() + layer * LayerParameters(), field);
    }
    return sum;
  }
};

}  // namespace haarflow::reference
