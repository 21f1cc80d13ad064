// Training on several ranks: rank 0 runs the training as a single process would and sends orders; the others carry out
// their share of each and know nothing else. So steps, budgets, signals, guards, the server's word, files: all that is
// decided is decided in one place, and ranks cannot part ways.
//
// An order is a pure function of its bytes (specs, numbers, a seed and a range of sample indices: noise is addressed),
// so every rank computes the very samples that a single process would have computed. What comes back is per sample, in
// the order of samples, or a TreeSum: results do not depend on the number of ranks, or of threads, bit for bit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/train/message.h"
#include "core/train/ranks.h"
#include "core/train/tree_sum.h"

namespace haarflow {

// A contiguous range of units of work.
struct Share {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};
// What part `part` of `parts` has of n units; in the order of parts, sizes differ by one at most.
inline Share ShareOf(int64_t n, int64_t part, int64_t parts) { return {n * part / parts, n * (part + 1) / parts}; }

struct Reply {
  absl::Status status;
  std::vector<std::vector<double>> columns;  // of samples: those of all ranks one after the other
  TreeSum sum;
};

enum class Order : uint8_t { kEnd, kHello, kGradient, kLogWeights, kRegression, kDraw, kJudge, kTargetSamples };

class OrderBook;

// Rank 0's. Used by one thread at a time, the one that talks to the ranks.
class Crew {
 public:
  // With `threads` in this process. FAILED_PRECONDITION when a rank is another program, or computes by other
  // instructions: its bits would be others.
  static absl::StatusOr<std::unique_ptr<Crew>> Gather(Ranks* ranks, int threads);
  ~Crew();

  // Everybody's shares together, or the first error with the rank's number.
  absl::StatusOr<Reply> Run(Order order, const std::string& bytes);
  // The others return from ServeCrew with `code`. Nothing may be run afterwards.
  void End(int code);
  int ranks() const { return ranks_->size(); }

 private:
  Crew(Ranks* ranks, int threads);

  Ranks* const ranks_;
  const std::unique_ptr<OrderBook> book_;
};

// The other ranks': carries out orders until the end; returns its code.
int ServeCrew(Ranks* ranks, int threads);

// Who computes: threads of this process, or, with a crew, all ranks with their threads.
struct Team {
  Team(int threads, Crew* crew = nullptr) : threads(threads), crew(crew) {}  // a number of threads is a team
  int threads;
  Crew* crew;
};

}  // namespace haarflow
