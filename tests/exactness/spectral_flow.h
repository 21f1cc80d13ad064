// A spectral coupling flow with random weights, and room to map 16 fields at once. For tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "core/action/target.h"
#include "core/base/noise.h"
#include "core/flow/spectral_plan.h"
#include "core/group/sun_group.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/cpu/spectral_isa.h"
#include "core/kernel/tiles.h"
#include "core/model/spec.h"

namespace haarflow::testing {

template <int N>
using LinkField = std::vector<GroupMatrix<N>>;
template <int N>
using Fields = std::array<LinkField<N>, kernel::kTile>;
using PerField = std::array<double, kernel::kTile>;

// Largest differences.
template <int N>
double Distance(const GroupMatrix<N>& a, const GroupMatrix<N>& b) {
  double largest = 0;
  for (int k = 0; k < N * N; ++k) largest = std::max(largest, std::abs(a[k] - b[k]));
  return largest;
}
template <int N>
double Distance(const Fields<N>& a, const Fields<N>& b) {
  double largest = 0;
  for (int i = 0; i < kernel::kTile; ++i) {
    for (size_t l = 0; l < a[i].size(); ++l) largest = std::max(largest, Distance<N>(a[i][l], b[i][l]));
  }
  return largest;
}
inline double Distance(const PerField& a, const PerField& b, double sign = 1) {
  double largest = 0;
  for (int i = 0; i < kernel::kTile; ++i) largest = std::max(largest, std::abs(a[i] - sign * b[i]));
  return largest;
}

template <int N>
class SpectralFlow {
 public:
  explicit SpectralFlow(const std::string& spec_text, double size = 1.5, const char* isa = kernel::BestInstructionSet())
      : spec_(*ParseSpec(spec_text)), plan_(*PlanSpectralFlow(spec_)), tables_(plan_), isa_(isa) {
    parameters_ = plan_.InitialValues(11);
    for (double& p : parameters_) p *= size;
    SetParameters(parameters_);
    int64_t rows = 2;
    for (const SpectralLayerPlan& layer : plan_.layers) {
      rows = std::max<int64_t>(rows, 2 * layer.features.size());
      for (const StagePlan& stage : layer.stages) rows = std::max(rows, int64_t{stage.sites} * stage.out_channels);
    }
    constexpr int64_t kMatrix = int64_t{kNumbers} * kernel::kMatrixLanes;
    for (auto& half : links_) half = kernel::Allocate<double>(plan_.links() * kMatrix);
    scratch_ = kernel::Allocate<double>(kernel::kSpectralScratch * kMatrix);
    for (auto& b : rows_) b = kernel::Allocate<double>(rows * kernel::kTile);
    work_ = {{links_[0].get(), links_[1].get()}, scratch_.get(), rows_[0].get(), {rows_[1].get(), rows_[2].get()}};
    no_layers_ = {.colours = N,
                  .links = static_cast<int32_t>(plan_.links()),
                  .plaquettes = tables_.view().plaquettes,
                  .rectangles = tables_.view().rectangles};
  }

  const v1::ModelSpec& spec() const { return spec_; }
  const SpectralFlowPlan& plan() const { return plan_; }
  const std::vector<double>& parameters() const { return parameters_; }
  void SetParameters(const std::vector<double>& parameters) {
    parameters_ = parameters;
    tables_.Set(parameters_);
  }

  Fields<N> Haar(uint64_t seed, uint64_t first = 0, NoisePurpose purpose = NoisePurpose::kPrior) const {
    Fields<N> fields;
    for (size_t i = 0; i < fields.size(); ++i) {
      for (int64_t l = 0; l < plan_.links(); ++l) {
        fields[i].push_back(HaarMatrix<N>(seed, purpose, first + i, static_cast<uint32_t>(l)));
      }
    }
    return fields;
  }

  // The image, and log |det| of that direction.
  Fields<N> Map(const Fields<N>& fields, bool inverse, PerField* log_det) {
    Load(fields);
    log_det->fill(0);
    kernel::SpectralKernelsFor(isa_)->map_tile(tables_.view(), work_, inverse, log_det->data());
    Fields<N> image = fields;
    for (int i = 0; i < kernel::kTile; ++i) {
      for (size_t l = 0; l < image[i].size(); ++l) image[i][l] = Get(i, static_cast<int64_t>(l));
    }
    return image;
  }

  PerField Action(const Fields<N>& fields) {
    Load(fields);
    PerField action;
    const auto couplings = ActionNumbers(spec_.target());
    if (plan_.single) {
      kernel::SpectralKernelsFor(isa_)->single_action_tile(tables_.view(), couplings.data(), work_, action.data());
      return action;
    }
    for (int half = 0; half < kernel::kSpectralHalves; ++half) {
      kernel::LoopKernelsFor(isa_)->action_tile(no_layers_, couplings.data(), work_.links[half], work_.scratch,
                                                action.data() + half * kernel::kMatrixLanes);
    }
    return action;
  }

 private:
  static constexpr int kNumbers = N == 2 ? 4 : 18;

  double* At(int i, int64_t link, int r) const {
    return links_[i / kernel::kMatrixLanes].get() + (link * kNumbers + r) * kernel::kMatrixLanes +
           i % kernel::kMatrixLanes;
  }
  void Load(const Fields<N>& fields) {
    for (int i = 0; i < kernel::kTile; ++i) {
      for (size_t l = 0; l < fields[i].size(); ++l) {
        const GroupMatrix<N>& u = fields[i][l];
        const auto link = static_cast<int64_t>(l);
        if constexpr (N == 2) {
          const double w[4] = {u[0].real(), u[1].imag(), u[1].real(), u[0].imag()};
          for (int r = 0; r < 4; ++r) *At(i, link, r) = w[r];
        } else {
          for (int r = 0; r < 18; ++r) *At(i, link, r) = r % 2 == 0 ? u[r / 2].real() : u[r / 2].imag();
        }
      }
    }
  }
  GroupMatrix<N> Get(int i, int64_t link) const {
    GroupMatrix<N> u;
    if constexpr (N == 2) {
      const double w[4] = {*At(i, link, 0), *At(i, link, 1), *At(i, link, 2), *At(i, link, 3)};
      u = {std::complex(w[0], w[3]), std::complex(w[2], w[1]), std::complex(-w[2], w[1]), std::complex(w[0], -w[3])};
    } else {
      for (int r = 0; r < 9; ++r) u[r] = {*At(i, link, 2 * r), *At(i, link, 2 * r + 1)};
    }
    return u;
  }

  const v1::ModelSpec spec_;
  const SpectralFlowPlan plan_;
  SpectralFlowTables tables_;
  const char* const isa_;
  std::vector<double> parameters_;
  kernel::Buffer<double> links_[2], scratch_, rows_[3];
  kernel::SpectralWorkspace work_;
  hf_loop_flow no_layers_{};
};

}  // namespace haarflow::testing
