// Staples of links, as the kernels of Markov chains take them (core/kernel/cpu/gauge_isa.h).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/lattice/lattice.h"

namespace haarflow {

// Of the loops of the sizes (width, height), the same number of links in each: for each place of a link in a loop, the
// loop's other links from there on, the loop reversed where the link is traversed backwards. [links][staples of a
// link][links of a staple]: 2 x link, + 1 for its adjoint.
std::vector<int32_t> StapleTable(const Lattice& lattice, const std::vector<std::pair<int, int>>& sizes);

}  // namespace haarflow
