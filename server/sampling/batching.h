// Policies of batching: pure, table-tested.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace haarflow {

inline constexpr int64_t kTile = 16;  // proposals that a kernel draws together

// How much of `wanted` one device draws when `free` devices, itself among them, have nothing else to do: an even part,
// in whole tiles, and at most `limit`.
int64_t SpreadOver(int64_t wanted, int64_t limit, int free);

// How much longer a batch waits for others; 0: it is drawn now. `full` proposals cost no more than one; `quiet` open
// streams of the same model want nothing at the moment, and may at the next: without them nobody is worth waiting for.
std::chrono::nanoseconds LingerFor(int64_t wanted, int64_t full, int64_t quiet, std::chrono::nanoseconds waited,
                                   std::chrono::nanoseconds longest);

// Shares of `limit` for tasks that want `wants[i]` each: nobody gets more than he wants, and nobody gets less than
// another who wants as much, but for single proposals, which go round with `turn`. The sum is min(limit, sum of wants).
std::vector<int64_t> FairShares(const std::vector<int64_t>& wants, int64_t limit, uint64_t turn);

// Batch size so that a batch takes about `goal_seconds`: from a moving average of the measured rate, growing at most
// fourfold at a time.
class BatchSizer {
 public:
  struct Options {
    double goal_seconds = 0.05;  // a new stream waits at most this long for the batch before it
    int64_t minimum = kTile;
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
