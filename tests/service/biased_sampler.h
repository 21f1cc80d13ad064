// A model whose log q is reported wrong: what exactness tests must catch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "core/model/model.h"

namespace haarflow::testing {

// Reports distort(log q) of every proposal.
class BiasedSampler final : public Sampler {
 public:
  BiasedSampler(std::shared_ptr<const Model> model, std::function<double(double)> distort)
      : model_(std::move(model)), distort_(std::move(distort)) {}
  const Lattice& lattice() const override { return model_->lattice(); }
  const v1::Target& target() const override { return model_->target(); }
  std::string numerics_class() const override { return model_->numerics_class(); }
  absl::Status Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                    Proposals* out) const override {
    const absl::Status status = model_->Draw(target, seed, index, out);
    for (double& q : out->log_q) q = distort_(q);
    return status;
  }

 private:
  const std::shared_ptr<const Model> model_;
  const std::function<double(double)> distort_;
};

}  // namespace haarflow::testing
