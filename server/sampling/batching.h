// Policies of batching: pure, table-tested.
#pragma once

#include <cstdint>
#include <vector>

namespace haarflow {

// Shares of `limit` for tasks that want `wants[i]` each: nobody gets more than he wants, and nobody gets less than
// another who wants as much, but for single proposals, which go round with `turn`. The sum is min(limit, sum of wants).
std::vector<int64_t> FairShares(const std::vector<int64_t>& wants, int64_t limit, uint64_t turn);

// Batch size so that a batch takes about `goal_seconds`: from a moving average of the measured rate, growing at most
// fourfold at a time.
class BatchSizer {
 public:
  struct Options {
    double goal_seconds = 0.05;  // a new stream waits at most this long for the batch before it
    int64_t minimum = 16;        // a kernel's tile
    int64_t maximum = 16384;
  };
  BatchSizer(const Options& options, int64_t first) : options_(options), size_(Clamp(static_cast<double>(first))) {}
  int64_t size() const { return size_; }
  void Measured(int64_t proposals, double seconds);

 private:
  int64_t Clamp(double size) const;
  Options options_;
  int64_t size_;
  double rate_ = 0;  // proposals per second
};

}  // namespace haarflow
