// Models of perfect samplers, and means of their independent fields.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "core/kernel/kernels.h"
#include "core/model/model.h"

namespace haarflow::testing {

inline std::shared_ptr<const Model> ModelOf(const v1::ModelSpec& spec) {
  auto model = Model::Create(spec, {}, CpuKernels(), 0);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

inline Proposals Draw(const Model& model, const v1::Target& target, uint64_t first, int64_t n, uint64_t seed = 3) {
  std::vector<uint64_t> seeds(n, seed), index(n);
  for (int64_t i = 0; i < n; ++i) index[i] = first + static_cast<uint64_t>(i);
  Proposals p;
  const absl::Status status = model.Draw(target, seeds, index, &p);
  EXPECT_TRUE(status.ok()) << status;
  return p;
}

// Independent fields: mean and error.
struct Mean {
  double sum = 0, square = 0, n = 0;
  void Add(double x) {
    sum += x;
    square += x * x;
    ++n;
  }
  double mean() const { return sum / n; }
  double error() const { return std::sqrt(std::max(0.0, square / n - mean() * mean()) / n); }
};

}  // namespace haarflow::testing
