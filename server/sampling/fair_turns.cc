#include "server/sampling/fair_turns.h"

#include <algorithm>
#include <limits>

#include "server/sampling/batching.h"

namespace haarflow {
namespace {

constexpr double kWeight[] = {3, 1};  // interactive, bulk

}  // namespace

size_t FairTurns::Next(const std::vector<Flow>& waiting) {
  ++round_;
  const auto arrive = [this](Account* account, double clock) {
    if (account->round + 1 < round_) account->time = std::max(account->time, clock);
    account->round = round_;
  };
  for (const Flow& flow : waiting) {
    Class& c = classes_[flow.bulk];
    arrive(&c.account, clock_);
    arrive(&c.principals[flow.principal], c.clock);
  }
  const auto waits = [&](int b) { return classes_[b].account.round == round_; };
  const bool bulk = waits(1) && (!waits(0) || classes_[1].account.time < classes_[0].account.time);
  Class& c = classes_[bulk];
  size_t next = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (waiting[i].bulk != bulk) continue;
    const double time = c.principals[waiting[i].principal].time;
    if (time >= least) continue;
    least = time;
    next = i;
  }
  clock_ = std::max(clock_, c.account.time);
  c.clock = std::max(c.clock, least);
  for (Class& each : classes_) {  // forget who does not wait and owes nothing
    for (auto it = each.principals.begin(); it != each.principals.end();) {
      const bool idle = it->second.round != round_ && it->second.time <= each.clock;
      it = idle ? each.principals.erase(it) : std::next(it);
    }
  }
  return next;
}

void FairTurns::Charge(const Flow& flow, double seconds) {
  classes_[flow.bulk].account.time += seconds / kWeight[flow.bulk];
  classes_[flow.bulk].principals[flow.principal].time += seconds;
}

std::vector<int64_t> ShareBatch(const std::vector<Claim>& claims, int64_t limit, uint64_t turn) {
  int64_t wanted[2] = {0, 0};
  for (const Claim& claim : claims) wanted[claim.bulk] += claim.want;
  const double part = kWeight[0] / (kWeight[0] + kWeight[1]);
  const int64_t interactive =
      std::min(wanted[0], std::max(limit - wanted[1], static_cast<int64_t>(static_cast<double>(limit) * part)));
  const int64_t limits[2] = {interactive, std::min(wanted[1], limit - interactive)};

  std::vector<int64_t> shares(claims.size(), 0);
  for (int bulk = 0; bulk < 2; ++bulk) {
    std::map<size_t, std::vector<size_t>> flows;  // flow -> its claims
    for (size_t i = 0; i < claims.size(); ++i) {
      if (claims[i].bulk == (bulk == 1)) flows[claims[i].flow].push_back(i);
    }
    std::vector<int64_t> flow_wants;
    for (const auto& [flow, members] : flows) {
      int64_t sum = 0;
      for (const size_t i : members) sum += claims[i].want;
      flow_wants.push_back(sum);
    }
    const std::vector<int64_t> flow_shares = FairShares(flow_wants, limits[bulk], turn);
    size_t f = 0;
    for (const auto& [flow, members] : flows) {
      std::vector<int64_t> wants;
      for (const size_t i : members) wants.push_back(claims[i].want);
      const std::vector<int64_t> parts = FairShares(wants, flow_shares[f++], turn);
      for (size_t k = 0; k < members.size(); ++k) shares[members[k]] = parts[k];
    }
  }
  return shares;
}

}  // namespace haarflow
