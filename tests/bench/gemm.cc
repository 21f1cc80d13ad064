#include "tests/bench/gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <ctime>

namespace haarflow {

namespace {

// CPU time of this thread: the same clock as the benchmarks' rates, so that a busy machine does not bend the ratio.
double ThreadSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

double GemmFlops() {
  at::set_num_threads(1);
  constexpr int64_t n = 1024;
  const at::Tensor a = at::rand({n, n}), b = at::rand({n, n});
  at::Tensor c = at::mm(a, b);
  double best = 0;
  for (int repeat = 0; repeat < 12; ++repeat) {
    const double start = ThreadSeconds();
    at::mm_out(c, a, b);
    best = std::max(best, 2.0 * n * n * n / (ThreadSeconds() - start));
  }
  return best;
}

}  // namespace haarflow
