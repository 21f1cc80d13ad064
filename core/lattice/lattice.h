// Periodic hypercubic lattices: the one place that knows site and direction order.
//
// Arrays are [..., t, z, y, x] in C order. Direction mu = 0 is x and moves along the LAST axis; direction mu moves
// along axis dims - 1 - mu. A site is its C-order index, 0 <= site < volume. Link (mu, x) goes from x to x + mu and has
// the index mu * volume + site: a link field is [mu, ..., y, x].
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace haarflow {

class Lattice {
 public:
  // `shape` in array order: 1 to 4 extents, each 2..4096, at most 2^26 sites. INVALID_ARGUMENT names what is wrong.
  static absl::StatusOr<Lattice> Create(const std::vector<int64_t>& shape);
  // One site and one link: where a theory of a single matrix lives.
  static Lattice Point();

  int dims() const { return static_cast<int>(shape_.size()); }
  int64_t volume() const { return volume_; }
  int64_t links() const { return volume_ * dims(); }
  int64_t plaquettes() const { return volume_ * dims() * (dims() - 1) / 2; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t extent(int mu) const { return shape_[AxisOf(mu)]; }
  int AxisOf(int mu) const { return dims() - 1 - mu; }

  int64_t Coordinate(int64_t site, int axis) const { return site / stride_[axis] % shape_[axis]; }
  // The site `steps` (any sign) from `site` in direction mu, periodically.
  int64_t Shift(int64_t site, int mu, int64_t steps) const;
  int64_t Link(int mu, int64_t site) const { return mu * volume_ + site; }

  // "16x16": for people.
  std::string ToString() const;

  friend bool operator==(const Lattice&, const Lattice&) = default;

 private:
  std::vector<int64_t> shape_;
  std::vector<int64_t> stride_;
  int64_t volume_ = 0;
};

// Orbits of sites, seen as displacements from site 0 (equally, as momenta 2 pi n / L), under the lattice's reflections
// and its permutations of directions of equal extent. Numbered from 0 by distance (coordinates taken in (-L/2, L/2]),
// then by the smallest site; orbit 0 is the origin alone.
struct Orbits {
  std::vector<int32_t> of_site;         // [volume]
  std::vector<int32_t> size;            // [orbits]
  std::vector<int64_t> representative;  // [orbits]: the smallest site
  int32_t count() const { return static_cast<int32_t>(size.size()); }
};
Orbits SymmetryOrbits(const Lattice& lattice);

// The coordinates of a site in array order, each taken in (-L/2, L/2].
std::vector<int64_t> Displacement(const Lattice& lattice, int64_t site);

// One step of an oriented path: a link, traversed along its direction (+1) or against it (-1).
struct PathStep {
  int64_t link;
  int sign;
  friend bool operator==(const PathStep&, const PathStep&) = default;
};
using Path = std::vector<PathStep>;

// The boundary of the `width` x `height` rectangle in the (mu, nu) plane whose lower left corner is `site`: `width`
// links along +mu first, then +nu, -mu, -nu. Rectangle(lattice, x, mu, nu, 1, 1) is the plaquette theta_P = theta_mu(x)
// + theta_nu(x + mu) - theta_mu(x + nu) - theta_nu(x).
Path Rectangle(const Lattice& lattice, int64_t site, int mu, int nu, int64_t width, int64_t height);

}  // namespace haarflow
