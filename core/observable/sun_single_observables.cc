// Observables of a single SU(N) matrix; formulas in observable.h.
#include <array>
#include <vector>

#include "core/action/sun_single.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/observable/theory_observables.h"

namespace haarflow {
namespace {

constexpr int kAction = 0;  // else the power of the trace

class SunSingleObservables : public TheoryObservables {
 public:
  explicit SunSingleObservables(const v1::Target& target)
      : colours_(static_cast<int>(target.sun_matrix().colours())), b_(ActionNumbers(target)) {}

  absl::Status Add(const std::string& name) override {
    for (int power = 1; power <= 3; ++power) {
      if (name == absl::StrCat("trace_", power)) {
        entries_.push_back(power);
        return absl::OkStatus();
      }
    }
    if (name != "action") return UnknownObservable(name, "trace_1, trace_2, trace_3, action");
    entries_.push_back(kAction);
    return absl::OkStatus();
  }
  void Evaluate(const double* field, double* values) const override {
    std::array<double, 3> trace = SunPowerTraces(colours_, field);
    for (double& t : trace) t /= colours_;
    for (size_t i = 0; i < entries_.size(); ++i) values[i] = Value(entries_[i], trace);
  }
  std::optional<double> Exact(size_t i) const override {
    const auto solution = SolveSunSingle(colours_, b_);
    if (!solution.has_value()) return std::nullopt;
    return Value(entries_[i], solution->trace);
  }

 private:
  double Value(int entry, const std::array<double, 3>& trace) const {
    return entry == kAction ? -(b_[0] * trace[0] + b_[1] * trace[1] + b_[2] * trace[2]) : trace[entry - 1];
  }

  const int colours_;
  const std::array<double, 3> b_;
  std::vector<int> entries_;
};

}  // namespace

std::unique_ptr<TheoryObservables> MakeSunSingleObservables(const v1::Target& target) {
  return std::make_unique<SunSingleObservables>(target);
}

}  // namespace haarflow
