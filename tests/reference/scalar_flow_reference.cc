#include "tests/reference/scalar_flow_reference.h"

#include <cmath>

namespace haarflow::reference {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::vector<int> Coordinates(const ScalarFlow& flow, int site) {
  std::vector<int> x(flow.shape.size());
  for (size_t a = flow.shape.size(); a-- > 0;) {
    x[a] = site % flow.shape[a];
    site /= flow.shape[a];
  }
  return x;
}

int Volume(const ScalarFlow& flow) {
  int v = 1;
  for (int extent : flow.shape) v *= extent;
  return v;
}

int Difference(const ScalarFlow& flow, int x, int y) {
  const auto a = Coordinates(flow, x), b = Coordinates(flow, y);
  int site = 0;
  for (size_t i = 0; i < a.size(); ++i) site = site * flow.shape[i] + (a[i] - b[i] + flow.shape[i]) % flow.shape[i];
  return site;
}

bool IsActive(const ScalarFlow& flow, int site) {
  int sum = 0;
  for (int x : Coordinates(flow, site)) sum += x;
  return !flow.even_sites_only || sum % 2 == 0;
}

double Cas(const ScalarFlow& flow, int k, int x) {
  const auto a = Coordinates(flow, k), b = Coordinates(flow, x);
  double product = 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const double angle = 2 * kPi * a[i] * b[i] / flow.shape[i];
    product *= std::cos(angle) + std::sin(angle);
  }
  return product;
}

}  // namespace

FieldAndDensity Prior(const ScalarFlow& flow, const std::vector<double>& z) {
  const int volume = Volume(flow);
  FieldAndDensity out;
  out.field.resize(z.size());
  for (int c = 0; c < flow.components; ++c) {
    for (int x = 0; x < volume; ++x) {
      if (IsActive(flow, x)) out.log_q -= 0.5 * z[c * volume + x] * z[c * volume + x] + 0.5 * std::log(2 * kPi);
    }
    for (int k = 0; k < volume; ++k) {
      out.log_q -= (flow.even_sites_only ? 0.5 : 1) * std::log(flow.sigma[k]);
      double mode = z[c * volume + k];
      if (flow.even_sites_only) {
        mode = 0;
        for (int x = 0; x < volume; ++x) mode += Cas(flow, k, x) * z[c * volume + x] / std::sqrt(volume);
      }
      for (int x = 0; x < volume; ++x) {
        out.field[c * volume + x] += Cas(flow, k, x) * flow.sigma[k] * mode / std::sqrt(volume);
      }
    }
  }
  return out;
}

FieldAndDensity Velocity(const ScalarFlow& flow, int time, const std::vector<double>& field) {
  const int volume = Volume(flow);
  FieldAndDensity v;
  v.field.assign(field.size(), 0.0);
  for (size_t f = 0; f < flow.frequency.size(); ++f) {
    const double w = flow.frequency[f];
    const std::vector<double>& kernel = flow.kernel[time][f];
    for (int y = 0; y < volume; ++y) {
      if (!IsActive(flow, y)) continue;
      double square = 0;
      for (int c = 0; c < flow.components; ++c) square += field[c * volume + y] * field[c * volume + y];
      const double r = std::sqrt(square);
      // g = u(r) phi; tr g' = components u + r u'.
      const double u = w == 0 ? 1 : std::sin(w * r) / r;
      const double du = w == 0 ? 0 : (w * std::cos(w * r) - std::sin(w * r) / r) / r;
      v.log_q -= kernel[0] * (flow.components * u + r * du);
      for (int x = 0; x < volume; ++x) {
        for (int c = 0; c < flow.components; ++c) {
          v.field[c * volume + x] += kernel[Difference(flow, x, y)] * u * field[c * volume + y];
        }
      }
    }
  }
  return v;
}

FieldAndDensity Integrate(const ScalarFlow& flow, const std::vector<double>& field) {
  const int steps = static_cast<int>(flow.kernel.size()) / 2;
  const double h = 1.0 / steps;
  FieldAndDensity now{field, 0};
  const auto moved = [](const std::vector<double>& x, double factor, const std::vector<double>& v) {
    std::vector<double> out = x;
    for (size_t i = 0; i < x.size(); ++i) out[i] += factor * v[i];
    return out;
  };
  for (int step = 0; step < steps; ++step) {
    const FieldAndDensity a = Velocity(flow, 2 * step, now.field);
    const FieldAndDensity b = Velocity(flow, 2 * step + 1, moved(now.field, h / 2, a.field));
    const FieldAndDensity c = Velocity(flow, 2 * step + 1, moved(now.field, h / 2, b.field));
    const FieldAndDensity d = Velocity(flow, 2 * step + 2, moved(now.field, h, c.field));
    for (size_t i = 0; i < field.size(); ++i) {
      now.field[i] += h / 6 * (a.field[i] + 2 * b.field[i] + 2 * c.field[i] + d.field[i]);
    }
    now.log_q += h / 6 * (a.log_q + 2 * b.log_q + 2 * c.log_q + d.log_q);
  }
  return now;
}

}  // namespace haarflow::reference
