// Specs of small loop flows for tests.
#pragma once

#include <string>

namespace haarflow::testing {

// Linear loops of areas 1 to 3, a twisted one, products with frozen neighbours, squares and cubes of the active
// plaquette.
inline const char kLoopClasses2d[] = R"(
  classes { name: "plaquette" loops { steps: [1, 2, -1, -2] } }
  classes { name: "rectangle" loops { steps: [1, 1, 2, -1, -1, -2] } }
  classes { name: "corner" loops { steps: [1, 1, 2, -1, 2, -1, -2, -2] } }
  classes { name: "strip" loops { steps: [1, 1, 1, 2, -1, -1, -1, -2] } }
  classes { name: "twisted" loops { steps: [2, -1, -2, 1, 2, 1, -2, -1] } }
  classes { name: "square" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] } }
  classes { name: "modulus" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] conjugate: true } }
  classes { name: "neighbours" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] start: [1, 0] } }
  classes {
    name: "neighbours_conjugate"
    loops { steps: [1, 2, -1, -2] }
    loops { steps: [1, 2, -1, -2] start: [1, 0] conjugate: true }
  }
  classes { name: "cube" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] } }
  classes { name: "plaquette_rectangle" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 1, 2, -1, -1, -2] } }
)";

inline const char kLoopClasses4d[] = R"(
  classes { name: "plaquette" loops { steps: [1, 2, -1, -2] } }
  classes { name: "rectangle" loops { steps: [1, 1, 2, -1, -1, -2] } }
  classes { name: "chair" loops { steps: [1, 2, 3, -2, -1, -3] } }
  classes { name: "square" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] } }
  classes { name: "modulus" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] conjugate: true } }
)";

// Products of sums over the images through a link; those joined at the link are for SU(3).
inline const char kIndependentLoops[] = R"(
  classes { name: "plaquette" loops { steps: [1, 2, -1, -2] } }
  classes {
    name: "modulus"
    independent: true
    loops { steps: [1, 2, -1, -2] }
    loops { steps: [1, 2, -1, -2] conjugate: true }
  }
  classes {
    name: "cube"
    independent: true
    loops { steps: [1, 2, -1, -2] conjugate: true }
    loops { steps: [1, 2, -1, -2] }
    loops { steps: [1, 2, -1, -2] }
  }
  classes { name: "end" loops { steps: [1, 1, 2, -1, -1, -2] active_steps: [2, 5] } }
  classes {
    name: "plaquette_end"
    independent: true
    loops { steps: [1, 2, -1, -2] }
    loops { steps: [1, 1, 2, -1, -1, -2] active_steps: [2, 5] }
  }
)";
inline const char kJoinedLoops[] = R"(
  classes {
    name: "joined"
    independent: true
    joined: true
    loops { steps: [1, 2, -1, -2] }
    loops { steps: [1, 2, -1, -2] }
  }
  classes {
    name: "joined_end"
    independent: true
    joined: true
    loops { steps: [1, 2, -1, -2] }
    loops { steps: [1, 1, 2, -1, -1, -2] active_steps: [2, 5] }
  }
)";

// Staples in place of links: of active loops, of a frozen one, in products and joined loops.
inline const char kFatLoops[] = R"(
  classes { name: "plaquette" loops { steps: [1, 2, -1, -2] } }
  classes { name: "fat sides" loops { steps: [1, 2, -1, -2] active_steps: [0] fat_steps: [1, 3] } }
  classes { name: "fat corner" loops { steps: [1, 2, -1, -2] active_steps: [0] fat_steps: [1, 2] } }
  classes { name: "fat end" loops { steps: [1, 1, 2, -1, -1, -2] active_steps: [5] fat_steps: [1, 4] } }
  classes {
    name: "fat neighbour"
    loops { steps: [1, 2, -1, -2] active_steps: [3] }
    loops { steps: [1, 2, -1, -2] start: [1, 0] fat_steps: [2] conjugate: true }
  }
  classes {
    name: "plaquette_fat"
    independent: true
    loops { steps: [1, 2, -1, -2] }
    loops { steps: [1, 2, -1, -2] active_steps: [0] fat_steps: [1, 2, 3] conjugate: true }
  }
)";
inline const char kStaggered[] = " masks: LINK_MASK_FAMILY_STAGGERED_ROWS ";

// One of each kind that a matrix program has: linear loops, loops times a trace, products of two and three traces,
// conjugated factors.
inline const char kManyLoopClasses4d[] = R"(
  classes { name: "plaquette" loops { steps: [1, 2, -1, -2] } }
  classes { name: "rectangle" loops { steps: [1, 1, 2, -1, -1, -2] } }
  classes { name: "chair end" loops { steps: [2, 1, -2, 3, -1, -3] active_steps: [1, 4] } }
  classes { name: "square" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] } }
  classes { name: "modulus" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] conjugate: true } }
  classes { name: "opposite" loops { steps: [1, 2, -1, -2] active_steps: [0] } loops { steps: [1, -2, -1, 2] conjugate: true } }
  classes { name: "perpendicular" loops { steps: [1, 2, -1, -2] active_steps: [0] } loops { steps: [1, 3, -1, -3] } }
  classes { name: "neighbours" loops { steps: [1, 2, -1, -2] active_steps: [0, 2] } loops { steps: [2, 3, -2, -3] start: [1, 0, 0, 0] } }
  classes { name: "modulus cube" loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] conjugate: true } }
)";

inline std::string LoopSpec(int colours, const std::string& shape, double beta, int sweeps, const std::string& classes,
                            const std::string& more = "") {
  return "name: \"loop\" spec_version: 1 target { lattice { " + shape +
         " } sun_wilson { colours: " + std::to_string(colours) + " beta: " + std::to_string(beta) +
         " } } prior { uniform {} } layers { loop_flow { sweeps: " + std::to_string(sweeps) + " " + classes +
         " } } training { seed: 1 evaluation_samples: 16384 " + more + " }";
}

inline std::string ContinuousLoopSpec(int colours, const std::string& shape, double beta, int time_modes,
                                      const std::string& classes, const std::string& more = "") {
  return "name: \"loop\" spec_version: 1 target { lattice { " + shape +
         " } sun_wilson { colours: " + std::to_string(colours) + " beta: " + std::to_string(beta) +
         " } } prior { uniform {} } layers { continuous_loop_flow { time_modes: " + std::to_string(time_modes) + " " +
         classes + " } } training { seed: 1 evaluation_samples: 16384 " + more + " }";
}

}  // namespace haarflow::testing
