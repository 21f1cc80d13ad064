// Plans the passes of a lattice's cas transform: which radices, which thread has which points, and where in memory the
// points lie, so that the lanes of a warp hit different banks of shared memory.
#pragma once

#include <cstdint>
#include <vector>

namespace haarflow::isa_cuda {

class CasPlan {
 public:
  struct Pass {
    int32_t axis, radix;  // radix as in PassTable
    int32_t before;       // M: points of a transform before the pass
    int32_t unit_points;
  };
  struct Unit {
    int32_t first, mirror, pair;
  };

  // Units have at most `points` points (8 or 16). At least two passes, the first and the last not dense: they are where
  // a thread has sites and frequencies of its own.
  CasPlan(std::vector<int32_t> shape, int points);

  const std::vector<Pass>& passes() const { return passes_; }
  int32_t sites() const { return sites_; }
  bool has_dense_pass() const;
  // Threads of one configuration such that `points` points of a thread hold a field, in every pass.
  int64_t Threads(int points) const;
  int64_t UnitCount(const Pass& pass) const;
  int32_t Step(const Pass& pass) const;
  std::vector<Unit> Units(const Pass& pass) const;
  std::vector<double> Twiddles(const Pass& pass) const;

  // Chooses addresses for blocks of `threads` threads per configuration; a field of one component takes `padded`
  // numbers. Required before Units, Step and what follows.
  void Place(int64_t threads);
  int64_t padded() const { return padded_; }
  int32_t SiteAddress(int32_t site) const;
  int32_t ModeAddress(int32_t mode) const;

 private:
  bool FactorAxis(int32_t axis, int points);
  Unit UnitAt(const Pass& pass, int64_t index) const;
  int64_t BankConflicts(int64_t threads) const;
  int32_t Reversed(int32_t axis, int32_t before, int32_t frequency) const;

  std::vector<int32_t> shape_;
  int32_t sites_ = 1;
  std::vector<Pass> passes_;
  std::vector<int64_t> strides_;
  int64_t padded_ = 0;
};

}  // namespace haarflow::isa_cuda
