// Site order, shifts and paths on lattices whose extents all differ, where every mix-up of axes shows.
#include "core/lattice/lattice.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace haarflow {
namespace {

const std::vector<std::vector<int64_t>> kShapes = {{3, 5}, {4, 2, 3}, {2, 3, 4, 5}};

TEST(Lattice, DirectionZeroMovesAlongTheLastAxis) {
  const Lattice lattice = Lattice::Create({2, 3, 4, 5}).value();
  // Site (t, z, y, x) = (1, 2, 3, 4), the last one.
  const int64_t site = ((1 * 3 + 2) * 4 + 3) * 5 + 4;
  EXPECT_EQ(site, lattice.volume() - 1);
  EXPECT_EQ(lattice.Shift(site, 0, 1), ((1 * 3 + 2) * 4 + 3) * 5 + 0);
  EXPECT_EQ(lattice.Shift(site, 1, 1), ((1 * 3 + 2) * 4 + 0) * 5 + 4);
  EXPECT_EQ(lattice.Shift(site, 2, 1), ((1 * 3 + 0) * 4 + 3) * 5 + 4);
  EXPECT_EQ(lattice.Shift(site, 3, 1), ((0 * 3 + 2) * 4 + 3) * 5 + 4);
  EXPECT_EQ(lattice.extent(0), 5);
  EXPECT_EQ(lattice.extent(3), 2);
  EXPECT_EQ(lattice.Link(2, 7), 2 * lattice.volume() + 7);
  EXPECT_EQ(lattice.ToString(), "2x3x4x5");
}

TEST(Lattice, CountsSitesLinksAndPlaquettes) {
  const Lattice lattice = Lattice::Create({4, 2, 3}).value();
  EXPECT_EQ(lattice.volume(), 24);
  EXPECT_EQ(lattice.links(), 72);
  EXPECT_EQ(lattice.plaquettes(), 72);
}

TEST(Lattice, ShiftsAreInvertiblePeriodicAndCommute) {
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    for (int64_t x = 0; x < lattice.volume(); ++x) {
      for (int mu = 0; mu < lattice.dims(); ++mu) {
        EXPECT_NE(lattice.Shift(x, mu, 1), x);
        EXPECT_EQ(lattice.Shift(lattice.Shift(x, mu, 1), mu, -1), x);
        EXPECT_EQ(lattice.Shift(x, mu, lattice.extent(mu)), x);
        EXPECT_EQ(lattice.Shift(x, mu, -7 * lattice.extent(mu) - 1), lattice.Shift(x, mu, -1));
        for (int nu = 0; nu < lattice.dims(); ++nu) {
          EXPECT_EQ(lattice.Shift(lattice.Shift(x, mu, 2), nu, -1), lattice.Shift(lattice.Shift(x, nu, -1), mu, 2));
        }
      }
    }
  }
}

// Walks the path and fails where a step does not begin where the last one ended.
int64_t EndOfWalk(const Lattice& lattice, const Path& path, int64_t start) {
  int64_t site = start;
  for (const PathStep& step : path) {
    const int mu = static_cast<int>(step.link / lattice.volume());
    const int64_t tail = step.link % lattice.volume();
    EXPECT_EQ(site, step.sign > 0 ? tail : lattice.Shift(tail, mu, 1));
    site = step.sign > 0 ? lattice.Shift(tail, mu, 1) : tail;
  }
  return site;
}

TEST(Lattice, RectanglesAreClosedPathsOfTheRightLength) {
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    for (int mu = 0; mu < lattice.dims(); ++mu) {
      for (int nu = 0; nu < lattice.dims(); ++nu) {
        if (mu == nu) continue;
        for (int64_t x = 0; x < lattice.volume(); ++x) {
          const Path path = Rectangle(lattice, x, mu, nu, 2, 3);
          EXPECT_EQ(path.size(), 10u);
          EXPECT_EQ(path.front(), (PathStep{lattice.Link(mu, x), +1}));
          EXPECT_EQ(EndOfWalk(lattice, path, x), x);
        }
      }
    }
  }
}

TEST(Lattice, TheUnitRectangleIsThePlaquette) {
  const Lattice lattice = Lattice::Create({3, 5}).value();
  const Path expected = {
      {lattice.Link(0, 4), +1}, {lattice.Link(1, 0), +1}, {lattice.Link(0, 9), -1}, {lattice.Link(1, 4), -1}};
  EXPECT_EQ(Rectangle(lattice, 4, 0, 1, 1, 1), expected);
}

TEST(Lattice, RefusesShapesOutsideItsLimits) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {}, {1}, {2, 2, 2, 2, 2}, {1, 8}, {8, 0}, {8, -4}, {4097, 2}, {4096, 4096, 8}, {4096, 4096, 4096, 4096}}) {
    EXPECT_EQ(Lattice::Create(shape).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(Lattice::Create({4096, 4096, 4}).ok());
  EXPECT_TRUE(Lattice::Create({2}).ok());
  EXPECT_EQ(Lattice::Create({8}).value().plaquettes(), 0);
}

// ------------------------------------------------------------------------------------------------------------ symmetry

TEST(Displacement, IsTheShortestWayBack) {
  const Lattice lattice = Lattice::Create({4, 5}).value();
  EXPECT_EQ(Displacement(lattice, 0), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(Displacement(lattice, 2 * 5 + 2), (std::vector<int64_t>{2, 2}));  // half of an even extent is positive
  EXPECT_EQ(Displacement(lattice, 3 * 5 + 3), (std::vector<int64_t>{-1, -2}));
  for (int64_t x = 0; x < lattice.volume(); ++x) {
    const auto d = Displacement(lattice, x);
    EXPECT_EQ(lattice.Shift(lattice.Shift(0, 1, d[0]), 0, d[1]), x);
  }
}

// All images of a site under reflections of axes and exchanges of two axes of equal extent, found by walking.
std::set<int64_t> OrbitByWalking(const Lattice& lattice, int64_t site) {
  const int dims = lattice.dims();
  const auto site_at = [&](const std::vector<int64_t>& at) {
    int64_t x = 0;
    for (int axis = 0; axis < dims; ++axis) {
      const int64_t extent = lattice.shape()[axis];
      x = x * extent + (at[axis] % extent + extent) % extent;
    }
    return x;
  };
  std::set<int64_t> orbit;
  std::vector<int64_t> open = {site};
  while (!open.empty()) {
    const int64_t x = open.back();
    open.pop_back();
    if (!orbit.insert(x).second) continue;
    std::vector<int64_t> at(dims);
    for (int axis = 0; axis < dims; ++axis) at[axis] = lattice.Coordinate(x, axis);
    for (int a = 0; a < dims; ++a) {
      auto image = at;
      image[a] = -image[a];
      open.push_back(site_at(image));
      for (int b = 0; b < a; ++b) {
        if (lattice.shape()[a] != lattice.shape()[b]) continue;
        image = at;
        std::swap(image[a], image[b]);
        open.push_back(site_at(image));
      }
    }
  }
  return orbit;
}

TEST(SymmetryOrbits, AreTheOrbitsOfReflectionsAndExchanges) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {2}, {7}, {8}, {4, 4}, {5, 5}, {4, 6}, {3, 4, 3}, {4, 4, 4}, {2, 3, 2, 3}, {3, 3, 3, 3}}) {
    const Lattice lattice = Lattice::Create(shape).value();
    const Orbits orbits = SymmetryOrbits(lattice);
    EXPECT_EQ(std::accumulate(orbits.size.begin(), orbits.size.end(), 0), lattice.volume());
    for (int64_t x = 0; x < lattice.volume(); ++x) {
      const std::set<int64_t> orbit = OrbitByWalking(lattice, x);
      const int32_t o = orbits.of_site[x];
      EXPECT_EQ(static_cast<int64_t>(orbit.size()), orbits.size[o]);
      EXPECT_EQ(*orbit.begin(), orbits.representative[o]);
      for (const int64_t y : orbit) EXPECT_EQ(orbits.of_site[y], o);
    }
  }
}

TEST(SymmetryOrbits, AreNumberedByDistanceThenBySmallestSite) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{8}, {16, 16}, {4, 6}, {4, 4, 6}}) {
    const Lattice lattice = Lattice::Create(shape).value();
    const Orbits orbits = SymmetryOrbits(lattice);
    const auto distance = [&](int64_t x) {
      int64_t square = 0;
      for (const int64_t d : Displacement(lattice, x)) square += d * d;
      return square;
    };
    EXPECT_EQ(orbits.of_site[0], 0);
    EXPECT_EQ(orbits.size[0], 1);
    for (int32_t o = 1; o < orbits.count(); ++o) {
      const int64_t a = orbits.representative[o - 1], b = orbits.representative[o];
      EXPECT_TRUE(distance(a) < distance(b) || (distance(a) == distance(b) && a < b)) << lattice.ToString() << " " << o;
    }
  }
  // On a square of even extent: 0 <= a <= b <= L / 2.
  EXPECT_EQ(SymmetryOrbits(Lattice::Create({8, 8}).value()).count(), 15);
  EXPECT_EQ(SymmetryOrbits(Lattice::Create({4, 6}).value()).count(), 12);
}

}  // namespace
}  // namespace haarflow
