#include "client/theory.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/output.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/observable/derived.h"

namespace haarflow {
namespace {

constexpr int kMaxScanPoints = 10000;

absl::Status Usage(const std::string& what) { return WithExitCode(absl::InvalidArgumentError(what), kExitUsage); }

bool ParseNumber(absl::string_view text, double* value) {
  return absl::SimpleAtod(text, value) && std::isfinite(*value);
}

}  // namespace

absl::StatusOr<Setting> ParseSetting(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  Setting setting{.name = parts[0]};
  if (parts.size() != 2 || parts[0].empty() || !ParseNumber(parts[1], &setting.value)) {
    return Usage(absl::StrCat("--set ", text, ": give NAME=NUMBER, for example --set lambda=6"));
  }
  return setting;
}

absl::StatusOr<v1::Target> WithSettings(const v1::Target& target, const std::vector<Setting>& settings) {
  v1::Target changed = target;
  for (const Setting& setting : settings) {
    const absl::Status set = SetTheoryParameter(setting.name, setting.value, &changed);
    if (!set.ok()) return WithExitCode(Annotate(set, TheoryText(target)), kExitUsage);
  }
  return changed;
}

absl::StatusOr<ScanSetting> ParseScan(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  ScanSetting scan{.name = parts[0]};
  const std::vector<std::string> numbers = absl::StrSplit(parts.back(), ':');
  if (parts.size() != 2 || parts[0].empty() || numbers.size() != 3 || !ParseNumber(numbers[0], &scan.from) ||
      !ParseNumber(numbers[1], &scan.to) || !absl::SimpleAtoi(numbers[2], &scan.points)) {
    return Usage(absl::StrCat("--scan ", text, ": give NAME=FROM:TO:POINTS, for example --scan kappa=0.2:0.3:11"));
  }
  if (scan.points < 2 || scan.points > kMaxScanPoints || scan.from == scan.to) {
    return Usage(absl::StrCat("--scan ", text, ": give two different ends, and 2 to ", kMaxScanPoints, " points"));
  }
  return scan;
}

std::vector<std::string> DefaultColumns(const v1::Target& target) {
  if (target.has_sun_matrix()) return {"trace_1", "trace_2", "trace_3"};
  if (target.has_phi4()) return {"phi_squared", "energy", "magnetisation_abs", "susceptibility"};
  if (target.has_sun_wilson()) {
    std::vector<std::string> names = {"plaquette", "polyakov_abs"};
    if (target.sun_wilson().rectangle() != 0) names.insert(names.begin() + 1, "rectangle");
    if (target.lattice().shape_size() == 4) names.push_back("charge_squared");
    return names;
  }
  if (target.lattice().shape_size() == 2) return {"plaquette", "charge_squared"};
  return {"plaquette"};
}

std::vector<std::string> DefaultMeasurements(const v1::Target& target) {
  std::vector<std::string> names = DefaultColumns(target);
  if (target.has_sun_wilson()) {
    // The smallest loop that sees more than the plaquette does.
    const auto& shape = target.lattice().shape();
    if (std::all_of(shape.begin(), shape.end(), [](uint32_t extent) { return extent > 2; })) {
      names.push_back("wilson_loop_2x2");
    }
    names.push_back("polyakov_real");
  }
  for (std::string& name : DerivedObservableNames(target)) names.push_back(std::move(name));
  return names;
}

std::string TheoryText(const v1::Target& target) {
  return ValidateTarget(target).ok() ? DescribeTheory(target) : std::string("-");
}

std::string LatticeText(const v1::Target& target) {
  if (target.has_sun_matrix()) return "-";
  return absl::StrJoin(target.lattice().shape(), "x");
}

std::string IntervalsText(const google::protobuf::RepeatedPtrField<v1::Conditioning>& conditioning) {
  return absl::StrJoin(conditioning, ", ", [](std::string* out, const v1::Conditioning& c) {
    absl::StrAppend(out, c.parameter(), " ", Significant(c.low(), 6), " to ", Significant(c.high(), 6));
  });
}

}  // namespace haarflow
