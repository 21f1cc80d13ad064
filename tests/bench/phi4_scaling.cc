// Critical slowing down of phi^4 along m L = 4: integrated autocorrelation times of the susceptibility and of |M|, in
// updates and in CPU seconds, of HMC, Fourier accelerated HMC, the cluster sampler, and flows from a model store. One
// JSON document; phi4_scaling.py makes a table and a plot of it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/exact/estimate.h"
#include "core/exact/metropolis.h"
#include "core/kernel/kernels.h"
#include "core/mcmc/phi4_cluster.h"
#include "core/mcmc/phi4_hmc.h"
#include "core/model/model.h"
#include "core/model/store.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

using Json = nlohmann::ordered_json;

// m^2 = -4. Up to L = 14 the points of arXiv:1904.12072; beyond, chosen so that xi / L (second moment) stays at their
// 0.25.
const std::map<int, double> kCriticalLine = {{6, 6.975}, {8, 6.008},  {10, 5.55},  {12, 5.276}, {14, 5.113},
                                             {16, 4.98}, {20, 4.815}, {24, 4.705}, {32, 4.575}};
constexpr int kChains = kernel::kTile;
const std::vector<std::string> kNames = {"susceptibility", "magnetisation_abs", "structure_factor_min"};

struct Options {
  std::vector<int> lattices;
  std::string store;
  std::vector<std::string> models;
  double seconds = 5;
  uint64_t seed = 1;
  std::string output;
};

struct Case {
  int extent = 0;
  double lambda = 0;
  bool critical = true;
  v1::Target target;
  std::vector<StoredModel> models;
};

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// [observable][chain][update]
using Series = std::vector<std::vector<std::vector<double>>>;
struct Run {
  Series series{kNames.size(), std::vector<std::vector<double>>(kChains)};
  double seconds = 0;   // of CPU, all chains, updates alone
  int64_t updates = 0;  // of one chain
};

struct Value {
  double mean = 0, error = 0;
};
Value Over(const std::vector<double>& x) {
  const double n = static_cast<double>(x.size());
  Value v;
  double square = 0;
  for (const double y : x) v.mean += y / n;
  for (const double y : x) square += (y - v.mean) * (y - v.mean);
  v.error = std::sqrt(square / (n * (n - 1)));
  return v;
}
Json ToJson(const Value& v) { return {v.mean, v.error}; }

// tau_int of each chain by the Gamma method; their scatter is the error.
Json Autocorrelation(const Run& run) {
  Json json;
  const double per_update = run.seconds / static_cast<double>(run.updates * kChains);
  for (const size_t o : {size_t{0}, size_t{1}}) {
    std::vector<double> tau, mean;
    for (const auto& chain : run.series[o]) {
      const ChainEstimate e = GammaMethod(chain).value();
      tau.push_back(e.tau_int);
      mean.push_back(e.mean);
    }
    const Value t = Over(tau);
    json[kNames[o]] = {{"mean", ToJson(Over(mean))},
                       {"tau_int", ToJson(t)},
                       {"seconds_per_independent", 2 * t.mean * per_update},
                       {"chain_over_tau", static_cast<double>(run.updates) / t.mean}};
  }
  json["updates"] = run.updates;
  json["chains"] = kChains;
  json["seconds_per_update"] = per_update;
  return json;
}

// Updates for about `seconds` of CPU, at least 2000 of each chain; a tenth beforehand is not counted.
Run Chains(const v1::Target& target, double seconds, const std::function<void()>& advance,
           const std::function<std::vector<double>(int)>& field) {
  const ObservableSet set = ObservableSet::Create(target, kNames).value();
  double start = CpuSeconds();
  constexpr int kTrial = 200;
  for (int i = 0; i < kTrial; ++i) advance();
  const double each = (CpuSeconds() - start) / kTrial;
  const auto updates = std::clamp(static_cast<int64_t>(seconds / each), int64_t{2000}, int64_t{200000});
  for (int64_t i = 0; i < updates / 10; ++i) advance();
  Run run;
  std::vector<double> values(kNames.size());
  for (int64_t i = 0; i < updates; ++i) {
    start = CpuSeconds();
    advance();
    run.seconds += CpuSeconds() - start;
    for (int c = 0; c < kChains; ++c) {
      set.Evaluate(field(c).data(), values.data());
      for (size_t o = 0; o < values.size(); ++o) run.series[o][c].push_back(values[o]);
    }
  }
  run.updates = updates;
  return run;
}

Json Row(const Case& c, const std::string& method, const Run& run) {
  Json row = {{"lattice", c.extent}, {"lambda", c.lambda}, {"critical", c.critical}, {"method", method}};
  row.update(Autocorrelation(run));
  return row;
}

// Trajectories of length 1, of length xi (each nearly independent of the last, at a cost that grows with xi), and
// of 1.5 with Fourier acceleration of mass 1 / xi (a quarter period of all modes): xi = L / 4.
struct HmcKind {
  const char* name;
  double length, length_over_extent;
  bool fourier;
};
constexpr HmcKind kHmcKinds[] = {{"hmc", 1, 0, false}, {"hmc_long", 0, 0.25, false}, {"fourier_hmc", 1.5, 0, true}};

Json Hmc(const Case& c, const Options& options, const HmcKind& kind) {
  const Lattice lattice = *LatticeOf(c.target);
  const Phi4Couplings couplings = Phi4CouplingsOf(c.target.phi4(), lattice.dims());
  const double length = kind.length + kind.length_over_extent * c.extent;
  Phi4HmcOptions hmc_options = {.chains = kChains, .seed = options.seed, .steps = 10, .step_size = length / 10};
  if (kind.fourier) hmc_options.fourier_m2 = 16.0 / (c.extent * c.extent);
  Phi4Hmc hmc = *Phi4Hmc::Create(lattice, couplings, hmc_options);
  if (!hmc.Tune(0.8, 10, 40).ok()) std::abort();
  const Run run = Chains(
      c.target, options.seconds, [&] { hmc.Trajectory(); }, [&](int chain) { return hmc.Field(chain); });
  Json row = Row(c, kind.name, run);
  row["acceptance"] = hmc.acceptance();
  row["steps"] = hmc.steps();
  row["trajectory_length"] = length;
  return row;
}

Json Cluster(const Case& c, const Options& options) {
  const Lattice lattice = *LatticeOf(c.target);
  const Phi4Couplings couplings = Phi4CouplingsOf(c.target.phi4(), lattice.dims());
  Phi4Cluster sampler = *Phi4Cluster::Create(lattice, couplings, {.chains = kChains, .seed = options.seed});
  const Run run = Chains(
      c.target, options.seconds, [&] { sampler.Sweep(); }, [&](int chain) { return sampler.Field(chain); });
  Json row = Row(c, "cluster", run);
  row["acceptance"] = sampler.acceptance();
  // xi / L = sqrt(chi / F - 1) / (2 L sin(pi / L)), jackknife over chains.
  std::vector<std::pair<double, double>> means;
  double chi = 0, f = 0;
  for (int i = 0; i < kChains; ++i) {
    const auto mean = [&](size_t o) { return GammaMethod(run.series[o][i]).value().mean; };
    means.emplace_back(mean(0), mean(2));
    chi += means.back().first;
    f += means.back().second;
  }
  const auto xi = [&](double a, double b) {
    return std::sqrt(a / b - 1) / (2 * c.extent * std::sin(std::acos(-1.0) / c.extent));
  };
  double square = 0;
  for (const auto& [a, b] : means) square += std::pow(xi(chi - a, f - b) - xi(chi, f), 2);
  row["xi_over_l"] = ToJson({xi(chi, f), std::sqrt(square * (kChains - 1) / kChains)});
  return row;
}

// Independence Metropolis over proposals of one seed for each chain.
absl::StatusOr<Json> Flow(const Case& c, const StoredModel& stored, const Options& options) {
  ASSIGN_OR_RETURN(const auto model, Model::Create(stored.spec, stored.weights, CpuKernels(), 0));
  ASSIGN_OR_RETURN(const ObservableSet set, ObservableSet::Create(c.target, kNames));
  constexpr int64_t kBatch = 64;
  std::vector<MetropolisChain> chains;
  for (uint64_t i = 0; i < kChains; ++i) chains.emplace_back(options.seed * kChains + i, 0, 0);
  std::vector<std::vector<double>> current(kChains, std::vector<double>(kNames.size()));
  std::vector<double> values(kNames.size());
  std::vector<uint64_t> seed(kBatch), index(kBatch);
  Run run;
  Proposals proposals;
  uint64_t accepted = 0;
  while (run.seconds < options.seconds || run.updates < 1024) {
    for (int i = 0; i < kChains; ++i) {
      for (int64_t k = 0; k < kBatch; ++k) {
        seed[k] = chains[i].seed();
        index[k] = chains[i].next_index() + static_cast<uint64_t>(k);
      }
      const double start = CpuSeconds();
      RETURN_IF_ERROR(model->Draw(c.target, seed, index, &proposals));
      run.seconds += CpuSeconds() - start;
      for (int64_t k = 0; k < kBatch; ++k) {
        if (chains[i].Look(proposals.LogWeight(k)).accepted) {
          set.Evaluate(proposals.Field(k), current[i].data());
          ++accepted;
        }
        for (size_t o = 0; o < values.size(); ++o) run.series[o][i].push_back(current[i][o]);
      }
    }
    run.updates += kBatch;
  }
  Json row = Row(c, "flow", run);
  std::vector<double> each;
  for (const MetropolisChain& chain : chains) each.push_back(chain.weights().Ess());
  row["model"] = stored.spec.name();
  row["acceptance"] = static_cast<double>(accepted) / static_cast<double>(run.updates * kChains);
  row["ess"] = ToJson(Over(each));
  row["training_seconds"] = stored.manifest.card.training_seconds();
  row["lineage"] = stored.manifest.card.lineage();
  return row;
}

v1::Target TargetOf(int extent, double lambda) {
  v1::Target target;
  for (int i = 0; i < 2; ++i) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_phi4()->mutable_mass()->set_m2(-4);
  target.mutable_phi4()->mutable_mass()->set_lambda(lambda);
  return target;
}

// The lattices asked for, each at its point of the line or at that of a model nearby, and the targets of other models.
absl::StatusOr<std::vector<Case>> Cases(const Options& options) {
  std::vector<Case> cases;
  for (const std::string& name : options.models) {
    ASSIGN_OR_RETURN(const ModelStore store, ModelStore::Open(options.store));
    ASSIGN_OR_RETURN(StoredModel stored, store.LoadByReference(name));
    const v1::Target target = stored.spec.target();
    const auto& shape = target.lattice().shape();
    if (!target.has_phi4() || !target.phi4().has_mass() || shape.size() != 2 || shape[0] != shape[1]) {
      return absl::InvalidArgumentError(absl::StrCat(name, " is not a model of phi^4 (mass form) on a square"));
    }
    const std::string text = CanonicalTarget(target);
    auto same =
        std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return CanonicalTarget(c.target) == text; });
    if (same == cases.end()) {
      Case c = {.extent = static_cast<int>(shape[0]), .lambda = target.phi4().mass().lambda(), .target = target};
      const auto point = kCriticalLine.find(c.extent);
      c.critical = target.phi4().mass().m2() == -4 && point != kCriticalLine.end() &&
                   std::abs(c.lambda / point->second - 1) < 0.03;
      same = cases.insert(cases.end(), std::move(c));
    }
    same->models.push_back(std::move(stored));
  }
  for (const int extent : options.lattices) {
    const auto point = kCriticalLine.find(extent);
    if (point == kCriticalLine.end()) return absl::InvalidArgumentError(absl::StrCat("no point for L = ", extent));
    const bool present =
        std::any_of(cases.begin(), cases.end(), [&](const Case& c) { return c.critical && c.extent == extent; });
    if (present) continue;
    cases.push_back({.extent = extent, .lambda = point->second, .target = TargetOf(extent, point->second)});
  }
  std::stable_sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) { return a.extent < b.extent; });
  return cases;
}

absl::Status Main(const Options& options) {
  ASSIGN_OR_RETURN(const std::vector<Case> cases, Cases(options));
  Json rows = Json::array();
  for (const Case& c : cases) {
    std::cerr << DescribeTarget(c.target) << std::endl;
    for (const HmcKind& kind : kHmcKinds) rows.push_back(Hmc(c, options, kind));
    rows.push_back(Cluster(c, options));
    for (const StoredModel& stored : c.models) {
      ASSIGN_OR_RETURN(Json row, Flow(c, stored, options));
      rows.push_back(std::move(row));
    }
  }
  const Json document = {{"benchmark", "phi4_scaling"},
                         {"numerics", CpuKernels().numerics},
                         {"seconds_per_method", options.seconds},
                         {"rows", std::move(rows)}};
  if (options.output.empty()) {
    std::cout << document.dump(1) << std::endl;
    return absl::OkStatus();
  }
  std::ofstream file(options.output);
  file << document.dump(1) << std::endl;
  return file.good() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", options.output));
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) {
  haarflow::Options options;
  CLI::App app("Autocorrelation times of phi^4 samplers along the critical line, as JSON");
  for (const auto& [extent, lambda] : haarflow::kCriticalLine) options.lattices.push_back(extent);
  app.add_option("--lattices", options.lattices, "extents: 6 8 10 12 14 16 20 24 32")->delimiter(',');
  app.add_option("--store", options.store, "model store of the flows")->default_val(HAARFLOW_MODELS);
  app.add_option("--models", options.models, "names of flows, with ',' between")->delimiter(',');
  app.add_option("--seconds", options.seconds, "CPU seconds per method and lattice");
  app.add_option("--seed", options.seed, "seed");
  app.add_option("--output", options.output, "file; standard output when left out");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = haarflow::Main(options);
  if (!status.ok()) std::cerr << "error: " << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}
