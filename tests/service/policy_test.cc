// The policies of the server, as tables: which version serves, what leaves the memory, who is admitted, whose turn it
// is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "core/base/digest.h"
#include "server/registry/swap_policy.h"
#include "server/sampling/admission.h"
#include "server/sampling/batching.h"
#include "server/sampling/fair_turns.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Digest D(int version) { return Sha256Of(std::to_string(version)); }

ModelIndex Index(const std::map<std::string, uint64_t>& aliases) {
  ModelIndex index;
  index.versions = {{1, D(1)}, {2, D(2)}, {3, D(3)}};
  index.aliases = aliases;
  return index;
}

TEST(SwapPolicy, SaysWhatToDo) {
  struct Case {
    const char* what;
    std::map<std::string, uint64_t> aliases;
    int current;   // 0: none
    int unloaded;  // 0: none
    std::vector<Digest> refused;
    bool retry;
    SwapAction expected;
  };
  const std::vector<Case> cases = {
      {"first", {{"champion", 1}}, 0, 0, {}, false, {SwapAction::kLoad, 1}},
      {"same", {{"champion", 1}}, 1, 0, {}, false, {SwapAction::kNothing, 0}},
      {"newer", {{"champion", 2}}, 1, 0, {}, false, {SwapAction::kLoad, 2}},
      {"rolled back", {{"champion", 1}, {"previous", 2}}, 2, 0, {}, false, {SwapAction::kLoad, 1}},
      {"a candidate serves nobody", {{"champion", 1}, {"candidate", 3}}, 1, 0, {}, false, {SwapAction::kNothing, 0}},
      {"pinned", {{"champion", 3}, {"pinned", 2}}, 2, 0, {}, false, {SwapAction::kNothing, 0}},
      {"pinned to another", {{"champion", 3}, {"pinned", 2}}, 3, 0, {}, false, {SwapAction::kLoad, 2}},
      {"no champion", {{"candidate", 3}}, 1, 0, {}, true, {SwapAction::kNoChampion, 0}},
      {"refused", {{"champion", 2}}, 1, 0, {D(2)}, false, {SwapAction::kNothing, 0}},
      {"refused, retried", {{"champion", 2}}, 1, 0, {D(2)}, true, {SwapAction::kLoad, 2}},
      {"another was refused", {{"champion", 3}}, 1, 0, {D(2)}, false, {SwapAction::kLoad, 3}},
      {"unloaded stays so", {{"champion", 1}}, 0, 1, {}, true, {SwapAction::kNothing, 0}},
      {"unloaded, then another", {{"champion", 2}}, 0, 1, {}, false, {SwapAction::kLoad, 2}},
  };
  for (const Case& c : cases) {
    SwapSnapshot snapshot;
    snapshot.index = Index(c.aliases);
    snapshot.has_current = c.current != 0;
    if (snapshot.has_current) snapshot.current = D(c.current);
    snapshot.has_unloaded = c.unloaded != 0;
    if (snapshot.has_unloaded) snapshot.unloaded = D(c.unloaded);
    snapshot.refused = c.refused;
    EXPECT_EQ(NextSwap(snapshot, c.retry), c.expected) << c.what;
  }
  // The number stays and the bytes change: a version is its digest.
  SwapSnapshot replaced;
  replaced.index = Index({{"champion", 1}});
  replaced.index.versions[1] = D(9);
  replaced.has_current = true;
  replaced.current = D(1);
  EXPECT_EQ(NextSwap(replaced, false), (SwapAction{SwapAction::kLoad, 1}));
}

TEST(RoomPolicy, TheLeastRecentlyUsedIdleModelsLeave) {
  const auto at = [](int seconds) { return std::chrono::steady_clock::time_point(std::chrono::seconds(seconds)); };
  const auto version = [&](const char* model, int64_t bytes, bool current, bool in_use, int used) {
    return LoadedVersion{model, Digest(), bytes, current, in_use, at(used)};
  };
  const std::vector<LoadedVersion> loaded = {version("a", 10, true, false, 3), version("b", 10, true, false, 1),
                                             version("c", 10, true, true, 0), version("c", 5, false, true, 0),
                                             version("d", 10, true, false, 2)};
  const auto unload = [&](int64_t bytes, int64_t budget, const char* replaced) {
    return MakeRoom(loaded, bytes, budget, replaced);
  };
  EXPECT_TRUE(unload(1000, 0, "").fits) << "0 is no bound";
  EXPECT_THAT(unload(5, 50, "").unload, IsEmpty());
  EXPECT_THAT(unload(6, 50, "").unload, ElementsAre("b"));
  EXPECT_THAT(unload(16, 50, "").unload, ElementsAre("b", "d"));
  EXPECT_THAT(unload(35, 50, "").unload, ElementsAre("b", "d", "a"));
  EXPECT_FALSE(unload(36, 50, "").fits) << "what is in use stays, old versions included";
  EXPECT_THAT(unload(36, 50, "").unload, IsEmpty()) << "nothing leaves in vain";
  EXPECT_THAT(unload(15, 50, "a").unload, IsEmpty()) << "the replaced version makes room itself";
  EXPECT_FALSE(unload(51, 50, "a").fits);
}

TEST(AdmissionPolicy, EveryBoundRefusesWithItsName) {
  AdmissionLimits limits{{.streams = 4, .samples = 1000, .bytes = 100}, {.streams = 2, .samples = 600, .bytes = 60}};
  const Usage request{1, 100, 10};
  const auto decide = [&](const Usage& all, const Usage& principal) { return Admit(limits, all, principal, request); };
  EXPECT_EQ(decide({}, {}).kind, AdmissionDecision::kAdmit);
  EXPECT_EQ(decide({3, 900, 90}, {1, 500, 50}).kind, AdmissionDecision::kAdmit) << "exactly full is not too much";
  const std::vector<std::tuple<Usage, Usage, std::string>> full = {
      {{4, 0, 0}, {0, 0, 0}, "streams"},   {{2, 0, 0}, {2, 0, 0}, "principal_streams"},
      {{1, 901, 0}, {1, 0, 0}, "samples"}, {{1, 501, 0}, {1, 501, 0}, "principal_samples"},
      {{1, 0, 91}, {1, 0, 0}, "bytes"},    {{1, 0, 51}, {1, 0, 51}, "principal_bytes"},
  };
  for (const auto& [all, principal, reason] : full) {
    const AdmissionDecision decision = decide(all, principal);
    EXPECT_EQ(decision.kind, AdmissionDecision::kComeBack) << reason;
    EXPECT_EQ(decision.reason, reason);
    EXPECT_THAT(decision.message, HasSubstr("come back later"));
  }
  EXPECT_EQ(Admit(limits, {}, {}, {1, 700, 10}).kind, AdmissionDecision::kTooLarge) << "never fits one caller";
  EXPECT_EQ(Admit({}, {100, 1000, 1000}, {}, {1, 1'000'000'000'000, 10}).kind, AdmissionDecision::kAdmit)
      << "0 does not bound";
}

// Seconds that each flow got of `rounds` batches of one second each.
std::map<Flow, double> Serve(FairTurns* turns, const std::vector<Flow>& waiting, int rounds) {
  std::map<Flow, double> got;
  for (int i = 0; i < rounds; ++i) {
    const Flow& flow = waiting[turns->Next(waiting)];
    turns->Charge(flow, 1);
    got[flow] += 1;
  }
  return got;
}

TEST(FairTurns, PrincipalsGetEqualTimeAndBulkAQuarter) {
  const Flow a{false, "a"}, b{false, "b"}, bulk{true, "a"}, more{true, "c"};
  {
    FairTurns turns;
    const auto got = Serve(&turns, {a, b}, 100);
    EXPECT_EQ(got.at(a), 50);
    EXPECT_EQ(got.at(b), 50);
  }
  {
    FairTurns turns;
    const auto got = Serve(&turns, {a, b, bulk, more}, 400);
    EXPECT_NEAR(got.at(a), 150, 2);
    EXPECT_NEAR(got.at(b), 150, 2);
    EXPECT_NEAR(got.at(bulk), 50, 2);
    EXPECT_NEAR(got.at(more), 50, 2);
  }
  {
    FairTurns turns;
    EXPECT_EQ(Serve(&turns, {bulk}, 10).at(bulk), 10) << "alone it gets all";
    EXPECT_NEAR(Serve(&turns, {a, bulk}, 40).at(a), 30, 2) << "what bulk had before does not count against it";
  }
  {
    FairTurns turns;
    Serve(&turns, {a}, 1000);
    const auto got = Serve(&turns, {a, b}, 100);
    EXPECT_NEAR(got.at(a), 50, 1) << "who did not wait has saved nothing";
    EXPECT_NEAR(got.at(b), 50, 1);
  }
  {
    FairTurns turns;  // batches of unequal length: time is what counts, not turns
    std::map<Flow, double> got;
    for (int i = 0; i < 400; ++i) {
      const std::vector<Flow> waiting = {a, b};
      const Flow& flow = waiting[turns.Next(waiting)];
      const double seconds = flow == a ? 0.1 : 0.3;
      turns.Charge(flow, seconds);
      got[flow] += seconds;
    }
    EXPECT_NEAR(got.at(a) / got.at(b), 1, 0.02);
  }
}

TEST(ShareBatch, DividesByPriorityThenPrincipalThenTask) {
  struct Case {
    std::vector<Claim> claims;
    int64_t limit;
    std::vector<int64_t> expected;
  };
  const std::vector<Case> cases = {
      {{{0, false, 100}}, 60, {60}},
      {{{0, false, 100}, {1, false, 100}}, 60, {30, 30}},
      {{{0, false, 100}, {0, false, 100}, {1, false, 100}}, 80, {20, 20, 40}},  // principals, not streams
      {{{0, false, 10}, {1, false, 100}}, 60, {10, 50}},
      {{{0, false, 100}, {1, true, 100}}, 80, {60, 20}},
      {{{0, false, 100}, {1, true, 100}, {2, true, 100}}, 80, {60, 10, 10}},
      {{{0, false, 10}, {1, true, 100}}, 80, {10, 70}},
      {{{0, true, 100}}, 80, {80}},
      {{{0, false, 100}, {1, true, 5}}, 80, {75, 5}},
      {{{0, false, 3}, {1, true, 5}}, 80, {3, 5}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(ShareBatch(cases[i].claims, cases[i].limit, 0), cases[i].expected) << "case " << i;
  }
}

TEST(Batching, AStreamIsSpreadOverDevicesThatHaveNothingElseToDo) {
  struct Case {
    const char* what;
    int64_t wanted, limit;
    int free;
    int64_t expected;
  };
  for (const Case& c : std::vector<Case>{{"alone", 1000, 4096, 1, 1008},
                                         {"bounded", 10000, 4096, 1, 4096},
                                         {"two halves", 1000, 4096, 2, 512},
                                         {"the other half", 488, 4096, 1, 496},
                                         {"less than a tile each", 20, 4096, 4, 16},
                                         {"one", 1, 4096, 4, 16},
                                         {"more groups than devices", 1000, 4096, -2, 1008},
                                         {"a small limit", 1000, 5, 2, 5},
                                         {"without end", int64_t{1} << 62, 4096, 2, 4096}}) {
    EXPECT_EQ(SpreadOver(c.wanted, c.limit, c.free), c.expected) << c.what;
  }
}

TEST(Batching, ABatchLingersOnlyForSomethingAndNotForLong) {
  using std::chrono::nanoseconds;
  struct Case {
    const char* what;
    int64_t wanted, full, quiet;
    int64_t waited, longest;
    int64_t expected;
  };
  for (const Case& c : std::vector<Case>{{"full", 16, 16, 3, 0, 1000, 0},
                                         {"nobody else", 1, 16, 0, 0, 1000, 0},
                                         {"somebody may come", 1, 16, 1, 0, 1000, 1000},
                                         {"not for long", 1, 16, 1, 400, 1000, 600},
                                         {"long enough", 1, 16, 1, 1000, 1000, 0},
                                         {"switched off", 1, 16, 1, 0, 0, 0}}) {
    EXPECT_EQ(LingerFor(c.wanted, c.full, c.quiet, nanoseconds(c.waited), nanoseconds(c.longest)),
              nanoseconds(c.expected))
        << c.what;
  }
}

}  // namespace
}  // namespace haarflow::testing
