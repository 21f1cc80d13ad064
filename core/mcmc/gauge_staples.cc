#include "core/mcmc/gauge_staples.h"

#include <cstddef>

namespace haarflow {

std::vector<int32_t> StapleTable(const Lattice& lattice, const std::vector<std::pair<int, int>>& sizes) {
  std::vector<std::vector<int32_t>> staples(lattice.links());
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int nu = mu + 1; nu < lattice.dims(); ++nu) {
      for (const auto& [width, height] : sizes) {
        for (int64_t site = 0; site < lattice.volume(); ++site) {
          const Path loop = Rectangle(lattice, site, mu, nu, width, height);
          const size_t n = loop.size();
          for (size_t i = 0; i < n; ++i) {
            const int sign = loop[i].sign;
            for (size_t k = 1; k < n; ++k) {
              const PathStep& step = loop[(sign > 0 ? i + k : i + n - k) % n];
              staples[loop[i].link].push_back(static_cast<int32_t>(2 * step.link + (step.sign != sign ? 1 : 0)));
            }
          }
        }
      }
    }
  }
  std::vector<int32_t> all;
  for (const auto& s : staples) all.insert(all.end(), s.begin(), s.end());
  return all;
}

}  // namespace haarflow
