#include "core/lattice/lattice.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/base/status.h"

namespace haarflow {

absl::StatusOr<Lattice> Lattice::Create(const std::vector<int64_t>& shape) {
  constexpr int64_t kMaxExtent = 4096;
  constexpr int64_t kMaxVolume = int64_t{1} << 26;
  if (shape.empty() || shape.size() > 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("lattice.shape has ", shape.size(), " extents; 1 to 4 are supported"));
  }
  Lattice lattice;
  lattice.shape_ = shape;
  lattice.stride_.assign(shape.size(), 1);
  lattice.volume_ = 1;
  for (int axis = static_cast<int>(shape.size()) - 1; axis >= 0; --axis) {
    if (shape[axis] < 2 || shape[axis] > kMaxExtent) {
      return absl::InvalidArgumentError(
          absl::StrCat("lattice.shape[", axis, "] is ", shape[axis], "; extents are 2..", kMaxExtent));
    }
    lattice.stride_[axis] = lattice.volume_;
    lattice.volume_ *= shape[axis];
    if (lattice.volume_ > kMaxVolume) {
      return absl::InvalidArgumentError(
          absl::StrCat("lattice.shape ", absl::StrJoin(shape, "x"), " has more than 2^26 sites"));
    }
  }
  return lattice;
}

Lattice Lattice::Point() {
  Lattice lattice;
  lattice.shape_ = lattice.stride_ = {1};
  lattice.volume_ = 1;
  return lattice;
}

int64_t Lattice::Shift(int64_t site, int mu, int64_t steps) const {
  const int axis = AxisOf(mu);
  const int64_t from = Coordinate(site, axis);
  int64_t to = (from + steps) % shape_[axis];
  if (to < 0) to += shape_[axis];
  return site + (to - from) * stride_[axis];
}

std::string Lattice::ToString() const { return absl::StrJoin(shape_, "x"); }

std::vector<int64_t> Displacement(const Lattice& lattice, int64_t site) {
  std::vector<int64_t> d(lattice.dims());
  for (int axis = 0; axis < lattice.dims(); ++axis) {
    d[axis] = lattice.Coordinate(site, axis);
    if (2 * d[axis] > lattice.shape()[axis]) d[axis] -= lattice.shape()[axis];
  }
  return d;
}

Orbits SymmetryOrbits(const Lattice& lattice) {
  // An orbit is named by its coordinates' absolute values, sorted among axes of equal extent.
  using Key = std::vector<std::pair<int64_t, int64_t>>;  // (extent, |d|)
  std::map<std::pair<int64_t, Key>, std::vector<int64_t>> members;
  for (int64_t site = 0; site < lattice.volume(); ++site) {
    const std::vector<int64_t> d = Displacement(lattice, site);
    Key key;
    int64_t distance = 0;
    for (int axis = 0; axis < lattice.dims(); ++axis) {
      key.emplace_back(lattice.shape()[axis], std::abs(d[axis]));
      distance += d[axis] * d[axis];
    }
    std::sort(key.begin(), key.end());
    members[{distance, std::move(key)}].push_back(site);
  }
  std::vector<std::pair<std::pair<int64_t, int64_t>, const std::vector<int64_t>*>> order;
  for (const auto& [key, sites] : members) order.push_back({{key.first, sites.front()}, &sites});
  std::sort(order.begin(), order.end());
  Orbits orbits;
  orbits.of_site.resize(lattice.volume());
  for (const auto& [key, sites] : order) {
    for (int64_t site : *sites) orbits.of_site[site] = orbits.count();
    orbits.size.push_back(static_cast<int32_t>(sites->size()));
    orbits.representative.push_back(sites->front());
  }
  return orbits;
}

Path Rectangle(const Lattice& lattice, int64_t site, int mu, int nu, int64_t width, int64_t height) {
  Path path;
  path.reserve(2 * (width + height));
  int64_t x = site;
  for (int64_t i = 0; i < width; ++i, x = lattice.Shift(x, mu, 1)) path.push_back({lattice.Link(mu, x), +1});
  for (int64_t i = 0; i < height; ++i, x = lattice.Shift(x, nu, 1)) path.push_back({lattice.Link(nu, x), +1});
  for (int64_t i = 0; i < width; ++i) {
    x = lattice.Shift(x, mu, -1);
    path.push_back({lattice.Link(mu, x), -1});
  }
  for (int64_t i = 0; i < height; ++i) {
    x = lattice.Shift(x, nu, -1);
    path.push_back({lattice.Link(nu, x), -1});
  }
  return path;
}

}  // namespace haarflow
