#include "core/action/u1_wilson.h"

#include <cmath>
#include <vector>

namespace haarflow {
namespace {

// to[x] += factor * from[x + steps mu] for all sites x, 0 <= steps < extent(mu). In memory a shift along one axis is a
// cyclic rotation inside blocks of (extent x stride) sites: two contiguous runs per block, no index arithmetic per
// site.
void AddShifted(const Lattice& lattice, const double* from, int mu, int64_t steps, double factor, double* to) {
  int64_t stride = 1;
  for (int direction = 0; direction < mu; ++direction) stride *= lattice.extent(direction);
  const int64_t block = stride * lattice.extent(mu);
  const int64_t shift = stride * steps;
  for (int64_t start = 0; start < lattice.volume(); start += block) {
    const double* source = from + start;
    double* target = to + start;
    for (int64_t i = 0; i < block - shift; ++i) target[i] += factor * source[i + shift];
    for (int64_t i = 0; i < shift; ++i) target[block - shift + i] += factor * source[i];
  }
}

}  // namespace

void U1LoopAngles(const Lattice& lattice, const double* links, int mu, int nu, int64_t width, int64_t height,
                  double* angles) {
  const double* along_mu = links + lattice.Link(mu, 0);
  const double* along_nu = links + lattice.Link(nu, 0);
  const int64_t volume = lattice.volume();
  if (width == 1 && height == 1) {
    for (int64_t x = 0; x < volume; ++x) angles[x] = along_mu[x] - along_nu[x];
    AddShifted(lattice, along_nu, mu, 1, +1, angles);
    AddShifted(lattice, along_mu, nu, 1, -1, angles);
    return;
  }
  // Straight lines first, so that the cost is width + height, not their product.
  std::vector<double> bottom(volume, 0.0);
  std::vector<double> left(volume, 0.0);
  for (int64_t i = 0; i < width; ++i) AddShifted(lattice, along_mu, mu, i % lattice.extent(mu), 1, bottom.data());
  for (int64_t i = 0; i < height; ++i) AddShifted(lattice, along_nu, nu, i % lattice.extent(nu), 1, left.data());
  for (int64_t x = 0; x < volume; ++x) angles[x] = bottom[x] - left[x];
  AddShifted(lattice, left.data(), mu, width % lattice.extent(mu), +1, angles);
  AddShifted(lattice, bottom.data(), nu, height % lattice.extent(nu), -1, angles);
}

double U1WilsonActionOf(const Lattice& lattice, double beta, const double* links) {
  std::vector<double> angles(lattice.volume());
  double sum = 0;
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int nu = mu + 1; nu < lattice.dims(); ++nu) {
      U1LoopAngles(lattice, links, mu, nu, 1, 1, angles.data());
      for (double angle : angles) sum += std::cos(angle);
    }
  }
  return -beta * sum;
}

void U1WilsonGradient(const Lattice& lattice, double beta, const double* links, double* gradient) {
  const int64_t volume = lattice.volume();
  std::vector<double> sine(volume);
  for (int64_t link = 0; link < lattice.links(); ++link) gradient[link] = 0;
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int nu = mu + 1; nu < lattice.dims(); ++nu) {
      U1LoopAngles(lattice, links, mu, nu, 1, 1, sine.data());
      for (double& s : sine) s = beta * std::sin(s);
      double* g_mu = gradient + lattice.Link(mu, 0);
      double* g_nu = gradient + lattice.Link(nu, 0);
      // Every link is in two plaquettes of the plane: with + as the bottom (left) edge of one, with - as the top
      // (right) of the other.
      for (int64_t x = 0; x < volume; ++x) {
        g_mu[x] += sine[x];
        g_nu[x] -= sine[x];
      }
      AddShifted(lattice, sine.data(), nu, lattice.extent(nu) - 1, -1, g_mu);
      AddShifted(lattice, sine.data(), mu, lattice.extent(mu) - 1, +1, g_nu);
    }
  }
}

}  // namespace haarflow
