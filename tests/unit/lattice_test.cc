// Site order, shifts and paths on lattices whose extents all differ, where every mix-up of axes shows.
#include "core/lattice/lattice.h"

#include <map>
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
           {}, {8}, {2, 2, 2, 2, 2}, {1, 8}, {8, 0}, {8, -4}, {4097, 2}, {4096, 4096, 8}, {4096, 4096, 4096, 4096}}) {
    EXPECT_EQ(Lattice::Create(shape).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(Lattice::Create({4096, 4096, 4}).ok());
}

}  // namespace
}  // namespace haarflow
