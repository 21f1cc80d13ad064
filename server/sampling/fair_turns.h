// Whose turn it is on a device: fair in device time, between priorities and between principals.
//
// Two levels of weighted fair queueing. Interactive work gets three quarters of the time when bulk work wants the
// device too, and all of it otherwise; within a priority every principal that waits gets the same time, however many
// streams he has. Who did not wait has saved nothing: he starts level with who is served now.
//
// Example: const size_t i = turns.Next(waiting); ... turns.Charge(flow, seconds);
// Thread-safety: none; the device's thread owns it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace haarflow {

// What is scheduled: the work of one principal at one priority.
struct Flow {
  bool bulk = false;
  std::string principal;
  friend bool operator==(const Flow&, const Flow&) = default;
  friend auto operator<=>(const Flow&, const Flow&) = default;
};

class FairTurns {
 public:
  // Index of the flow to serve next. `waiting` is not empty; a flow may be there more than once.
  size_t Next(const std::vector<Flow>& waiting);
  // `flow` had the device for so long.
  void Charge(const Flow& flow, double seconds);

 private:
  // Virtual times: seconds of service by weight. One who waits again after a pause starts at the clock.
  struct Account {
    double time = 0;
    uint64_t round = 0;  // the last one in which it waited
  };
  struct Class {
    Account account;
    double clock = 0;
    std::map<std::string, Account> principals;
  };
  Class classes_[2];  // interactive, bulk
  double clock_ = 0;
  uint64_t round_ = 1;
};

// One task's claim on a batch.
struct Claim {
  size_t flow = 0;  // equal numbers are the same flow
  bool bulk = false;
  int64_t want = 0;
};
// Shares of `limit`, by the same rules: three quarters for interactive claims where bulk ones want more than what is
// left, equal among the flows of a priority, equal among the claims of a flow. Nobody gets more than he wants, and the
// sum is min(limit, sum of wants).
std::vector<int64_t> ShareBatch(const std::vector<Claim>& claims, int64_t limit, uint64_t turn);

}  // namespace haarflow
