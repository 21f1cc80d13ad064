// The gradients of core/train/gradient.h by LibTorch's automatic differentiation: slower, and written independently of
// the fused kernels. The path gradient is computed the other way round too: the score comes from differentiating the
// inverse map.
#pragma once

#include "core/train/gradient.h"

namespace haarflow {

std::unique_ptr<GradientSource> MakeTorchGradient(const U1FlowPlan& plan);

}  // namespace haarflow
