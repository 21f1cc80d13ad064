// Products of Wilson loops through one link: the images of a class of loops under the lattice's symmetries.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// A link by its place relative to another one's site, traversed along its direction or against it.
struct RelativeStep {
  std::array<int16_t, 4> at = {};  // displacement by direction, x first
  int8_t mu = 0;
  bool backward = false;
  bool fat = false;  // the sum over the staples around it
  friend auto operator<=>(const RelativeStep&, const RelativeStep&) = default;
};
using RelativePath = std::vector<RelativeStep>;

// The matrix product of a path's links, from left to right; the adjoint runs backwards.
RelativePath AdjointPath(const RelativePath& path);

// coefficient[class] x Re[ frozen trace x product of sums of tr(U rest), each conjugated or not ]; or, joined, Re of
// the sums of tr(U rest_1 U rest_2).
struct LoopTerm {
  struct Active {
    std::vector<RelativePath> rests;  // loops without the active link, which they traverse first and forwards
    bool conjugate = false;
    friend auto operator<=>(const Active&, const Active&) = default;
  };
  struct Frozen {
    RelativePath loop;
    bool conjugate = false;
    friend auto operator<=>(const Frozen&, const Frozen&) = default;
  };
  int loop_class = 0;
  std::vector<Active> active;  // one to three, the first not conjugated
  std::optional<Frozen> frozen;
  bool joined = false;
};

// The staples around a link from one end to the other, forwards.
std::vector<RelativePath> StaplesAround(const RelativeStep& link, int dims);

// The site of `lattice` at a displacement.
int64_t SiteAt(const Lattice& lattice, int64_t site, const std::array<int16_t, 4>& displacement);

// INVALID_ARGUMENT, beginning with `path`, for a class that is not one to three closed loops on the lattice's
// directions.
absl::Status CheckLoopClass(const v1::LoopClass& loop_class, int dims, const std::string& path);

// All terms of a class for the link (mu, site): images under rotations and reflections that pass it, each once, without
// those in which a loop passes it twice or passes another active link. With real traces (SU(2)) conjugation means
// nothing. Of a class of independent loops: one term. FAILED_PRECONDITION when an image has more than one frozen loop.
absl::StatusOr<std::vector<LoopTerm>> LoopTermsAt(const v1::LoopClass& loop_class, int class_index,
                                                  const Lattice& lattice, int mu, int64_t site, bool real_traces,
                                                  const std::function<bool(int64_t link)>& is_active);

}  // namespace haarflow
