// Addressed noise of core/base/noise.h for one thread.
#pragma once

#include "core/kernel/cuda/scalar_math.h"

namespace haarflow::HF_ISA {

// NoisePurpose of core/base/noise.h.
constexpr uint32_t kPriorPurpose = 1, kRejectionPurpose = 4;

struct NoisePair {
  double first, second;  // in [0, 1)
};

HF_FN double UnitInterval(uint32_t low, uint32_t high) {
  return static_cast<double>((static_cast<uint64_t>(high) << 32 | low) >> 11) * 0x1p-53;
}

// NoiseBlock: Philox4x32-10, counter {step, dof, index, purpose | index >> 32}.
HF_FN NoisePair Noise(uint64_t seed, uint64_t index, uint32_t purpose, uint32_t dof, uint32_t step) {
  uint32_t c0 = step, c1 = dof, c2 = static_cast<uint32_t>(index);
  uint32_t c3 = static_cast<uint32_t>(index >> 32 & 0xFFFFFFu) | purpose << 24;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(c0) * 0xD2511F53u;
    const uint64_t p1 = static_cast<uint64_t>(c2) * 0xCD9E8D57u;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {UnitInterval(c0, c1), UnitInterval(c2, c3)};
}

HF_FN double Uniform(uint64_t seed, uint64_t index, uint32_t purpose, uint32_t dof) {
  return Noise(seed, index, purpose, dof, 0).first;
}

// Standard normal, by Box-Muller from the whole block.
HF_FN double Normal(uint64_t seed, uint64_t index, uint32_t purpose, uint32_t dof, uint32_t step) {
  const NoisePair u = Noise(seed, index, purpose, dof, step);
  double sine, cosine;
  SinCos(kTwoPi * u.second, &sine, &cosine);
  return Sqrt(-2.0 * Log(1.0 - u.first)) * cosine;
}

// Both numbers of the Box-Muller pair.
HF_FN void NormalPair(uint64_t seed, uint64_t index, uint32_t purpose, uint32_t dof, double* x, double* y) {
  const NoisePair u = Noise(seed, index, purpose, dof, 0);
  double sine, cosine;
  SinCos(kTwoPi * u.second, &sine, &cosine);
  const double radius = Sqrt(-2.0 * Log(1.0 - u.first));
  *x = radius * cosine;
  *y = radius * sine;
}

}  // namespace haarflow::HF_ISA
