#include "client/verification.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/base/status.h"
#include "core/io/gauge_field.h"
#include "core/io/run_attributes.h"

namespace haarflow {
namespace {

constexpr uint64_t kHeldBytes = 64 << 20;
constexpr size_t kHeldRows = 1024;
constexpr double kTolerance = 1e-9;

// "configuration 17": rows are known by their proposals.
std::string NameOf(uint64_t index) { return absl::StrCat("configuration ", index); }

bool SameBits(double a, double b) { return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b); }

double NumberAt(absl::Span<const char> field, size_t i, size_t bytes) {
  if (bytes == 4) {
    float number = 0;
    std::memcpy(&number, field.data() + i * bytes, bytes);
    return number;
  }
  double number = 0;
  std::memcpy(&number, field.data() + i * bytes, bytes);
  return number;
}

// Where number i of a field lies: "mu 1, t 0, z 2, y 3, x 1, row 0, column 2, imaginary part".
std::string PlaceOf(const v1::SampleHeader& header, size_t i) {
  std::vector<uint64_t> shape(header.shape().begin(), header.shape().end());
  std::vector<std::string> axes = absl::StrSplit(AxisNames(header.target()), ',');
  std::string part;
  if (IsComplex(header.target())) {
    part = i % 2 == 0 ? ", real part" : ", imaginary part";
    i /= 2;
    shape.pop_back();
  }
  std::string text;
  for (size_t axis = shape.size(); axis-- > 0; i /= shape[axis]) {
    text = absl::StrCat(axis > 0 ? ", " : "", axes[axis], " ", i % shape[axis], text);
  }
  return text + part;
}

}  // namespace

Verification::Verification(const PartContents& run, ProposalSource* source)
    : run_(run),
      source_(source),
      whole_(!run.resume_token.empty()),
      next_(run.header.next_index()),
      chain_(run.header.seed(), run.header.next_index(), run.header.burn_in()) {}

absl::Status Verification::Add(const SampleRow& row) {
  Held held{row.index, row.multiplicity, row.log_weight, row.log_q, row.action};
  held.observables.assign(row.observables.begin(), row.observables.end());
  held.field.assign(row.field.begin(), row.field.end());
  if (scans()) open_.emplace_back(row.index, row.multiplicity);
  held_bytes_ += held.field.size();
  held_.push_back(std::move(held));
  return held_bytes_ >= kHeldBytes || held_.size() >= kHeldRows ? DrawHeld() : absl::OkStatus();
}

absl::Status Verification::Finish() {
  RETURN_IF_ERROR(DrawHeld());
  if (!scans()) return absl::OkStatus();
  // The last state stays open until the run has all of its steps; all others are closed now.
  const bool last_is_open = open_.size() == 1 && chain_.has_open_state() && chain_.burn_in_left() == 0 &&
                            chain_.open_index() == open_.front().first;
  if (!last_is_open && chain_.steps() < run_.steps) {
    return absl::DataLossError(absl::StrCat(NameOf(open_.empty() ? next_ : open_.front().first),
                                            " is in the file and not in the chain of its seed"));
  }
  constexpr uint64_t kAtOnce = 64;
  while (chain_.steps() < run_.steps && !chain_.exhausted()) {
    const uint64_t count = std::min(kAtOnce, run_.steps - chain_.steps());
    RETURN_IF_ERROR(source_->Draw(next_, count, [this](const SampleRow& proposal) { return Look(proposal); }));
    RETURN_IF_ERROR(Step(next_ + count - 1, std::numeric_limits<double>::quiet_NaN()));
  }
  if (const auto closed = chain_.Flush(); closed.has_value()) RETURN_IF_ERROR(Close(*closed));
  if (!open_.empty()) {
    return absl::DataLossError(absl::StrCat(NameOf(open_.front().first), " is in the file and not in the chain"));
  }
  return CompareStatistics();
}

absl::Status Verification::DrawHeld() {
  while (!held_.empty()) {
    const uint64_t first = whole_ ? next_ : held_.front().index;
    const uint64_t last = whole_ ? held_.back().index : first;
    if (last < first) return absl::DataLossError(absl::StrCat(NameOf(last), " stands before the run's first proposal"));
    RETURN_IF_ERROR(
        source_->Draw(first, last - first + 1, [this](const SampleRow& proposal) { return Look(proposal); }));
    if (scans()) RETURN_IF_ERROR(Step(last, std::numeric_limits<double>::quiet_NaN()));
    next_ = last + 1;
    if (!held_.empty() && held_.front().index <= last) {
      return absl::DataLossError(absl::StrCat(NameOf(held_.front().index), ": its proposal has no finite weight"));
    }
  }
  held_bytes_ = 0;
  return absl::OkStatus();
}

// A proposal drawn again.
absl::Status Verification::Look(const SampleRow& proposal) {
  ++proposals_;
  if (!held_.empty() && held_.front().index == proposal.index) {
    const Held row = std::move(held_.front());
    held_.pop_front();
    RETURN_IF_ERROR(Compare(row, proposal));
  } else if (whole_ && !IsMetropolis(run_.header) && !std::isnan(proposal.log_weight) &&
             proposal.log_weight < std::numeric_limits<double>::infinity()) {
    return absl::DataLossError(absl::StrCat(NameOf(proposal.index), " is missing from the file"));
  }
  return scans() ? Step(proposal.index, proposal.log_weight) : absl::OkStatus();
}

// The chain looks at proposals up to `index`, whose weight is given; those in between have none.
absl::Status Verification::Step(uint64_t index, double log_weight) {
  while (chain_.next_index() <= index && chain_.steps() < run_.steps && !chain_.exhausted()) {
    const bool there = chain_.next_index() == index;
    const auto event = chain_.Look(there ? log_weight : std::numeric_limits<double>::quiet_NaN());
    if (event.closed.has_value()) RETURN_IF_ERROR(Close(*event.closed));
  }
  next_ = std::max(next_, index + 1);
  return absl::OkStatus();
}

absl::Status Verification::Close(const MetropolisChain::Closed& closed) {
  if (open_.empty() || open_.front().first != closed.index) {
    return absl::DataLossError(absl::StrCat(NameOf(closed.index), " is the chain's next; the file has ",
                                            open_.empty() ? std::string("none") : NameOf(open_.front().first),
                                            " there"));
  }
  if (open_.front().second != closed.multiplicity) {
    return absl::DataLossError(absl::StrCat(NameOf(closed.index), ": multiplicity is ", open_.front().second,
                                            " in the file, ", closed.multiplicity, " in the chain"));
  }
  open_.pop_front();
  return absl::OkStatus();
}

absl::Status Verification::Compare(const Held& row, const SampleRow& proposal) {
  same_class_ = source_->numerics_class() == run_.numerics_class;
  RETURN_IF_ERROR(CompareFields(row, proposal));
  RETURN_IF_ERROR(CompareNumber(row, "log_q", row.log_q, proposal.log_q));
  RETURN_IF_ERROR(CompareNumber(row, "action", row.action, proposal.action));
  RETURN_IF_ERROR(CompareNumber(row, "log_weight", row.log_weight, proposal.log_weight));
  for (size_t k = 0; k < row.observables.size(); ++k) {
    RETURN_IF_ERROR(
        CompareNumber(row, run_.header.observables(static_cast<int>(k)), row.observables[k], proposal.observables[k]));
  }
  return absl::OkStatus();
}

absl::Status Verification::CompareNumber(const Held& row, const std::string& name, double in_file, double again) {
  if (SameBits(in_file, again)) return absl::OkStatus();
  const double difference = std::abs(in_file - again) / (1 + std::abs(again));
  if (!same_class_ && difference <= kTolerance) {
    largest_difference_ = std::max(largest_difference_, difference);
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrFormat("%s: %s is %.17g in the file, %.17g drawn again", NameOf(row.index), name, in_file, again));
}

bool Verification::FieldIsRebuilt(const Held& row, const SampleRow& proposal) const {
  const v1::Target& target = run_.header.target();
  if (target.sun_wilson().colours() != 3 || ScalarBytes(run_.header) != 8) return false;
  std::vector<double> links(proposal.field.size() / sizeof(double));
  std::memcpy(links.data(), proposal.field.data(), proposal.field.size());
  RebuildThirdRows(&links);
  return std::memcmp(links.data(), row.field.data(), row.field.size()) == 0;
}

absl::Status Verification::CompareFields(const Held& row, const SampleRow& proposal) {
  if (row.field.size() == proposal.field.size() &&
      std::memcmp(row.field.data(), proposal.field.data(), row.field.size()) == 0) {
    return absl::OkStatus();
  }
  if (row.field.size() != proposal.field.size()) {
    return absl::DataLossError(absl::StrCat(NameOf(row.index), ": its field has another size when it is drawn again"));
  }
  if (FieldIsRebuilt(row, proposal)) {
    rebuilt_rows_ = true;
    return absl::OkStatus();
  }
  const size_t bytes = ScalarBytes(run_.header);
  const double tolerance = bytes == 4 ? 1e-6 : kTolerance;
  const bool angles = run_.header.target().has_u1_wilson();
  for (size_t i = 0; i < row.field.size() / bytes; ++i) {
    const double in_file = NumberAt(row.field, i, bytes);
    const double again = NumberAt(proposal.field, i, bytes);
    if (SameBits(in_file, again)) continue;
    const double difference =
        std::abs(angles ? std::remainder(in_file - again, 2 * M_PI) : in_file - again) / (1 + std::abs(again));
    if (!same_class_ && difference <= tolerance) {
      largest_difference_ = std::max(largest_difference_, difference);
      continue;
    }
    return absl::DataLossError(absl::StrFormat("%s: %s[%s] is %.17g in the file, %.17g drawn again", NameOf(row.index),
                                               FieldName(run_.header.target()), PlaceOf(run_.header, i), in_file,
                                               again));
  }
  return absl::OkStatus();
}

absl::Status Verification::CompareStatistics() {
  const v1::ChainStatistics again = chain_.Statistics();
  const v1::ChainStatistics& in_file = run_.statistics;
  if (in_file.proposals() != again.proposals() || in_file.accepted() != again.accepted()) {
    return absl::DataLossError(absl::StrCat("the file says ", in_file.accepted(), " accepted of ", in_file.proposals(),
                                            " proposals, the chain has ", again.accepted(), " of ", again.proposals()));
  }
  if (std::abs(in_file.log_z() - again.log_z()) <= kTolerance * (1 + std::abs(again.log_z()))) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("log_z is %.17g in the file, %.17g from its proposals", in_file.log_z(), again.log_z()));
}

}  // namespace haarflow
