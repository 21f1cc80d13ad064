#include "core/kernel/cuda/cas_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <utility>

namespace haarflow::isa_cuda {
namespace {

// What ForRadix knows.
constexpr int kRealRadices[] = {16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2};
constexpr int kComplexRadices[] = {8, 5, 4, 3, 2};

struct Factors {
  std::vector<int> radices;
  int largest = 0;  // number of points of a unit
  bool BetterThan(const Factors& other) const {
    return std::pair(radices.size(), largest) < std::pair(other.radices.size(), other.largest);
  }
};

// Splits what is left of an extent into complex radices, in falling order.
void Split(int left, int limit, int points, Factors* current, Factors* best) {
  if (left == 1) {
    if (best->radices.empty() || current->BetterThan(*best)) *best = *current;
    return;
  }
  for (const int radix : kComplexRadices) {
    if (radix > limit || 2 * radix > points || left % radix != 0) continue;
    const int largest = current->largest;
    current->radices.push_back(radix);
    current->largest = std::max(largest, 2 * radix);
    Split(left / radix, radix, points, current, best);
    current->radices.pop_back();
    current->largest = largest;
  }
}

}  // namespace

CasPlan::CasPlan(std::vector<int32_t> shape, int points) : shape_(std::move(shape)) {
  for (const int32_t extent : shape_) sites_ *= extent;
  const Pass identity = {static_cast<int32_t>(shape_.size()) - 1, 1, 0, 1};
  for (int32_t axis = 0; axis < static_cast<int32_t>(shape_.size()); ++axis) {
    if (FactorAxis(axis, points)) continue;
    if (passes_.empty()) passes_.push_back(identity);
    passes_.push_back({axis, 0, 1, 1});
  }
  if (passes_.size() < 2 || passes_.back().radix == 0) passes_.push_back(identity);
}

bool CasPlan::FactorAxis(int32_t axis, int points) {
  Factors best;
  for (const int radix : kRealRadices) {
    if (radix > points || shape_[axis] % radix != 0) continue;
    Factors current = {{radix}, radix};
    Split(shape_[axis] / radix, points, points, &current, &best);
  }
  int32_t before = 1;
  for (size_t i = 0; i < best.radices.size(); ++i) {
    const int32_t radix = best.radices[i];
    passes_.push_back({axis, i == 0 ? radix : -radix, before, i == 0 ? radix : 2 * radix});
    before *= radix;
  }
  return !best.radices.empty();
}

bool CasPlan::has_dense_pass() const {
  return std::any_of(passes_.begin(), passes_.end(), [](const Pass& p) { return p.radix == 0; });
}

int64_t CasPlan::UnitCount(const Pass& pass) const {
  if (pass.radix >= 0) return sites_ / std::max(pass.radix, 1);
  const int32_t pairs = pass.before % 2 == 0 ? pass.before / 2 : (pass.before + 1) / 2;
  return int64_t{sites_} / (pass.before * -pass.radix) * pairs;
}

int64_t CasPlan::Threads(int points) const {
  int64_t threads = 1;
  for (const Pass& pass : passes_) {
    const int64_t units_each = points / pass.unit_points;
    threads = std::max(threads, (UnitCount(pass) + units_each - 1) / units_each);
  }
  return threads;
}

int32_t CasPlan::Step(const Pass& pass) const {
  if (pass.radix == 0) return static_cast<int32_t>(strides_[pass.axis]);
  const int32_t combined = pass.before == 0 ? 1 : pass.before * std::abs(pass.radix);
  return static_cast<int32_t>(shape_[pass.axis] / combined * strides_[pass.axis]);
}

// Where the frequency of `before` points is along the axis, in units of what is left of the extent: digits reversed.
int32_t CasPlan::Reversed(int32_t axis, int32_t before, int32_t frequency) const {
  int32_t place = 0, size = 1;
  for (const Pass& pass : passes_) {
    if (pass.axis != axis || pass.radix == 0 || pass.before == 0 || size >= before) continue;
    const int32_t radix = std::abs(pass.radix);
    place = place * radix + frequency / size % radix;
    size *= radix;
  }
  return size > 1 ? place : frequency;
}

// Lines go fastest: the lanes of a warp do the same to neighbouring lines, with the same twiddles.
CasPlan::Unit CasPlan::UnitAt(const Pass& pass, int64_t index) const {
  const bool every_site = pass.radix == 0 || pass.before == 0;  // dense, or the identity
  const int64_t lines = every_site ? sites_ : sites_ / shape_[pass.axis];
  int64_t line = index % lines, rest = index / lines, address = 0;
  int32_t coordinate = 0;
  for (int32_t axis = static_cast<int32_t>(shape_.size()) - 1; axis >= 0; --axis) {
    if (axis == pass.axis && !every_site) continue;
    if (axis == pass.axis) coordinate = static_cast<int32_t>(line % shape_[axis]);
    address += line % shape_[axis] * strides_[axis];
    line /= shape_[axis];
  }
  const auto at = [&](int64_t along) { return static_cast<int32_t>(address + along * strides_[pass.axis]); };
  if (every_site) return {at(0), pass.radix == 0 ? at(-coordinate) : -1, coordinate};
  const int32_t left = shape_[pass.axis] / pass.before, ahead = left / std::abs(pass.radix);
  const auto place = [&](int32_t frequency) {
    return at(rest % ahead + int64_t{left} * Reversed(pass.axis, pass.before, frequency));
  };
  const auto pair = static_cast<int32_t>(rest / ahead);
  if (pass.radix > 0) return {place(0), -1, 0};
  if (pair > 0) return {place(pair), place(pass.before - pair), pair};
  return {place(0), pass.before % 2 == 0 ? place(pass.before / 2) : -1, 0};
}

std::vector<CasPlan::Unit> CasPlan::Units(const Pass& pass) const {
  std::vector<Unit> units;
  for (int64_t i = 0; i < UnitCount(pass); ++i) units.push_back(UnitAt(pass, i));
  return units;
}

std::vector<double> CasPlan::Twiddles(const Pass& pass) const {
  std::vector<double> out;
  if (pass.radix == 0) {
    for (int32_t j = 0; j < shape_[pass.axis]; ++j) {
      const double angle = 2 * std::numbers::pi * j / shape_[pass.axis];
      out.push_back(std::cos(angle) + std::sin(angle));
    }
  }
  for (int32_t pair = 0; pass.radix < 0 && 2 * pair < pass.before; ++pair) {
    // Of pair 0 the half at M / 2: 2 pi j (M / 2) / (M r).
    const double k = pair > 0 ? pair : pass.before / 2.0;
    for (int32_t j = 1; j < -pass.radix; ++j) {
      const double angle = 2 * std::numbers::pi * j * k / (pass.before * -pass.radix);
      out.push_back(std::cos(angle));
      out.push_back(std::sin(angle));
    }
  }
  return out;
}

int64_t CasPlan::BankConflicts(int64_t threads) const {
  constexpr int kBanks = 16;  // of 8 bytes: half a warp is served at once
  int64_t conflicts = 0;
  for (const Pass& pass : passes_) {
    const int64_t units = UnitCount(pass);
    for (int half = 0; half < 2; ++half) {
      int hits[kBanks] = {};
      for (int lane = half * kBanks; lane < (half + 1) * kBanks; ++lane) {
        const int64_t unit = lane % threads;
        if (unit >= units) continue;
        const int64_t address = lane / threads * padded_ + UnitAt(pass, unit).first;
        conflicts += hits[address % kBanks]++;
      }
    }
  }
  return conflicts;
}

void CasPlan::Place(int64_t threads) {
  const auto dims = static_cast<int32_t>(shape_.size());
  const int64_t pads = dims <= 2 ? 9 : 5;
  int64_t choices = 1, best = -1, least = 0;
  for (int32_t i = 0; i < dims; ++i) choices *= pads;
  // Numbers left free after each line, plane, ... and field.
  const auto set = [&](int64_t choice) {
    strides_.assign(dims, 1);
    padded_ = 1;
    for (int32_t axis = dims - 1; axis >= 0; --axis, choice /= pads) {
      strides_[axis] = padded_;
      padded_ = padded_ * shape_[axis] + choice % pads;
    }
  };
  for (int64_t choice = 0; choice < choices; ++choice) {
    set(choice);
    if (padded_ > sites_ + sites_ / 4 + 2 * pads) continue;
    const int64_t cost = BankConflicts(threads) * 100 + padded_ * 100 / sites_;
    if (best < 0 || cost < least) best = choice, least = cost;
  }
  set(best);
}

int32_t CasPlan::SiteAddress(int32_t site) const {
  int64_t address = 0;
  for (auto axis = static_cast<int32_t>(shape_.size()) - 1; axis >= 0; --axis) {
    address += site % shape_[axis] * strides_[axis];
    site /= shape_[axis];
  }
  return static_cast<int32_t>(address);
}

int32_t CasPlan::ModeAddress(int32_t mode) const {
  int64_t address = 0;
  for (auto axis = static_cast<int32_t>(shape_.size()) - 1; axis >= 0; --axis) {
    address += Reversed(axis, shape_[axis], mode % shape_[axis]) * strides_[axis];
    mode /= shape_[axis];
  }
  return static_cast<int32_t>(address);
}

}  // namespace haarflow::isa_cuda
