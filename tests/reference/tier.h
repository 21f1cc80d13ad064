// The two tiers of the tests: `deploy/test.sh --long` sets HAARFLOW_LONG, statistics then run at full length.
#pragma once

#include <cstdlib>

namespace haarflow::testing {

// `usual`, or `full` in the long tier.
template <class T>
T Length(T usual, T full) {
  return std::getenv("HAARFLOW_LONG") != nullptr ? full : usual;
}

}  // namespace haarflow::testing
