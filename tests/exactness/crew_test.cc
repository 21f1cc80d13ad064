// Training on several ranks, here threads of one process that talk through queues: the same bits as one process, for
// every kind of flow, every number of ranks and threads. (tests/service/ranks_process_test.cc has processes and MPI.)
#include "core/train/crew.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <numeric>
#include <thread>

#include "core/base/mutex.h"
#include "core/base/noise.h"
#include "core/train/evaluate.h"
#include "core/train/trainer.h"
#include "tests/reference/loop_specs.h"
#include "tests/reference/scalar_specs.h"
#include "tests/reference/spectral_specs.h"
#include "tests/reference/test_specs.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;

TEST(TreeSum, OneOrderWhoeverAdds) {
  constexpr int64_t kWidth = 3;
  const auto term = [](int64_t leaf) {
    std::vector<double> values(kWidth);
    // Sizes over twelve decades: every change of order shows.
    for (int64_t k = 0; k < kWidth; ++k) {
      const double x = NormalNoise(1, NoisePurpose::kTraining, static_cast<uint64_t>(leaf), static_cast<uint32_t>(k));
      values[k] = x * std::exp(14 * std::sin(static_cast<double>(3 * leaf + k)));
    }
    return values;
  };
  for (const int64_t leaves : {1, 2, 3, 5, 8, 13, 64, 100}) {
    TreeSum in_order(leaves);
    EXPECT_FALSE(in_order.complete());
    std::vector<double> plain(kWidth, 0.0), size(kWidth, 0.0);
    for (int64_t leaf = 0; leaf < leaves; ++leaf) {
      in_order.Add(leaf, term(leaf));
      for (int64_t k = 0; k < kWidth; ++k) {
        plain[k] += term(leaf)[k];
        size[k] += std::abs(term(leaf)[k]);
      }
    }
    const std::vector<double> sum = in_order.Take();
    ASSERT_EQ(sum.size(), kWidth);
    // Either order errs by at most (leaves - 1) roundings of the sum of sizes.
    for (int64_t k = 0; k < kWidth; ++k) {
      EXPECT_NEAR(sum[k], plain[k], 2 * static_cast<double>(leaves) * 1.2e-16 * size[k]);
    }
    for (uint64_t seed = 0; seed < 6; ++seed) {
      // Parts of any shape, whose leaves come in any order, sent as messages.
      std::vector<int64_t> order(leaves);
      std::iota(order.begin(), order.end(), 0);
      std::vector<TreeSum> parts(1 + seed, TreeSum(leaves));
      const auto noise = [&](int64_t leaf) { return UniformNoise(seed, NoisePurpose::kAccept, leaf, 0); };
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return noise(a) < noise(b); });
      for (const int64_t leaf : order) parts[leaf * (1 + seed) / leaves].Add(leaf, term(leaf));
      TreeSum whole(leaves);
      for (TreeSum& part : parts) {
        Packer packer;
        part.Pack(&packer);
        const std::string bytes = packer.Take();
        Unpacker unpacker(bytes);
        whole.Merge(TreeSum::Unpack(&unpacker));
        EXPECT_TRUE(unpacker.ok());
      }
      EXPECT_EQ(whole.Take(), sum) << leaves << " leaves, " << parts.size() << " parts";
    }
  }
}

TEST(Message, WhatIsCutOffIsEmptyAndNotOk) {
  const std::string bytes =
      Packer().Add<int64_t>(7).AddText("text").AddDoubles(std::vector<double>{1, 2}).Add(true).Take();
  for (size_t n = 0; n <= bytes.size(); ++n) {
    const std::string part = bytes.substr(0, n);
    Unpacker unpacker(part);
    unpacker.Take<int64_t>();
    const std::string text = unpacker.TakeText();
    EXPECT_TRUE(text == "text" || text.empty());
    EXPECT_LE(unpacker.TakeDoubles().size(), 2U);
    unpacker.Take<bool>();
    EXPECT_EQ(unpacker.ok(), n == bytes.size());
  }
  // A length that is none allocates nothing.
  const std::string huge = Packer().Add<uint64_t>(~uint64_t{0} / 8 + 1).Take();
  Unpacker unpacker(huge);
  EXPECT_TRUE(unpacker.TakeDoubles().empty());
  EXPECT_FALSE(unpacker.ok());
}

// Queues between threads.
class Switchboard {
 public:
  void Put(int from, int to, const std::string& bytes) {
    MutexLock lock(&mutex_);
    queues_[{from, to}].push_back(bytes);
    changed_.NotifyAll();
  }
  std::string Get(int from, int to) {
    MutexLock lock(&mutex_);
    auto& queue = queues_[{from, to}];
    while (queue.empty()) changed_.Wait(&mutex_);
    std::string bytes = std::move(queue.front());
    queue.pop_front();
    return bytes;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::map<std::pair<int, int>, std::deque<std::string>> queues_ ABSL_GUARDED_BY(mutex_);
};

class ThreadRanks final : public Ranks {
 public:
  ThreadRanks(Switchboard* board, int rank, int size) : board_(board), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_size() const override { return size_; }
  void Broadcast(std::string* bytes) override {
    if (rank_ != 0) *bytes = board_->Get(0, rank_);
    for (int to = 1; rank_ == 0 && to < size_; ++to) board_->Put(0, to, *bytes);
  }
  void Send(int to, const std::string& bytes) override { board_->Put(rank_, to, bytes); }
  std::string Receive(int from) override { return board_->Get(from, rank_); }

 private:
  Switchboard* const board_;
  const int rank_, size_;
};

// Runs f with a crew of `size` ranks.
template <class F>
void WithCrew(int size, int threads, const F& f) {
  Switchboard board;
  std::vector<std::thread> others;
  for (int rank = 1; rank < size; ++rank) {
    others.emplace_back([&board, rank, size, threads] {
      ThreadRanks ranks(&board, rank, size);
      EXPECT_EQ(ServeCrew(&ranks, threads), 42);
    });
  }
  ThreadRanks ranks(&board, 0, size);
  auto crew = Crew::Gather(&ranks, threads);
  ASSERT_TRUE(crew.ok()) << crew.status();
  f(crew->get());
  (*crew)->End(42);
  for (auto& other : others) other.join();
}

struct Outcome {
  std::vector<double> parameters, m, v;
  std::string card;
};
Outcome Trained(const std::string& text, const Team& team, bool evaluated = false) {
  TrainerOptions options;
  options.threads = team.threads;
  options.crew = team.crew;
  auto trainer = Trainer::Create(text, options);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  if (!trainer.ok()) return {};
  const absl::Status status = (*trainer)->Run();
  EXPECT_TRUE(status.ok()) << status;
  Outcome outcome = {(*trainer)->parameters(), (*trainer)->optimiser().m, (*trainer)->optimiser().v, ""};
  if (!evaluated) return outcome;
  const v1::ModelSpec& spec = (*trainer)->spec();
  int32_t steps = 0;
  if ((*trainer)->is_integrated()) steps = CertifiedSteps(spec, (*trainer)->Weights(), 5, team).value();
  const auto card = EvaluateModel(spec, (*trainer)->Weights(steps), 400, 4, team);
  EXPECT_TRUE(card.ok()) << card.status();
  if (card.ok()) outcome.card = card->DebugString();
  return outcome;
}

std::string Phases(const std::string& text) { return "training { seed: 3 " + text + " }"; }

std::string U1Text() {
  testing::SpecOptions options;
  options.float64 = false;
  options.training = Phases("phases { steps: 12 batch: 112 learning_rate: 2e-3 estimator: GRADIENT_ESTIMATOR_PATH }");
  return testing::SpecText(options);
}

std::string ScalarText(const std::string& phase, const std::string& more = "") {
  testing::ScalarOptions options;
  options.more =
      more + Phases(
                 "phases { steps: 12 batch: 80 learning_rate: 0.01 kinetic_penalty: 1e-3 integration_steps: 5 "
                 "estimator: GRADIENT_ESTIMATOR_PATH " +
                 phase + " }");
  return testing::ScalarSpecText(options);
}

struct Case {
  std::string name, text;
  bool slow = false;  // draws many fields of the target
};
std::vector<Case> Cases() {
  testing::SpectralOptions spectral;
  spectral.more = "phases { steps: 6 batch: 48 learning_rate: 1e-3 }";
  const std::string plaquette = "classes { name: \"plaquette\" loops { steps: [1, 2, -1, -2] } }";
  const std::string rectangle = "classes { name: \"rectangle\" loops { steps: [1, 1, 2, -1, -1, -2] } }";
  return {
      {"U1", U1Text()},
      {"Scalar", ScalarText("")},
      {"ScalarOwnChains", ScalarText("forward_weight: 0.5 forward_samples: FORWARD_SAMPLES_METROPOLIS")},
      {"ScalarTargetFields", ScalarText("forward_weight: 1"), true},
      {"ScalarConditional", ScalarText("", "conditioning { parameter: \"lambda\" low: 1 high: 2 } ")},
      {"Spectral", testing::SpectralSpec(2, "shape: [4, 4]", "sun_wilson { colours: 2 beta: 1.2 }", spectral)},
      {"LoopsMasked", testing::LoopSpec(2, "shape: [4, 4]", 1.2, 1, testing::kLoopClasses2d,
                                        "phases { steps: 2 batch: 80 gauss_newton { shape: [4, 4] } }")},
      {"LoopsContinuous",
       testing::ContinuousLoopSpec(2, "shape: [4, 4]", 1.2, 2, plaquette + rectangle,
                                   "phases { steps: 2 batch: 80 integration_steps: 4 trivialising_regression {} }"
                                   "phases { steps: 1 batch: 48 integration_steps: 4 gauss_newton {} }")},
  };
}

class CrewTest : public ::testing::TestWithParam<int> {};

TEST_P(CrewTest, ManyRanksAreOneBitForBit) {
  const std::string text = Cases()[GetParam()].text;
  const Outcome one = Trained(text, 1, true);
  ASSERT_FALSE(one.parameters.empty());
  const auto expect = [&](const Outcome& other) {
    EXPECT_EQ(other.parameters, one.parameters);
    EXPECT_EQ(other.m, one.m);
    EXPECT_EQ(other.v, one.v);
    EXPECT_TRUE(other.card.empty() || other.card == one.card) << other.card << one.card;
  };
  WithCrew(3, 2, [&](Crew* crew) { expect(Trained(text, {2, crew}, true)); });
  if (Cases()[GetParam()].slow) return;
  expect(Trained(text, 3));
  // Uneven, and more ranks than tiles of a batch.
  for (const auto& [size, threads] : {std::pair(1, 2), {2, 1}, {11, 1}}) {
    SCOPED_TRACE(absl::StrCat(size, " ranks, ", threads, " threads"));
    WithCrew(size, threads, [&, threads = threads](Crew* crew) { expect(Trained(text, {threads, crew})); });
  }
}
INSTANTIATE_TEST_SUITE_P(Flows, CrewTest, ::testing::Range(0, static_cast<int>(Cases().size())),
                         [](const auto& info) { return Cases()[info.param].name; });

TEST(Crew, AnErrorOfOneRankIsTheAnswer) {
  WithCrew(3, 1, [](Crew* crew) {
    const auto answer = crew->Run(Order::kGradient, "no order");
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr("rank 0"));
    // And the next order is carried out.
    const Outcome again = Trained(U1Text(), {1, crew});
    EXPECT_EQ(again.parameters, Trained(U1Text(), 1).parameters);
  });
}

TEST(Crew, AnotherProgramIsRefused) {
  WithCrew(2, 1, [](Crew* crew) {
    const auto answer = crew->Run(Order::kHello, "version 0.0.0, cpu-other");
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr("cpu-other"));
  });
}

}  // namespace
}  // namespace haarflow
