#include "core/train/draws.h"

#include <algorithm>

#include "core/base/on_threads.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr int64_t kBatch = 1024;

// Runs f(first, n) on pieces of [0, samples), `threads` at a time.
template <class F>
absl::Status InParallel(int64_t samples, int threads, const F& f) {
  std::vector<absl::Status> status(threads);
  OnThreads(threads, [&](int64_t t) {
    for (int64_t first = t * kBatch; first < samples && status[t].ok(); first += threads * kBatch) {
      status[t] = f(first, std::min(kBatch, samples - first));
    }
  });
  for (const auto& s : status) RETURN_IF_ERROR(s);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DrawnWeights> DrawShare(const Model& model, const v1::Target& target, Share samples, uint64_t seed,
                                       bool signs, int threads) {
  DrawnWeights drawn;
  drawn.log_weight.resize(samples.size());
  drawn.sign.resize(signs ? samples.size() : 0);
  const int64_t volume = model.lattice().volume();
  RETURN_IF_ERROR(InParallel(samples.size(), threads, [&](int64_t first, int64_t n) -> absl::Status {
    Proposals p;
    std::vector<uint64_t> seeds(n, seed), index(n);
    for (int64_t i = 0; i < n; ++i) index[i] = static_cast<uint64_t>(samples.begin + first + i);
    RETURN_IF_ERROR(model.Draw(target, seeds, index, &p));
    for (int64_t i = 0; i < n; ++i) {
      drawn.log_weight[first + i] = p.LogWeight(i);
      if (!signs) continue;
      double m = 0;
      for (int64_t x = 0; x < volume; ++x) m += p.Field(i)[x];
      drawn.sign[first + i] = m > 0 ? 1 : -1;
    }
    return absl::OkStatus();
  }));
  return drawn;
}

absl::StatusOr<std::vector<double>> WeighFields(const Model& model, const std::vector<double>& fields, int threads) {
  const int64_t size = model.field_size(), n = static_cast<int64_t>(fields.size()) / size;
  std::vector<double> log_weight(n);
  RETURN_IF_ERROR(InParallel(n, threads, [&](int64_t first, int64_t count) -> absl::Status {
    Proposals p;
    p.Resize(count, size);
    std::copy_n(fields.begin() + first * size, count * size, p.field.begin());
    RETURN_IF_ERROR(model.Density(model.target(), &p));
    for (int64_t i = 0; i < count; ++i) log_weight[first + i] = p.LogWeight(i);
    return absl::OkStatus();
  }));
  return log_weight;
}

}  // namespace haarflow
