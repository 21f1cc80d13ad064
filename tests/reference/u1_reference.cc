#include "tests/reference/u1_reference.h"

#include <cmath>
#include <complex>

namespace haarflow::reference {
namespace {

const double kPi = std::acos(-1.0);

// C-order index of a site given its coordinates, which may be outside the lattice by any amount.
int64_t Index(const Shape& shape, const Shape& site) {
  int64_t index = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const int64_t extent = shape[axis];
    index = index * extent + ((site[axis] % extent) + extent) % extent;
  }
  return index;
}

double LinkAt(const Shape& shape, const Field& links, const Shape& site, int mu) {
  return links[mu * Volume(shape) + Index(shape, site)];
}

Shape Coordinates(const Shape& shape, int64_t index) {
  Shape site(shape.size());
  for (int axis = static_cast<int>(shape.size()) - 1; axis >= 0; --axis) {
    site[axis] = index % shape[axis];
    index /= shape[axis];
  }
  return site;
}

double UniformAngle(std::mt19937_64* random) { return std::uniform_real_distribution<double>(-kPi, kPi)(*random); }

// Density exp(beta cos) by rejection from the uniform one: as plain as it gets.
double VonMises(double beta, std::mt19937_64* random) {
  std::uniform_real_distribution<double> unit(0, 1);
  for (;;) {
    const double angle = UniformAngle(random);
    if (unit(*random) < std::exp(beta * (std::cos(angle) - 1))) return angle;
  }
}

// V plaquette angles that sum to zero mod 2 pi.
Field ClosedPlaquettes(int64_t volume, double beta, std::mt19937_64* random) {
  std::uniform_real_distribution<double> unit(0, 1);
  Field plaquettes(volume);
  for (;;) {
    double sum = 0;
    for (int64_t i = 0; i + 1 < volume; ++i) sum += plaquettes[i] = VonMises(beta, random);
    plaquettes[volume - 1] = -sum;
    if (unit(*random) < std::exp(beta * (std::cos(sum) - 1))) return plaquettes;
  }
}

}  // namespace

int64_t Volume(const Shape& shape) {
  int64_t volume = 1;
  for (int64_t extent : shape) volume *= extent;
  return volume;
}

int64_t Links(const Shape& shape) { return Volume(shape) * static_cast<int64_t>(shape.size()); }

double LoopAngle(const Shape& shape, const Field& links, Shape site, int mu, int nu, int64_t width, int64_t height) {
  const int axis_mu = static_cast<int>(shape.size()) - 1 - mu;
  const int axis_nu = static_cast<int>(shape.size()) - 1 - nu;
  double angle = 0;
  for (int64_t i = 0; i < width; ++i, ++site[axis_mu]) angle += LinkAt(shape, links, site, mu);
  for (int64_t i = 0; i < height; ++i, ++site[axis_nu]) angle += LinkAt(shape, links, site, nu);
  for (int64_t i = 0; i < width; ++i) {
    --site[axis_mu];
    angle -= LinkAt(shape, links, site, mu);
  }
  for (int64_t i = 0; i < height; ++i) {
    --site[axis_nu];
    angle -= LinkAt(shape, links, site, nu);
  }
  return angle;
}

double PlaquetteSum(const Shape& shape, const Field& links) {
  const int dims = static_cast<int>(shape.size());
  double sum = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (int mu = 0; mu < dims; ++mu) {
      for (int nu = mu + 1; nu < dims; ++nu)
        sum += std::cos(LoopAngle(shape, links, Coordinates(shape, x), mu, nu, 1, 1));
    }
  }
  return sum;
}

double Action(const Shape& shape, double beta, const Field& links) { return -beta * PlaquetteSum(shape, links); }

double WilsonLoop(const Shape& shape, const Field& links, int64_t r, int64_t t) {
  const int dims = static_cast<int>(shape.size());
  double sum = 0;
  int64_t loops = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (int mu = 0; mu < dims; ++mu) {
      for (int nu = 0; nu < dims; ++nu) {
        if (mu == nu) continue;
        sum += std::cos(LoopAngle(shape, links, Coordinates(shape, x), mu, nu, r, t));
        ++loops;
      }
    }
  }
  return sum / static_cast<double>(loops);
}

double Charge(const Shape& shape, const Field& links) {
  double sum = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    sum += std::arg(std::polar(1.0, LoopAngle(shape, links, Coordinates(shape, x), 0, 1, 1, 1)));
  }
  return sum / (2 * kPi);
}

Field Gradient(const Shape& shape, double beta, const Field& links) {
  constexpr double kStep = 1e-5;
  Field gradient(links.size());
  Field moved = links;
  for (size_t link = 0; link < links.size(); ++link) {
    moved[link] = links[link] + kStep;
    const double above = Action(shape, beta, moved);
    moved[link] = links[link] - kStep;
    const double below = Action(shape, beta, moved);
    moved[link] = links[link];
    gradient[link] = (above - below) / (2 * kStep);
  }
  return gradient;
}

Field RandomField(const Shape& shape, std::mt19937_64* random) {
  Field links(Links(shape));
  for (double& link : links) link = UniformAngle(random);
  return links;
}

Field PerfectSample2d(const Shape& shape, double beta, std::mt19937_64* random) {
  const int64_t ny = shape[0];
  const int64_t nx = shape[1];
  const Field plaquettes = ClosedPlaquettes(nx * ny, beta, random);
  Field links(2 * nx * ny, 0.0);
  const auto x_link = [&](int64_t y, int64_t x) -> double& { return links[y * nx + x]; };
  const auto y_link = [&](int64_t y, int64_t x) -> double& { return links[nx * ny + y * nx + x]; };

  // theta_P(x, y) = theta_x(x, y) + theta_y(x + 1, y) - theta_x(x, y + 1) - theta_y(x, y). With theta_y = 0 except in
  // the top row, theta_x of row y + 1 follows from row y; the top row's plaquettes close through its theta_y.
  for (int64_t y = 0; y + 1 < ny; ++y) {
    for (int64_t x = 0; x < nx; ++x) x_link(y + 1, x) = x_link(y, x) - plaquettes[y * nx + x];
  }
  for (int64_t x = 0; x + 1 < nx; ++x) {
    y_link(ny - 1, x + 1) = plaquettes[(ny - 1) * nx + x] - x_link(ny - 1, x) + x_link(0, x) + y_link(ny - 1, x);
  }
  // Holonomies: constants on a column of x links and on a row of y links change no plaquette.
  const double around_x = UniformAngle(random);
  const double around_y = UniformAngle(random);
  for (int64_t y = 0; y < ny; ++y) x_link(y, 0) += around_x;
  for (int64_t x = 0; x < nx; ++x) y_link(0, x) += around_y;
  // Random gauge: theta_mu(x) + g(x) - g(x + mu).
  Field gauge(nx * ny);
  for (double& g : gauge) g = UniformAngle(random);
  for (int64_t y = 0; y < ny; ++y) {
    for (int64_t x = 0; x < nx; ++x) {
      const double here = gauge[y * nx + x];
      x_link(y, x) += here - gauge[y * nx + (x + 1) % nx];
      y_link(y, x) += here - gauge[(y + 1) % ny * nx + x];
    }
  }
  for (double& link : links) link = std::remainder(link, 2 * kPi);
  return links;
}

}  // namespace haarflow::reference
