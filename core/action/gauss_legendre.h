// Gauss-Legendre quadrature. Internal to this folder.
#pragma once

#include <cmath>
#include <numbers>
#include <vector>

namespace haarflow {

// Nodes in (0, 1), ascending, and weights that sum to 1: exact for polynomials of degree 2 n - 1.
struct GaussLegendre {
  std::vector<double> node, weight;

  explicit GaussLegendre(int n) : node(n), weight(n) {
    for (int i = 0; i < n; ++i) {
      // Newton's iteration on P_n from Tricomi's approximation of its zeros, 1 at the right end.
      double x = std::cos(std::numbers::pi * (i + 0.75) / (n + 0.5)), slope = 1;
      for (int iteration = 0; iteration < 8; ++iteration) {
        double p = 1, before = 0;
        for (int k = 1; k <= n; ++k) {
          const double next = ((2 * k - 1) * x * p - (k - 1) * before) / k;
          before = p;
          p = next;
        }
        slope = n * (x * p - before) / (x * x - 1);
        const double step = p / slope;
        x -= step;
        if (std::abs(step) < 1e-15) break;
      }
      node[n - 1 - i] = 0.5 * (1 + x);
      weight[n - 1 - i] = 1 / ((1 - x * x) * slope * slope);
    }
  }
};

}  // namespace haarflow
