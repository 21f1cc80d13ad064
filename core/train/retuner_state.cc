// What a re-tuning resumes from: its policy, its weights, and the training loop's own state where a cycle was cut.
#include <algorithm>
#include <utility>

#include "core/base/file.h"
#include "core/base/status.h"
#include "core/train/retuner.h"

namespace haarflow {
namespace {

constexpr char kFormat[] = "retune-state-1";
constexpr uint64_t kMaxTrainerState = uint64_t{2} << 30;

Tensor Doubles(const std::vector<double>& values) {
  return Tensor::FromDoubles(Tensor::Type::kFloat64, {static_cast<int64_t>(values.size())}, values);
}

void AddWeights(const std::string& prefix, const TensorMap& weights, TensorMap* out) {
  for (const auto& [name, tensor] : weights) (*out)[prefix + name] = tensor;
}
TensorMap TakeWeights(const std::string& prefix, const TensorMap& tensors) {
  TensorMap weights;
  for (const auto& [name, tensor] : tensors) {
    if (name.compare(0, prefix.size(), prefix) == 0) weights[name.substr(prefix.size())] = tensor;
  }
  return weights;
}

}  // namespace

std::string Retuner::TrainerFile() const { return options_.scratch + "/retune-cycle.safetensors"; }

std::string Retuner::State(bool with_trainer) const {
  TensorMap tensors;
  AddWeights("weights/", weights_, &tensors);
  AddWeights("best/", best_, &tensors);
  tensors["policy"] = Doubles(ToNumbers(state_));
  tensors["counters"] = Doubles({static_cast<double>(cycles_), static_cast<double>(measurements_),
                                 static_cast<double>(steps_), SecondsSpent(), weights_path_, measured_.ess,
                                 measured_.error, evaluation_seconds_, static_cast<double>(evaluation_samples_)});
  std::vector<double> log;
  for (const RetuneStep& s : log_) {
    log.insert(log.end(), {s.path, s.ess_before, s.ess_after, static_cast<double>(s.steps)});
  }
  tensors["log"] = Doubles(log);
  if (with_trainer) {
    auto trainer = ReadFile(TrainerFile(), kMaxTrainerState);
    if (trainer.ok()) {
      tensors["trainer"] = {Tensor::Type::kUint8, {static_cast<int64_t>(trainer->size())}, *std::move(trainer)};
    }
  }
  return WriteSafetensors(tensors, {{"format", kFormat}, {"task", fingerprint_}});
}

absl::Status Retuner::Restore(const std::string& state) {
  StringMap metadata;
  ASSIGN_OR_RETURN(const TensorMap tensors, ReadSafetensors(state, &metadata));
  if (metadata["format"] != kFormat || metadata["task"] != fingerprint_) {
    return absl::FailedPreconditionError("the state belongs to another re-tuning, or to another version of it");
  }
  const auto numbers = [&tensors](const std::string& name) -> absl::StatusOr<std::vector<double>> {
    const auto it = tensors.find(name);
    if (it == tensors.end()) return absl::DataLossError(absl::StrCat("the re-tuning state lacks '", name, "'"));
    return it->second.ToDoubles();
  };
  ASSIGN_OR_RETURN(const std::vector<double> policy, numbers("policy"));
  ASSIGN_OR_RETURN(state_, FromNumbers(policy));
  ASSIGN_OR_RETURN(const std::vector<double> counters, numbers("counters"));
  ASSIGN_OR_RETURN(const std::vector<double> log, numbers("log"));
  bool good = counters.size() == 9 && log.size() % 4 == 0;
  for (const double c : counters) good = good && c >= 0 && c < 1e15;
  if (!good) return absl::DataLossError("the re-tuning state's counters are out of range");
  cycles_ = static_cast<uint64_t>(counters[0]);
  measurements_ = static_cast<uint64_t>(counters[1]);
  steps_ = static_cast<uint64_t>(counters[2]);
  seconds_before_ = counters[3];
  weights_path_ = std::min(1.0, counters[4]);
  measured_ = {counters[5], counters[6]};
  evaluation_seconds_ = counters[7];
  evaluation_samples_ = std::clamp(static_cast<uint64_t>(counters[8]), kLeastEvaluation, kMostEvaluation);
  for (size_t i = 0; i < log.size(); i += 4) {
    log_.push_back({log[i], log[i + 1], log[i + 2], static_cast<uint64_t>(std::max(0.0, log[i + 3]))});
  }
  weights_ = TakeWeights("weights/", tensors);
  best_ = TakeWeights("best/", tensors);
  const auto trainer = tensors.find("trainer");
  if (trainer == tensors.end()) return absl::OkStatus();
  return WriteFileAtomically(TrainerFile(), trainer->second.bytes);
}

}  // namespace haarflow
