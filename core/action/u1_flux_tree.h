// The perfect sampler of two-dimensional U(1) gauge theory on a torus: plaquette angles through a binary tree of block
// fluxes, then links.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/action/conditional_quantile.h"
#include "core/action/perfect.h"
#include "core/action/u1_broken_split.h"
#include "core/action/u1_plaquette.h"
#include "core/action/u1_plaquette_torus.h"
#include "core/lattice/lattice.h"

namespace haarflow {

// Plaquette angles of the density prod_P w(theta_P), their sum being 0 mod 2 pi, for any weight of one plaquette
// w(x) = sum_n c_n e^{-inx}, c_0 = 1. The flux x of one part of a block of flux phi has the density f_A(x) f_B(phi - x)
// / f_{A+B}(phi), A and B the areas of the parts and
//
//   f_A(x) = sum_n c_n^A e^{-inx}.
//
// Where the weight jumps at pi (a theta term), or has a kink there (Manton's action), the series of small blocks hardly
// converge; their splits are tabulated in two smooth pieces instead (u1_broken_split.h).
// Blocks are rectangles, split across their longer side; the root has flux 0. One uniform number decides each split: an
// invertible map of V - 1 numbers in [0, 1) to V angles, without rejection. Probabilities are right to about 1e-13 (of
// the whole): the interpolation error of the tables. Thread-safe, immutable.
class U1FluxTree {
 public:
  // An even, smooth weight. `ratio`: c_0 = 1, c_1, c_2, ..., which decrease and are not negative, the last ones
  // negligible (below 1e-20). INVALID_ARGUMENT unless the lattice has two dimensions and the coefficients are as said.
  static absl::StatusOr<U1FluxTree> Create(const Lattice& lattice, absl::Span<const double> ratio);
  // w(x) = exp(-s(x) + theta_I x / 2 pi), `torus` its exact solution. INVALID_ARGUMENT unless the lattice has two
  // dimensions.
  static absl::StatusOr<U1FluxTree> Create(const Lattice& lattice, const U1Plaquette& plaquette,
                                           const U1PlaquetteTorus& torus);

  int64_t volume() const { return volume_; }
  int64_t splits() const { return static_cast<int64_t>(splits_.size()); }
  // uniform[V - 1] to angle[V] in [-pi, pi), by site; `flux` is V numbers of scratch memory.
  void Angles(const double* uniform, double* angle, double* flux) const;
  // The inverse, of angles that sum to 0 mod 2 pi.
  void Uniforms(const double* angle, double* uniform) const;
  // Doubles in tables.
  int64_t table_size() const;

 private:
  using Areas = std::pair<int64_t, int64_t>;
  struct Split {
    int32_t kind;      // a table, or -1 - a broken one
    int32_t child[2];  // position of its flux: of a split, or V - 1 + site
  };
  U1FluxTree() = default;
  static absl::StatusOr<U1FluxTree> Grown(const Lattice& lattice, std::vector<Areas>* kinds);
  int32_t Grow(const std::vector<int64_t>& box, int64_t nx, std::vector<Areas>* kinds);
  double Quantile(int32_t kind, double phi, double u) const {
    return kind >= 0 ? tables_[kind].Quantile(phi, u) : broken_[-1 - kind].Quantile(phi, u);
  }

  int64_t volume_ = 0;
  std::vector<Split> splits_;  // a split comes before its parts
  std::vector<ConditionalQuantile> tables_;
  std::vector<U1BrokenSplit> broken_;
};

// Plaquette actions: the flux tree's plaquettes, a random gauge and random holonomies. The density of the links is
// exp(-S) / Z with respect to Haar measure.
class U1PerfectSampler final : public PerfectSampler {
 public:
  // Of |theta_imaginary|. Beyond, the charges that count are rare without the theta term: tables would lose digits.
  static constexpr double kMaxTheta = 10;
  // INVALID_ARGUMENT unless the lattice has two dimensions, |beta| <= 1000 and |theta_imaginary| <= kMaxTheta; a
  // negative beta is for Wilson's action without a theta term on an even number of sites: theta_P -> theta_P + pi then
  // leads to -beta.
  static absl::StatusOr<U1PerfectSampler> Create(const Lattice& lattice, const U1Plaquette& plaquette);

  double log_z() const override { return log_z_; }
  // The configuration of this name: links[2 V], angles in [-pi, pi). `work` is scratch memory of the calling thread.
  void Draw(uint64_t seed, uint64_t index, double* links, std::vector<double>* work) const override;
  const U1FluxTree& tree() const { return tree_; }

 private:
  U1PerfectSampler(const Lattice& lattice, U1FluxTree tree, double log_z, bool negative)
      : nx_(lattice.extent(0)), ny_(lattice.extent(1)), tree_(std::move(tree)), log_z_(log_z), negative_(negative) {}
  int64_t nx_;
  int64_t ny_;
  U1FluxTree tree_;
  double log_z_;
  bool negative_;
};

}  // namespace haarflow
