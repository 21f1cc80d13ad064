// The chain against a straightforward loop, its resume tokens, and its stationary law.
#include "core/exact/metropolis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/base/noise.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::nan("");
constexpr uint64_t kSeed = 20240607;

using Closed = MetropolisChain::Closed;

// The chain written out: the index of the state at every step.
std::vector<uint64_t> Expand(const std::vector<Closed>& closed) {
  std::vector<uint64_t> expanded;
  for (const Closed& c : closed) expanded.insert(expanded.end(), c.multiplicity, c.index);
  return expanded;
}

struct ChainRun {
  std::vector<Closed> closed;
  v1::ChainToken token;
};

void LookAt(MetropolisChain* chain, const std::vector<double>& log_weights, uint64_t first_index, uint64_t begin,
            uint64_t end, std::vector<Closed>* closed) {
  for (uint64_t i = begin; i < end; ++i) {
    ASSERT_EQ(chain->next_index(), first_index + i);
    if (const auto c = chain->Look(log_weights[i]).closed) closed->push_back(*c);
  }
}

ChainRun RunAll(const std::vector<double>& log_weights, uint64_t first_index, uint64_t burn_in) {
  MetropolisChain chain(kSeed, first_index, burn_in);
  ChainRun run;
  LookAt(&chain, log_weights, first_index, 0, log_weights.size(), &run.closed);
  if (const auto c = chain.Flush()) run.closed.push_back(*c);
  run.token.set_mode(v1::SAMPLE_MODE_METROPOLIS);
  chain.Save(&run.token);
  return run;
}

// Independence Metropolis as in a textbook: one loop, one current state, one entry per step.
struct Textbook {
  std::vector<uint64_t> states;
  uint64_t accepted = 0;
  uint64_t longest_run = 0;
};
Textbook TextbookChain(const std::vector<double>& log_weights, uint64_t first_index, uint64_t burn_in) {
  Textbook result;
  bool open = false;
  uint64_t current = 0, steps = 0, run = 0;
  double current_weight = 0;
  for (uint64_t i = 0; i < log_weights.size(); ++i) {
    const double w = log_weights[i];
    const double u = 1 - UniformNoise(kSeed, NoisePurpose::kAccept, first_index + i, 0);
    const bool valid = !std::isnan(w) && w != kInf && w != -kInf;
    if (valid && (!open || std::log(u) <= w - current_weight)) {
      open = true;
      current = first_index + i;
      current_weight = w;
      run = 0;
      ++result.accepted;
    } else if (open) {
      result.longest_run = std::max(result.longest_run, ++run);
    }
    if (open && steps++ >= burn_in) result.states.push_back(current);
  }
  return result;
}

std::vector<double> RandomWeights(size_t n, double sigma, bool with_invalid, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, sigma);
  std::vector<double> weights(n);
  for (double& w : weights) {
    w = normal(random);
    if (!with_invalid) continue;
    const double invalid[] = {kNan, kInf, -kInf};
    const uint64_t pick = random() % 12;
    if (pick < 3) w = invalid[pick];
  }
  return weights;
}

TEST(MetropolisChain, ScanEqualsTheTextbookLoop) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (uint64_t burn_in : {0u, 1u, 7u, 50u, 1000u}) {
      const auto weights = RandomWeights(400, 0.3 + 0.2 * static_cast<double>(seed), seed % 2 == 1, seed);
      const ChainRun run = RunAll(weights, 1000 * seed, burn_in);
      const Textbook expected = TextbookChain(weights, 1000 * seed, burn_in);
      EXPECT_EQ(Expand(run.closed), expected.states);
      EXPECT_EQ(run.token.accepted(), expected.accepted);
      EXPECT_EQ(run.token.longest_rejection_run(), expected.longest_run);
      EXPECT_EQ(run.token.steps(), expected.states.size());
      for (const Closed& c : run.closed) {
        EXPECT_GT(c.multiplicity, 0u);
        EXPECT_EQ(c.log_weight, weights[c.index - 1000 * seed]);
      }
    }
  }
}

TEST(MetropolisChain, InvalidWeightsAreCountedAndNeverAccepted) {
  MetropolisChain chain(kSeed, 5, 0);
  for (double w : {kNan, kInf, -kInf}) {
    EXPECT_FALSE(chain.Look(w).accepted);
    EXPECT_FALSE(chain.has_open_state());
    EXPECT_EQ(chain.steps(), 0u);
  }
  EXPECT_TRUE(chain.Look(-700).accepted);  // the first finite weight opens the chain, however small
  EXPECT_EQ(chain.open_index(), 8u);
  for (double w : {kNan, kInf, -kInf}) {
    const auto event = chain.Look(w);
    EXPECT_FALSE(event.accepted);
    EXPECT_FALSE(event.closed.has_value());
  }
  EXPECT_EQ(chain.open_multiplicity(), 4u);
  const auto statistics = chain.Statistics();
  EXPECT_EQ(statistics.proposals(), 7u);
  EXPECT_EQ(statistics.accepted(), 1u);
  EXPECT_EQ(statistics.quality().invalid_weights(), 4u);
  EXPECT_EQ(statistics.quality().zero_weights(), 2u);
  EXPECT_EQ(statistics.quality().longest_rejection_run(), 3u);
  EXPECT_DOUBLE_EQ(statistics.quality().acceptance(), 1.0 / 7);
  EXPECT_FALSE(statistics.quality().reliable());
}

TEST(MetropolisChain, AnUphillProposalIsAlwaysAccepted) {
  MetropolisChain chain(kSeed, 0, 0);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(chain.Look(0.001 * i).accepted);
  EXPECT_TRUE(chain.Look(0.999).accepted) << "equal weight";
}

TEST(MetropolisChain, AStateOpenWhenBurnInEndsCountsOnlyItsLaterSteps) {
  MetropolisChain chain(kSeed, 0, 3);
  EXPECT_TRUE(chain.Look(0).accepted);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(chain.Look(-kInf).accepted);
  EXPECT_EQ(chain.burn_in_left(), 0u);
  EXPECT_EQ(chain.open_multiplicity(), 2u);
  const auto event = chain.Look(1);
  ASSERT_TRUE(event.closed.has_value());
  EXPECT_EQ(event.closed->index, 0u);
  EXPECT_EQ(event.closed->multiplicity, 2u);
}

TEST(MetropolisChain, AStateThatLivesOnlyInBurnInIsNotDelivered) {
  MetropolisChain chain(kSeed, 0, 2);
  chain.Look(0);
  chain.Look(-kInf);
  EXPECT_FALSE(chain.Flush().has_value());
  const auto event = chain.Look(5);
  EXPECT_TRUE(event.accepted);
  EXPECT_FALSE(event.closed.has_value());
  EXPECT_EQ(chain.steps(), 1u);
}

TEST(MetropolisChain, ResumedAtEveryCutItEqualsTheUnbrokenChain) {
  const auto weights = RandomWeights(120, 1.5, true, 99);
  for (uint64_t burn_in : {0u, 10u}) {
    const ChainRun unbroken = RunAll(weights, 77, burn_in);
    for (uint64_t cut = 0; cut <= weights.size(); ++cut) {
      for (const bool flush : {false, true}) {
        MetropolisChain first(kSeed, 77, burn_in);
        std::vector<Closed> closed;
        LookAt(&first, weights, 77, 0, cut, &closed);
        if (flush) {
          if (const auto c = first.Flush()) closed.push_back(*c);
        }
        v1::ChainToken token;
        token.set_mode(v1::SAMPLE_MODE_METROPOLIS);
        first.Save(&token);
        const auto parsed = ParseToken(SerializeToken(token));
        ASSERT_TRUE(parsed.ok()) << parsed.status();
        auto second = MetropolisChain::FromToken(*parsed);
        ASSERT_TRUE(second.ok()) << "cut at " << cut << ": " << second.status();
        LookAt(&*second, weights, 77, cut, weights.size(), &closed);
        if (const auto c = second->Flush()) closed.push_back(*c);
        EXPECT_EQ(Expand(closed), Expand(unbroken.closed)) << "cut at " << cut;
        v1::ChainToken end;
        end.set_mode(v1::SAMPLE_MODE_METROPOLIS);
        second->Save(&end);
        EXPECT_EQ(SerializeToken(end), SerializeToken(unbroken.token)) << "cut at " << cut;
      }
    }
  }
}

// A discrete world of five states with proposal probabilities q and target p: after expanding, frequencies must be p.
TEST(MetropolisChain, StationaryLawIsTheTarget) {
  const std::vector<double> q = {0.40, 0.30, 0.15, 0.10, 0.05};
  const std::vector<double> p = {0.10, 0.20, 0.20, 0.20, 0.30};
  constexpr int kChains = 400;
  constexpr int kProposals = 1000;
  std::mt19937_64 random(5);
  std::discrete_distribution<int> propose(q.begin(), q.end());
  // Frequencies of independent chains: their scatter is the error, whatever the autocorrelation.
  std::vector<double> mean(p.size(), 0.0), square(p.size(), 0.0);
  for (int c = 0; c < kChains; ++c) {
    MetropolisChain chain(kSeed + c, 0, 100);
    std::vector<int> state(kProposals);
    std::vector<double> frequency(p.size(), 0.0);
    double steps = 0;
    const auto count = [&](const std::optional<Closed>& closed) {
      if (!closed) return;
      frequency[state[closed->index]] += static_cast<double>(closed->multiplicity);
      steps += static_cast<double>(closed->multiplicity);
    };
    for (int i = 0; i < kProposals; ++i) {
      state[i] = propose(random);
      count(chain.Look(std::log(p[state[i]] / q[state[i]])).closed);
    }
    count(chain.Flush());
    ASSERT_EQ(steps, kProposals - 100);
    for (size_t s = 0; s < p.size(); ++s) {
      mean[s] += frequency[s] / steps / kChains;
      square[s] += frequency[s] * frequency[s] / (steps * steps) / kChains;
    }
  }
  double chi2 = 0;
  for (size_t s = 0; s < p.size(); ++s) {
    const double error = std::sqrt((square[s] - mean[s] * mean[s]) / kChains);
    EXPECT_LT(error, 0.003);
    EXPECT_NEAR(mean[s], p[s], 4 * error);
    chi2 += std::pow((mean[s] - p[s]) / error, 2);
  }
  EXPECT_LT(chi2, 20);  // 4 degrees of freedom (5 correlated terms)
}

TEST(MetropolisChain, StopsAtTheLastAddress) {
  MetropolisChain chain(kSeed, kMaxSampleIndex - 1, 0);
  EXPECT_TRUE(chain.Look(0).accepted);
  EXPECT_FALSE(chain.exhausted());
  EXPECT_TRUE(chain.Look(1).accepted);
  EXPECT_TRUE(chain.exhausted());
  EXPECT_FALSE(chain.Look(2).accepted);
  EXPECT_EQ(chain.next_index(), kMaxSampleIndex + 1);
  EXPECT_EQ(chain.Statistics().proposals(), 2u);
  v1::ChainToken token;
  token.set_mode(v1::SAMPLE_MODE_METROPOLIS);
  chain.Save(&token);
  EXPECT_TRUE(MetropolisChain::FromToken(token).ok());
}

class TokenTest : public testing::Test {
 protected:
  void SetUp() override {
    token_ = RunAll(RandomWeights(50, 1, true, 3), 10, 0).token;
    token_.set_model("a-model");
    token_.set_model_digest(std::string(32, 'd'));
  }
  v1::ChainToken token_;
};

TEST_F(TokenTest, EveryDamagedByteIsNoticed) {
  const std::string bytes = SerializeToken(token_);
  ASSERT_TRUE(ParseToken(bytes).ok());
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const char mask : {'\x01', '\x80', '\xFF'}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ mask);
      const auto expected = i < 4 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kDataLoss;
      EXPECT_EQ(ParseToken(damaged).status().code(), expected) << "byte " << i;
    }
  }
}

TEST_F(TokenTest, EveryTruncationAndExtensionIsNoticed) {
  const std::string bytes = SerializeToken(token_);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto expected = size < 4 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kDataLoss;
    EXPECT_EQ(ParseToken(bytes.substr(0, size)).status().code(), expected) << size << " bytes";
  }
  EXPECT_EQ(ParseToken(bytes + '\0').status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseToken(bytes + std::string(65536, 'x')).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TokenTest, NumbersThatContradictEachOtherAreRefused) {
  ASSERT_TRUE(MetropolisChain::FromToken(token_).ok());
  using Change = void (*)(v1::ChainToken*);
  const std::vector<Change> changes = {
      [](v1::ChainToken* t) { t->set_mode(v1::SAMPLE_MODE_REWEIGHTED); },
      [](v1::ChainToken* t) { t->set_mode(v1::SAMPLE_MODE_UNSPECIFIED); },
      [](v1::ChainToken* t) { t->set_next_index((uint64_t{1} << 56) + 1); },
      [](v1::ChainToken* t) { t->set_next_index(~uint64_t{0}); },
      [](v1::ChainToken* t) { t->set_open_index(t->next_index()); },
      [](v1::ChainToken* t) { t->set_open_index(9); },
      [](v1::ChainToken* t) { t->set_has_open_state(false); },
      [](v1::ChainToken* t) { t->set_open_log_weight(kNan); },
      [](v1::ChainToken* t) { t->set_open_log_weight(kInf); },
      [](v1::ChainToken* t) { t->set_open_log_weight(t->max_log_weight() + 1); },
      [](v1::ChainToken* t) { t->set_open_multiplicity(~uint64_t{0}); },
      [](v1::ChainToken* t) { t->set_steps(t->proposals() + 1); },
      [](v1::ChainToken* t) { t->set_burn_in_left(1); },
      [](v1::ChainToken* t) { t->set_proposals(t->next_index() + 1); },
      [](v1::ChainToken* t) { t->set_proposals(0); },
      [](v1::ChainToken* t) { t->set_accepted(0); },
      [](v1::ChainToken* t) { t->set_accepted(t->proposals()); },
      [](v1::ChainToken* t) { t->set_zero_weights(~uint64_t{0}); },
      [](v1::ChainToken* t) { t->set_invalid_weights(t->proposals()); },
      [](v1::ChainToken* t) { t->set_rejection_run(t->rejection_run() + 1); },
      [](v1::ChainToken* t) { t->set_longest_rejection_run(t->proposals()); },
      [](v1::ChainToken* t) { t->set_log_sum_weights(kNan); },
      [](v1::ChainToken* t) { t->set_log_sum_weights(t->log_sum_weights() + 10); },
      [](v1::ChainToken* t) { t->set_log_sum_squared_weights(-kInf); },
      [](v1::ChainToken* t) { t->set_max_log_weight(kInf); },
      [](v1::ChainToken* t) { t->set_sum_log_weights(kInf); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    v1::ChainToken changed = token_;
    changes[i](&changed);
    EXPECT_EQ(MetropolisChain::FromToken(changed).status().code(), absl::StatusCode::kInvalidArgument)
        << "change " << i << ": " << changed.ShortDebugString();
  }
}

TEST_F(TokenTest, AChainThatHasNotOpenedResumes) {
  MetropolisChain fresh(kSeed, 4, 6);
  fresh.Look(kNan);
  fresh.Look(-kInf);
  v1::ChainToken token;
  token.set_mode(v1::SAMPLE_MODE_METROPOLIS);
  fresh.Save(&token);
  auto resumed = MetropolisChain::FromToken(token);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_FALSE(resumed->has_open_state());
  EXPECT_EQ(resumed->burn_in_left(), 6u);
  token.set_open_multiplicity(1);
  EXPECT_FALSE(MetropolisChain::FromToken(token).ok());
}

}  // namespace
}  // namespace haarflow
