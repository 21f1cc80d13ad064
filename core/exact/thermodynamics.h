// Free energy, entropy, pressure and derivatives of log Z from weighted proposals, and the integral that checks them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "haarflow/v1/sampler.pb.h"

namespace haarflow {

// What v1::Thermodynamics holds, from a stream of proposals: constant memory, jackknife over kBins interleaved bins of
// each quantity as a whole, so that errors know the correlations between log Z and <S>, and values are corrected for
// their leading bias. On a lattice of V sites, w the weight:
//
//   E_p[log w] = <w log w> / <w>           upper bound of log Z; E_q[log w] is the lower one (Gibbs' inequality)
//   f = -log Z / V,  pressure = -f,  s = (log Z + <S>) / V,  d log Z / d parameter = -<dS / d parameter>
//
// Thread-safety: none.
class ThermodynamicsEstimator {
 public:
  static constexpr int kBins = 128;
  // The parameters of the theory, by name.
  ThermodynamicsEstimator(int64_t volume, std::vector<std::string> parameters);

  // A proposal with its action and its dS / d parameter (as many as there are parameters). NaN and +inf weights are
  // left out, as in PartitionEstimator.
  void Add(double log_weight, double action, absl::Span<const double> derivatives);

  // Errors are +inf with fewer than 2 * kBins proposals.
  v1::Thermodynamics Result() const;

 private:
  // Sums of weights, and of weights times moments {log w, S, dS / d parameter ...}, over exp(log_scale).
  struct Sums {
    uint64_t samples = 0;
    double log_scale = 0;
    double weight = 0;
    std::vector<double> moment;
  };
  static Sums Combine(const Sums& a, const Sums& b);
  Sums Zero() const;
  // {log Z, means of the moments}, less reference_.
  std::vector<double> Means(const Sums& sums) const;

  const double volume_;
  const std::vector<std::string> parameters_;
  // {log w, log w, S, dS / d parameter ...} of the first proposal, from which all is counted: constants stay exact, and
  // roundings of large numbers are not multiplied by the number of bins.
  std::vector<double> reference_;
  std::vector<double> row_;
  std::vector<Sums> bin_;
  uint64_t next_bin_ = 0;
};

// The integral of a function known at equidistant points.
struct GridIntegral {
  double value = 0;
  std::vector<double> weight;  // of each point: value = sum weight x function
  double truncation = 0;       // of the rule: the difference to the next lower order
};
// Gregory's rule, fourth order in the spacing (end corrections 3/8, 7/6, 23/24). INVALID_ARGUMENT with fewer than 6
// points.
absl::StatusOr<GridIntegral> IntegrateGrid(double spacing, absl::Span<const double> function);

}  // namespace haarflow
