// What the command line knows about theories: settings of their parameters, default observables, words for people.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// --set NAME=VALUE.
struct Setting {
  std::string name;
  double value = 0;
};
// INVALID_ARGUMENT (exit code 2) for what is not NAME=NUMBER.
absl::StatusOr<Setting> ParseSetting(const std::string& text);
// `target` with these parameters changed. INVALID_ARGUMENT (exit code 2) where the theory has no such parameter: lists
// those that it has.
absl::StatusOr<v1::Target> WithSettings(const v1::Target& target, const std::vector<Setting>& settings);

// --scan NAME=FROM:TO:POINTS: values at equal distances, both ends included.
struct ScanSetting {
  std::string name;
  double from = 0;
  double to = 0;
  int points = 0;

  double spacing() const { return (to - from) / (points - 1); }
  double value(int i) const { return i == points - 1 ? to : from + i * spacing(); }
};
absl::StatusOr<ScanSetting> ParseScan(const std::string& text);

// What a physicist looks at first: columns of a sample; measurements (functions of means too).
std::vector<std::string> DefaultColumns(const v1::Target& target);
std::vector<std::string> DefaultMeasurements(const v1::Target& target);

// "phi^4, m2 = -4, lambda = 6"; "-" for a target that this program does not know.
std::string TheoryText(const v1::Target& target);
std::string LatticeText(const v1::Target& target);
// "lambda 4 to 8, m2 -5 to -3"; empty for a model of one target.
std::string IntervalsText(const google::protobuf::RepeatedPtrField<v1::Conditioning>& conditioning);

}  // namespace haarflow
