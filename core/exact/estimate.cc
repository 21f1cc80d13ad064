#include "core/exact/estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>

#include "core/base/status.h"
#include "core/exact/jackknife.h"

namespace haarflow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Gamma(t) = 1/(N - t) sum_i (a_i - mean)(a_{i+t} - mean), eq. (31) of hep-lat/0306017 for one replicum.
double Autocovariance(const std::vector<double>& fluctuation, int64_t t) {
  const int64_t pairs = static_cast<int64_t>(fluctuation.size()) - t;
  const double* a = fluctuation.data();
  const double* b = fluctuation.data() + t;
  // Eight partial sums: a single one would be a chain of dependent additions.
  double partial[8] = {};
  int64_t i = 0;
  for (; i + 8 <= pairs; i += 8) {
    for (int lane = 0; lane < 8; ++lane) partial[lane] += a[i + lane] * b[i + lane];
  }
  double sum = 0;
  for (; i < pairs; ++i) sum += a[i] * b[i];
  for (double p : partial) sum += p;
  return sum / static_cast<double>(pairs);
}

// In-place radix-2 Fourier transform; the size is a power of two.
void Transform(std::vector<double>* real, std::vector<double>* imaginary) {
  std::vector<double>& re = *real;
  std::vector<double>& im = *imaginary;
  const size_t n = re.size();
  for (size_t i = 1, j = 0; i < n; ++i) {
    size_t bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      std::swap(re[i], re[j]);
      std::swap(im[i], im[j]);
    }
  }
  std::vector<double> cosine(n / 2), sine(n / 2);
  for (size_t k = 0; k < n / 2; ++k) {
    const double phase = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
    cosine[k] = std::cos(phase);
    sine[k] = std::sin(phase);
  }
  for (size_t half = 1; half < n; half *= 2) {
    const size_t twiddle_step = n / (2 * half);
    for (size_t start = 0; start < n; start += 2 * half) {
      for (size_t k = 0; k < half; ++k) {
        const size_t a = start + k;
        const size_t b = a + half;
        const double c = cosine[k * twiddle_step];
        const double s = sine[k * twiddle_step];
        const double t_re = c * re[b] - s * im[b];
        const double t_im = c * im[b] + s * re[b];
        re[b] = re[a] - t_re;
        im[b] = im[a] - t_im;
        re[a] += t_re;
        im[a] += t_im;
      }
    }
  }
}

// Gamma(t) for all t up to N/2 at the cost of two Fourier transforms.
std::vector<double> AllAutocovariances(const std::vector<double>& fluctuation) {
  const size_t n = fluctuation.size();
  const size_t longest = n / 2;
  size_t padded = 1;
  while (padded < n + longest + 1) padded *= 2;
  std::vector<double> re = fluctuation;
  re.resize(padded, 0.0);
  std::vector<double> im(padded, 0.0);
  Transform(&re, &im);
  for (size_t k = 0; k < padded; ++k) {
    re[k] = re[k] * re[k] + im[k] * im[k];
    im[k] = 0;
  }
  Transform(&re, &im);  // of a real even function: its own inverse up to the factor
  std::vector<double> gamma(longest + 1);
  for (size_t t = 0; t <= longest; ++t) gamma[t] = re[t] / static_cast<double>(padded) / static_cast<double>(n - t);
  return gamma;
}

// Gamma(0..W) with the automatic window W of section 3.3: the smallest W >= 1 at which the truncation error exp(-W /
// tau) falls below the statistical one, tau / sqrt(W N), where tau = S / log((2 tau_int + 1) / (2 tau_int - 1)). At
// most N/2.
std::vector<double> WindowedAutocovariance(const std::vector<double>& fluctuation, double s) {
  const double n = static_cast<double>(fluctuation.size());
  const int64_t longest = static_cast<int64_t>(fluctuation.size()) / 2;
  std::vector<double> gamma = {Autocovariance(fluctuation, 0)};
  double rho_sum = 0;  // tau_int(W) - 1/2
  // Short windows, the rule, are cheapest term by term; a chain that hardly moves would cost N^2 that way.
  constexpr int64_t kDirect = 100;
  std::vector<double> all;
  for (int64_t window = 1; window <= longest; ++window) {
    if (window == kDirect) all = AllAutocovariances(fluctuation);
    gamma.push_back(window < kDirect ? Autocovariance(fluctuation, window) : all[window]);
    rho_sum += gamma.back() / gamma.front();
    if (rho_sum <= 0) break;  // tau -> 0: nothing is left to sum
    const double tau = s / std::log1p(1 / rho_sum);
    const double w = static_cast<double>(window);
    if (std::exp(-w / tau) < tau / std::sqrt(w * n)) break;
  }
  return gamma;
}

// C(W) = Gamma(0) + 2 sum_{t=1}^{W} Gamma(t), eq. (35).
double SumOverWindow(const std::vector<double>& gamma) {
  double c = gamma.front();
  for (size_t t = 1; t < gamma.size(); ++t) c += 2 * gamma[t];
  return c;
}

// Sums over one bin: of the weights, and of the weights times each value.
struct WeightedSums {
  double weight = 0;
  std::vector<double> moment;
};
WeightedSums Combine(const WeightedSums& a, const WeightedSums& b) {
  WeightedSums sum{a.weight + b.weight, a.moment};
  for (size_t k = 0; k < sum.moment.size(); ++k) sum.moment[k] += b.moment[k];
  return sum;
}

absl::Status CheckWeightedInput(absl::Span<const std::vector<double>> columns, absl::Span<const double> log_weight,
                                int bins) {
  if (columns.empty()) return absl::InvalidArgumentError("weighted mean: no values");
  for (const std::vector<double>& column : columns) {
    if (column.size() != log_weight.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("weighted mean: ", column.size(), " values but ", log_weight.size(), " weights"));
    }
    for (size_t i = 0; i < column.size(); ++i) {
      if (!std::isfinite(column[i]) || std::isnan(log_weight[i]) || log_weight[i] == kInfinity) {
        return absl::InvalidArgumentError(
            absl::StrCat("weighted mean: sample ", i, " has value ", column[i], " and log-weight ", log_weight[i]));
      }
    }
  }
  if (log_weight.size() < 2 || bins < 2) {
    return absl::InvalidArgumentError("weighted mean: needs 2 values and 2 bins");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChainEstimate> GammaMethod(absl::Span<const double> chain, double s) {
  if (chain.size() < 8) {
    return absl::InvalidArgumentError(absl::StrCat("Gamma method: ", chain.size(), " values; at least 8 are needed"));
  }
  if (!(s > 0)) return absl::InvalidArgumentError(absl::StrCat("Gamma method: S is ", s, "; it must be positive"));
  const double n = static_cast<double>(chain.size());
  // Relative to the first value: a constant chain has fluctuations of exactly 0, a large offset costs no digits.
  std::vector<double> fluctuation(chain.begin(), chain.end());
  double mean = 0;
  bool constant = true;
  for (double& x : fluctuation) {
    if (!std::isfinite(x)) return absl::InvalidArgumentError("Gamma method: the chain has a value that is not finite");
    x -= chain[0];
    mean += x / n;
    constant = constant && x == 0;
  }
  ChainEstimate estimate;
  estimate.mean = chain[0] + mean;
  if (constant) return estimate;
  for (double& x : fluctuation) x -= mean;

  std::vector<double> gamma = WindowedAutocovariance(fluctuation, s);
  estimate.window = static_cast<int64_t>(gamma.size()) - 1;
  // The mean was estimated from the same data, which lowers every Gamma(t) by C / N: eq. (49).
  const double bias = SumOverWindow(gamma) / n;
  for (double& g : gamma) g += bias;
  double c = SumOverWindow(gamma);
  // Only noise makes the sum negative (chains of short anticorrelated data): claim independence rather than no error.
  if (c <= 0) c = gamma.front();
  estimate.error = std::sqrt(c / n);
  estimate.tau_int = c / (2 * gamma.front());
  const double w = static_cast<double>(estimate.window);
  // Eq. (42).
  estimate.tau_int_error = 2 * estimate.tau_int * std::sqrt(std::max(w + 0.5 - estimate.tau_int, 0.0) / n);
  return estimate;
}

std::vector<double> ExpandChain(absl::Span<const double> value, absl::Span<const uint64_t> multiplicity) {
  const size_t states = std::min(value.size(), multiplicity.size());
  std::vector<double> expanded;
  for (size_t i = 0; i < states; ++i) expanded.insert(expanded.end(), multiplicity[i], value[i]);
  return expanded;
}

absl::StatusOr<ChainEstimate> GammaMethodOfFunction(absl::Span<const std::vector<double>> chains,
                                                    const FunctionOfMeans& function, double s) {
  if (chains.empty()) return absl::InvalidArgumentError("Gamma method: no chains");
  std::vector<double> means;
  for (const std::vector<double>& chain : chains) {
    if (chain.size() != chains[0].size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("Gamma method: chains of ", chains[0].size(), " and of ", chain.size(), " values"));
    }
    means.push_back(std::accumulate(chain.begin(), chain.end(), 0.0) / static_cast<double>(chain.size()));
  }
  const std::vector<double> gradient = function.gradient(means);
  std::vector<double> projected(chains[0].size(), 0.0);
  for (size_t k = 0; k < chains.size(); ++k) {
    for (size_t i = 0; i < projected.size(); ++i) projected[i] += gradient[k] * chains[k][i];
  }
  ASSIGN_OR_RETURN(ChainEstimate estimate, GammaMethod(projected, s));
  estimate.mean = function.value(means);
  return estimate;
}

absl::StatusOr<WeightedEstimate> WeightedFunction(absl::Span<const std::vector<double>> columns,
                                                  absl::Span<const double> log_weight,
                                                  const std::function<double(absl::Span<const double>)>& function,
                                                  int bins) {
  RETURN_IF_ERROR(CheckWeightedInput(columns, log_weight, bins));
  const double max = *std::max_element(log_weight.begin(), log_weight.end());
  if (max == -kInfinity) return absl::InvalidArgumentError("weighted mean: every weight is 0");

  const WeightedSums zero{0, std::vector<double>(columns.size(), 0.0)};
  std::vector<WeightedSums> bin(std::min(static_cast<size_t>(bins), log_weight.size()), zero);
  for (size_t i = 0; i < log_weight.size(); ++i) {
    const double w = std::exp(log_weight[i] - max);
    WeightedSums& sums = bin[i % bin.size()];
    sums.weight += w;
    for (size_t k = 0; k < columns.size(); ++k) sums.moment[k] += w * columns[k][i];
  }
  const auto value = [&](WeightedSums sums) {
    for (double& moment : sums.moment) moment /= sums.weight;
    return function(sums.moment);
  };
  std::vector<double> leave_out;
  for (const WeightedSums& sums : LeaveOneOut(bin, zero, Combine)) leave_out.push_back(value(sums));
  const double all = value(std::accumulate(bin.begin(), bin.end(), zero, Combine));
  return WeightedEstimate{all, JackknifeOf(all, leave_out).error};
}

absl::StatusOr<WeightedEstimate> WeightedMean(absl::Span<const double> value, absl::Span<const double> log_weight,
                                              int bins) {
  const std::vector<std::vector<double>> column = {std::vector<double>(value.begin(), value.end())};
  return WeightedFunction(
      column, log_weight, [](absl::Span<const double> means) { return means[0]; }, bins);
}

PartitionEstimator::PartitionEstimator() : bin_(kBins) {}

void PartitionEstimator::Add(double log_weight, double odd) {
  const uint64_t before = all_.samples();
  all_.Add(log_weight, odd);
  if (all_.samples() == before) return;  // invalid: counted, in no bin
  bin_[next_bin_].Add(log_weight);
  next_bin_ = (next_bin_ + 1) % kBins;
}

Jackknife PartitionEstimator::LogZJackknife() const {
  if (all_.samples() < 2 * kBins) return {all_.LogZ(), kInfinity};
  if (all_.sums().finite == 0) return {-kInfinity, kInfinity};
  // Relative to the sum of all, and all from the same sums: roundings would be multiplied by the number of bins.
  const double scale = all_.sums().log_sum;
  std::vector<double> sum;
  for (const WeightStatistics& bin : bin_) sum.push_back(std::exp(bin.sums().log_sum - scale));
  std::vector<double> log_z;
  for (const double others : LeaveOneOut(sum, 0.0, std::plus<>())) {
    log_z.push_back(std::log(others / static_cast<double>(all_.samples() - bin_[log_z.size()].samples())));
  }
  const double all = std::accumulate(sum.begin(), sum.end(), 0.0) / static_cast<double>(all_.samples());
  Jackknife jackknife = JackknifeOf(std::log(all), log_z);
  jackknife.corrected += scale;
  return jackknife;
}

double PartitionEstimator::EssError() const {
  if (all_.samples() < 2 * kBins) return kInfinity;
  struct BinSums {
    double w = 0, w2 = 0, n = 0;
  };
  const double scale = all_.sums().max;
  std::vector<BinSums> bins;
  for (const WeightStatistics& bin : bin_) {
    bins.push_back({std::exp(bin.sums().log_sum - scale), std::exp(bin.sums().log_sum_squared - 2 * scale),
                    static_cast<double>(bin.samples())});
  }
  const auto combine = [](const BinSums& a, const BinSums& b) { return BinSums{a.w + b.w, a.w2 + b.w2, a.n + b.n}; };
  std::vector<double> ess;
  for (const BinSums& others : LeaveOneOut(bins, BinSums(), combine)) {
    ess.push_back(others.w * others.w / (others.n * others.w2));
  }
  return JackknifeOf(all_.Ess(), ess).error;
}

double PartitionEstimator::LogZBias() const {
  const double ess = all_.Ess();
  return ess == 0 ? -kInfinity : -(1 / ess - 1) / (2 * static_cast<double>(all_.samples()));
}

double PartitionEstimator::MeanLogWeightError() const {
  const WeightStatistics::Sums& sums = all_.sums();
  if (sums.finite < 2 || sums.zero_weights > 0) return kInfinity;
  const double n = static_cast<double>(sums.finite);
  const double mean = sums.sum_log / n;
  return std::sqrt(std::max(sums.sum_squared_log / n - mean * mean, 0.0) / (n - 1));
}

DoublingStop::DoublingStop(uint64_t minimum, uint64_t maximum, double requested_error)
    : next_look_(std::min(std::max<uint64_t>(minimum, 1), maximum)),
      maximum_(maximum),
      requested_error_(requested_error) {}

bool DoublingStop::ShouldStop(uint64_t n, double error) {
  if (n < next_look_) return false;
  if (n >= maximum_ || (requested_error_ > 0 && error <= requested_error_)) return true;
  next_look_ = next_look_ > maximum_ / 2 ? maximum_ : 2 * next_look_;
  return false;
}

}  // namespace haarflow
