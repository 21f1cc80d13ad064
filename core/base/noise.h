// Addressed random numbers: Philox4x32-10 (Random123), a pure function of where a number is used.
//
//   key     = seed                                   (64 bits)
//   counter = { step or attempt:        32 bits,     word 0
//               degree of freedom:      32 bits,     word 1
//               sample index:           56 bits,     words 2 and 3 (low 24 bits)
//               purpose:                 8 bits }    word 3 (high 8 bits)
//
// Hence a number does not depend on the batch, thread, replica or slot that drew it, and no two purposes ever share
// one.
#pragma once

#include <Random123/philox.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace haarflow {

enum class NoisePurpose : uint8_t {
  kPrior = 1,       // base draw of the flow
  kAccept = 2,      // independence Metropolis
  kStochastic = 3,  // stochastic layers
  kRejection = 4,   // attempts of rejection samplers
  kTraining = 5,
  kMomenta = 6,  // HMC
  kInitial = 7,  // initial fields of Markov chains, initial weights
  kSeed = 8,     // seeds derived from seeds
};

constexpr uint64_t kMaxSampleIndex = (uint64_t{1} << 56) - 1;

// One Philox block: 128 bits at an address.
inline std::array<uint32_t, 4> NoiseBlock(uint64_t seed, NoisePurpose purpose, uint64_t index, uint32_t dof,
                                          uint32_t step = 0) {
  const r123::Philox4x32::ctr_type counter = {
      {step, dof, static_cast<uint32_t>(index),
       static_cast<uint32_t>(index >> 32 & 0xFFFFFFu) | static_cast<uint32_t>(purpose) << 24}};
  const r123::Philox4x32::key_type key = {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}};
  const auto r = r123::Philox4x32()(counter, key);
  return {r[0], r[1], r[2], r[3]};
}

// The 53 high bits of (high, low) as a double in [0, 1).
inline double UnitInterval(uint32_t low, uint32_t high) {
  return static_cast<double>((static_cast<uint64_t>(high) << 32 | low) >> 11) * 0x1p-53;
}

// Uniform in [0, 1): words 0 and 1 of the block.
inline double UniformNoise(uint64_t seed, NoisePurpose purpose, uint64_t index, uint32_t dof, uint32_t step = 0) {
  const auto r = NoiseBlock(seed, purpose, index, dof, step);
  return UnitInterval(r[0], r[1]);
}

// Standard normal by Box-Muller from the whole block.
inline double NormalNoise(uint64_t seed, NoisePurpose purpose, uint64_t index, uint32_t dof, uint32_t step = 0) {
  const auto r = NoiseBlock(seed, purpose, index, dof, step);
  const double radius = std::sqrt(-2.0 * std::log1p(-UnitInterval(r[0], r[1])));  // 1 - u is in (0, 1]
  return radius * std::cos(2 * std::numbers::pi * UnitInterval(r[2], r[3]));
}

}  // namespace haarflow
