// All samplers of a theory side by side: independent configurations per second of one thread's CPU time, by observable.
// One Markdown table for each target (tests/bench/samplers.md is one run).
//
// Samplers of a target take turns, in slices, so that what else the machine does falls on all of them. Timed is what
// makes configurations: draws with their weights and accept steps, trajectories, sweeps; not the observables. Rate /
// (2 tau_int), tau_int by the Gamma method over all chains of a sampler together; for flows of their independence
// Metropolis chain. Perfect samplers: tau_int is 1/2.
//
// Chains that move less than that method needs get a bound. For a reversible chain and normalised autocorrelation r of
// successive values, tau_int >= (1 + r) / (1 - r) / 2: the mean of a convex function of the spectrum is at least the
// function of the mean. r comes from the moves seen, two standard deviations of their number added, and the exact
// variance of Q^2. HMC is reversible; a heat-bath sweep in the order of links is not quite, there the bound is an
// estimate.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/action/target.h"
#include "core/kernel/kernels.h"
#include "core/observable/observable.h"
#include "google/protobuf/text_format.h"
#include "tests/bench/chain_samplers.h"

namespace haarflow::bench {
namespace {

constexpr int kRounds = 8;

struct Point {
  const char* target;
  std::vector<std::string> observables;
};

std::vector<Point> Points(bool quick) {
  const std::vector<std::string> u1 = {"plaquette", "wilson_loop_2x2", "charge_squared"};
  const std::vector<std::string> sun = {"plaquette", "wilson_loop_2x2", "polyakov_abs"};
  const std::vector<std::string> scalar = {"phi_squared", "susceptibility"};
  if (quick) {
    return {{"lattice { shape: [8, 8] } u1_wilson { beta: 2 }", u1},
            {"lattice { shape: [16, 16] } sun_wilson { colours: 2 beta: 2.2 }", sun},
            {"lattice { shape: [8, 8] } phi4 { mass { m2: -4 lambda: 8 } }", scalar}};
  }
  return {{"lattice { shape: [16, 16] } u1_wilson { beta: 2 }", u1},
          {"lattice { shape: [16, 16] } u1_wilson { beta: 4 }", u1},
          {"lattice { shape: [16, 16] } u1_wilson { beta: 5 }", u1},
          {"lattice { shape: [16, 16] } u1_wilson { beta: 6 }", u1},
          {"lattice { shape: [16, 16] } sun_wilson { colours: 2 beta: 1.8 }", sun},
          {"lattice { shape: [16, 16] } sun_wilson { colours: 2 beta: 2.2 }", sun},
          {"lattice { shape: [16, 16] } sun_wilson { colours: 2 beta: 2.7 }", sun},
          {"lattice { shape: [8, 8] } sun_wilson { colours: 3 beta: 2 }", sun},
          {"lattice { shape: [16, 16] } sun_wilson { colours: 3 beta: 4 }", sun},
          {"lattice { shape: [16, 16] } sun_wilson { colours: 3 beta: 5 }", sun},
          {"lattice { shape: [16, 16] } sun_wilson { colours: 3 beta: 6 }", sun},
          {"lattice { shape: [4, 4, 4, 4] } sun_wilson { colours: 3 beta: 1 }", sun},
          {"lattice { shape: [4, 4, 4, 4] } sun_wilson { colours: 3 beta: 2 }", sun},
          {"lattice { shape: [8, 8] } phi4 { mass { m2: -4 lambda: 6.008 } }", scalar},
          {"lattice { shape: [16, 16] } phi4 { mass { m2: -4 lambda: 5 } }", scalar}};
}

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Autocorrelation {
  double tau = 0.5, error = 0;
  bool bound = false;  // tau is a lower bound
};

using Chains = std::vector<std::vector<double>>;

// The Gamma method (Wolff, hep-lat/0306017, S = 1.5) with one mean and one autocorrelation function of all chains.
// Nothing where the window or the statistics do not suffice.
std::optional<Autocorrelation> Pooled(const Chains& chains) {
  const auto steps = static_cast<int64_t>(chains[0].size());
  const double n = static_cast<double>(steps) * static_cast<double>(chains.size());
  double mean = 0;
  for (const auto& chain : chains) {
    for (double x : chain) mean += x / n;
  }
  const auto gamma = [&](int64_t t) {
    double sum = 0;
    for (const auto& chain : chains) {
      for (int64_t i = 0; i + t < steps; ++i) sum += (chain[i] - mean) * (chain[i + t] - mean);
    }
    return sum / (static_cast<double>(steps - t) * static_cast<double>(chains.size()));
  };
  const double variance = gamma(0);
  if (!(variance > 0)) return std::nullopt;
  double tau = 0.5;
  for (int64_t window = 1; window <= steps / 3; ++window) {
    tau += gamma(window) / variance;
    const double scale = tau > 0.5 ? 1.5 / std::log((2 * tau + 1) / (2 * tau - 1)) : 1e-9,
                 w = static_cast<double>(window);
    if (std::exp(-w / scale) - scale / std::sqrt(w * n) >= 0) continue;
    if (n < 100 * tau) return std::nullopt;
    const double corrected = tau * (1 + (2 * w + 1) / n);
    return Autocorrelation{corrected, corrected * std::sqrt(4 / n * (w + 0.5 - std::min(tau, w)))};
  }
  return std::nullopt;
}

// The variance of one configuration's Q^2.
double VarianceOfChargeSquared(const v1::Target& target) {
  double mean = 0, square = 0;
  for (int q = -40; q <= 40; ++q) {
    const double p = ExactExpectation(target, absl::StrCat("charge_probability_", q)).value_or(0);
    mean += q * q * p;
    square += std::pow(q, 4) * p;
  }
  return square - mean * mean;
}

Autocorrelation Bound(const Chains& chains, double variance) {
  double moves = 0, square = 0, n = 0;
  for (const auto& chain : chains) {
    for (size_t i = 0; i + 1 < chain.size(); ++i, ++n) {
      const double move = chain[i + 1] - chain[i];
      moves += move != 0;
      square += move * move;
    }
  }
  // None seen: fewer than 3 of size 1 expected (95 %).
  const double most = moves == 0 ? 3 / n : square / n * (1 + 2 / std::sqrt(moves));
  const double r = 1 - most / (2 * variance);
  return {.tau = std::max(0.5, 0.5 * (1 + r) / (1 - r)), .error = 0, .bound = true};
}

// One sampler's run on one target.
class Run {
 public:
  Run(ChainSampler* sampler, const v1::Target& target, const std::vector<std::string>& observables)
      : sampler_(sampler), target_(target), set_(ObservableSet::Create(target, observables).value()) {
    series_.assign(observables.size(), Chains(sampler->chains()));
  }

  // Until `seconds` of CPU time have been spent in all, observables included.
  void Until(double seconds) {
    double timed = 0;
    int64_t states = 0;
    std::vector<double> values(set_.size());
    do {
      const double start = CpuSeconds();
      sampler_->Advance();
      const double made = CpuSeconds();
      sampler_->Visit([&](int chain, const double* field) {
        set_.Evaluate(field, values.data());
        for (size_t o = 0; o < values.size(); ++o) series_[o][chain].push_back(values[o]);
        ++states;
      });
      timed += made - start;
      spent_ += CpuSeconds() - start;
    } while (spent_ < seconds);
    rates_.push_back(static_cast<double>(states) / timed);
  }

  std::string Row() const {
    double rate = 0, square = 0;
    const double n = static_cast<double>(rates_.size());
    for (double r : rates_) rate += r / n;
    for (double r : rates_) square += (r - rate) * (r - rate);
    const double relative = n > 1 ? std::sqrt(square / (n * (n - 1))) / rate : 0;
    std::string row = absl::StrCat("| ", sampler_->Name(), " | ", WithError(rate, relative * rate));
    for (size_t o = 0; o < series_.size(); ++o) {
      const Autocorrelation a = AutocorrelationOf(o);
      const double effective = rate / (2 * a.tau);
      if (a.bound) {
        absl::StrAppendFormat(&row, " | < %s (tau > %.3g)", WithError(effective, 0), a.tau);
      } else {
        const double error = effective * std::hypot(relative, a.error / a.tau);
        absl::StrAppend(&row, " | ", WithError(effective, error));
        if (!sampler_->independent()) absl::StrAppendFormat(&row, " (%s)", WithError(a.tau, a.error));
      }
    }
    return absl::StrCat(row, " | ", sampler_->Remark(), " |");
  }

 private:
  Autocorrelation AutocorrelationOf(size_t o) const {
    if (sampler_->independent()) return {};
    if (const auto pooled = Pooled(series_[o])) return {std::max(pooled->tau, 0.5), pooled->error};
    if (set_.names()[o] == "charge_squared") return Bound(series_[o], VarianceOfChargeSquared(target_));
    // As long as the run, at least.
    return {.tau = static_cast<double>(series_[o][0].size()) / 50, .error = 0, .bound = true};
  }

  ChainSampler* sampler_;
  v1::Target target_;
  ObservableSet set_;
  std::vector<Chains> series_;  // [observable][chain]
  std::vector<double> rates_;   // [round]
  double spent_ = 0;
};

void Compare(const Point& point, const ModelStore& store, double seconds, const SamplerOptions& options) {
  v1::Target target;
  if (!google::protobuf::TextFormat::ParseFromString(point.target, &target)) std::abort();
  const auto samplers = SamplersOf(target, store, options);
  if (!samplers.ok()) {
    std::cerr << DescribeTarget(target) << ": " << samplers.status() << "\n";
    std::exit(1);
  }
  std::vector<Run> runs;
  for (const auto& sampler : *samplers) runs.emplace_back(sampler.get(), target, point.observables);
  for (int round = 1; round <= kRounds; ++round) {
    for (Run& run : runs) run.Until(seconds * round / kRounds);
  }
  std::cout << "\n## " << DescribeTarget(target) << "\n\n| sampler | configurations/s | "
            << absl::StrJoin(point.observables, " | ") << " | |\n|---|" << std::string("---|");
  for (size_t i = 0; i < point.observables.size(); ++i) std::cout << "---|";
  std::cout << "---|\n";
  for (const Run& run : runs) std::cout << run.Row() << "\n";
  std::cout << std::flush;
}

std::string Processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

int Main(int argc, char** argv) {
  CLI::App app("Independent configurations per second of every sampler, by observable");
  bool quick = false;
  double seconds = 9;
  std::string directory = HAARFLOW_MODELS;
  SamplerOptions options;
  app.add_flag("--quick", quick, "three small targets, a moment each: does it run?");
  app.add_option("--seconds", seconds, "CPU time of each sampler on each target, observables included");
  app.add_option("--store", directory, "model store");
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    seconds = 0.1;
    options.thermalisation = 30;
    options.tuning_rounds = 2;
  }
  const auto store = ModelStore::Open(directory);
  if (!store.ok()) {
    std::cerr << store.status() << "\n";
    return 1;
  }
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  std::cout << "Run of " << date << " on one thread (" << Processor() << ", kernels " << CpuKernels().numerics
            << "), load average " << load << " when it began; " << seconds
            << " s of CPU time for each sampler and target.\n";
  for (const Point& point : Points(quick)) Compare(point, *store, seconds, options);
  return 0;
}

}  // namespace
}  // namespace haarflow::bench

int main(int argc, char** argv) { return haarflow::bench::Main(argc, argv); }
