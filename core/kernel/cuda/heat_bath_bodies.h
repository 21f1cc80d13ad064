// The heat bath and the action of scalars, a configuration per block: core/kernel/cpu/scalar_action.inc and
// core/kernel/heat_bath.cc for one thread.
#pragma once

#include "core/kernel/cuda/block.h"
#include "core/kernel/cuda/cas_passes.h"
#include "core/kernel/cuda/noise.h"

namespace haarflow::HF_ISA {

// HeatBathTable of core/kernel/cpu/scalar_isa.h.
struct ConditionalTable {
  double quadratic, quartic, hop, spacing;
  int32_t points;
  const double* log_z;   // [points][3]
  const double* centre;  // [points]
};

struct SiteTables {
  int32_t dims, sites, components;
  const int32_t* neighbour;  // [sites][2 dims]
  int32_t drawn;
  const int32_t* drawn_sites;
};

struct Conditional {
  double log_z, centre;
};

// ----------------------------------------------------------------------------------------------- beyond the table

HF_FN double ConditionalExponent(const ConditionalTable& t, double b, double x) {
  return (b - Fma(t.quartic * x, x, t.quadratic) * x) * x;
}

// The exponent's largest maximum for b >= 0, at x >= 0.
HF_FN double ConditionalMode(const ConditionalTable& t, double b) {
  const auto slope = [&](double x) HF_LAMBDA { return b - 2 * t.quadratic * x - 4 * t.quartic * x * x * x; };
  double low = t.quadratic < 0 ? Sqrt(-t.quadratic / (2 * t.quartic)) : 0, high = low + 1;
  while (slope(high) > 0) high *= 2;
  for (int i = 0; i < 80; ++i) {
    const double middle = 0.5 * (low + high);
    (slope(middle) > 0 ? low : high) = middle;
  }
  return low;
}

// b >= 0, by the trapezoidal rule.
HF_FN double ConditionalLogZ(const ConditionalTable& t, double b) {
  const double mode = ConditionalMode(t, b), top = ConditionalExponent(t, b, mode);
  double range = mode + 1;
  while (top - ConditionalExponent(t, b, range) < 50) range *= 1.25;
  const double curvature = 2 * t.quadratic + 12 * t.quartic * mode * mode;
  const double wanted = curvature > 0 ? 8 * range * Sqrt(curvature) : 0;
  const int half = static_cast<int>(Max(300.0, Min(wanted, 1e6)));
  double sum = 0;
  for (int i = -half; i <= half; ++i) sum = sum + Exp(ConditionalExponent(t, b, range * i / half) - top);
  return top + Log(sum * range / half);
}

HF_FN double ConditionalCentre(const ConditionalTable& t, double b) {
  if (t.quartic == 0) return 0;
  const auto excess = [&](double c) HF_LAMBDA {
    const double a = t.quadratic + 2 * t.quartic * c;
    return 1 / (2 * a) + b * b / (4 * a * a) - c;
  };
  double low = Max(0.0, -t.quadratic / (2 * t.quartic)), high = low + 1;
  while (excess(high) > 0) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (excess(middle) > 0 ? low : high) = middle;
  }
  return high;
}

// ------------------------------------------------------------------------------------------------------ conditional

HF_FN Conditional ConditionalAt(const ConditionalTable& t, double b) {
  const double size = ::fabs(b), position = size * (1 / t.spacing);
  if (!(position < t.points - 1)) {
    const double nan = size - size;  // where b is not finite
    if (!(nan == 0)) return {nan, nan};
    return {ConditionalLogZ(t, size), ConditionalCentre(t, size)};
  }
  const auto node = static_cast<int32_t>(position);
  const double x = position - node, h = t.spacing;
  const double *from = t.log_z + 3 * node, *to = from + 3;
  const double p0 = Read(from), v0 = h * Read(from + 1), a0 = h * h * Read(from + 2);
  const double d = Read(to) - p0, v1 = h * Read(to + 1), a1 = h * h * Read(to + 2);
  const double c3 = 10.0 * d - 6.0 * v0 - 4.0 * v1 - 1.5 * a0 + 0.5 * a1;
  const double c4 = -15.0 * d + 8.0 * v0 + 7.0 * v1 + 1.5 * a0 - a1;
  const double c5 = 6.0 * d - 3.0 * (v0 + v1) - 0.5 * a0 + 0.5 * a1;
  const double log_z = Fma(x, Fma(x, Fma(x, Fma(x, Fma(x, c5, c4), c3), 0.5 * a0), v0), p0);
  const double c0 = Read(t.centre + node);
  return {log_z, Fma(x, Read(t.centre + node + 1) - c0, c0)};
}

HF_FN double HeatBathField(const SiteTables& s, double hop, int32_t site, const double* field) {
  double around = 0;
  for (int32_t i = 0; i < 2 * s.dims; ++i) around = around + field[Read(s.neighbour + site * 2 * s.dims + i)];
  return hop * around;
}

HF_FN double ConditionalLogDensity(const ConditionalTable& t, double x, double b, double log_z) {
  return ConditionalExponent(t, b, x) - log_z;
}

// More attempts than ever happen; only fields that are not finite need them.
constexpr uint32_t kMaxAttempts = 4096;

// Noise: purpose kRejection, degrees of freedom 2 site (proposal) and 2 site + 1 (decision), step = attempt.
HF_FN double DrawConditional(const ConditionalTable& t, uint64_t seed, uint64_t index, int32_t site, double b,
                             double centre) {
  const double precision = 2.0 * (t.quadratic + 2.0 * t.quartic * centre);
  const double middle = b / precision, width = 1.0 / Sqrt(precision);
  const auto dof = static_cast<uint32_t>(2 * site);
  for (uint32_t attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const double proposal = Fma(width, Normal(seed, index, kRejectionPurpose, dof, attempt), middle);
    const double off = Fma(proposal, proposal, -centre);
    if (Noise(seed, index, kRejectionPurpose, dof + 1, attempt).first < Exp(-t.quartic * off * off)) return proposal;
  }
  return Bits<double>(uint64_t{0x7FF8000000000000});
}

// ------------------------------------------------------------------------------------------------------------ bodies

struct SumThread {
  double sum;
};

// Draws the odd sites of rows; log_q += their density.
struct HeatBathDrawBody {
  using Thread = SumThread;
  static constexpr int kMaxThreads = 128, kMinBlocks = 4;
  BlockShape shape;
  SiteTables sites;
  ConditionalTable table;
  const uint64_t* names;
  double* rows;
  double* log_q;
  HF_BLOCK_FN void Run(Block<Thread>& block) const {
    block.ForGroups([&]() HF_LAMBDA {
      block.Phase([&](int32_t lane, int32_t, int64_t configuration, Thread& t) HF_LAMBDA {
        double* field = rows + configuration * sites.sites;
        t.sum = 0;
        for (int32_t i = lane; i < sites.drawn; i += shape.threads) {
          const int32_t site = Read(sites.drawn_sites + i);
          const double b = HeatBathField(sites, table.hop, site, field);
          const Conditional c = ConditionalAt(table, b);
          const double x =
              DrawConditional(table, names[configuration], names[shape.batch + configuration], site, b, c.centre);
          field[site] = x;
          t.sum = t.sum + ConditionalLogDensity(table, x, b, c.log_z);
        }
      });
      block.AddSum(
          Block<Thread>::shared(), 0, [](Thread& t) HF_LAMBDA { return t.sum; }, log_q);
    });
  }
};

// log_q += the density of the odd sites of rows; then sets them to zero.
struct HeatBathTakeBody {
  using Thread = SumThread;
  static constexpr int kMaxThreads = 128, kMinBlocks = 4;
  BlockShape shape;
  SiteTables sites;
  ConditionalTable table;
  double* rows;
  double* log_q;
  HF_BLOCK_FN void Run(Block<Thread>& block) const {
    block.ForGroups([&]() HF_LAMBDA {
      block.Phase([&](int32_t lane, int32_t, int64_t configuration, Thread& t) HF_LAMBDA {
        double* field = rows + configuration * sites.sites;
        t.sum = 0;
        for (int32_t i = lane; i < sites.drawn; i += shape.threads) {
          const int32_t site = Read(sites.drawn_sites + i);
          const double b = HeatBathField(sites, table.hop, site, field);  // of even sites, which stay
          t.sum = t.sum + ConditionalLogDensity(table, field[site], b, ConditionalAt(table, b).log_z);
          field[site] = 0;
        }
      });
      block.AddSum(
          Block<Thread>::shared(), 0, [](Thread& t) HF_LAMBDA { return t.sum; }, log_q);
    });
  }
};

// action = S of rows, couplings {hop, quadratic, quartic}.
struct ScalarActionBody {
  using Thread = SumThread;
  static constexpr int kMaxThreads = 128, kMinBlocks = 4;
  BlockShape shape;
  SiteTables sites;
  const double* couplings;
  const double* rows;
  double* action;
  HF_BLOCK_FN void Run(Block<Thread>& block) const {
    const double hop = couplings[0], quadratic = couplings[1], quartic = couplings[2];
    block.ForGroups([&]() HF_LAMBDA {
      block.Phase([&](int32_t lane, int32_t, int64_t configuration, Thread& t) HF_LAMBDA {
        const double* field = rows + configuration * (int64_t{sites.components} * sites.sites);
        t.sum = 0;
        for (int32_t x = lane; x < sites.sites; x += shape.threads) {
          double square = 0, ahead = 0;
          for (int32_t c = 0; c < sites.components; ++c) {
            const double* phi = field + int64_t{c} * sites.sites;
            double next = 0;
            for (int32_t mu = 0; mu < sites.dims; ++mu) {
              next = next + phi[Read(sites.neighbour + x * 2 * sites.dims + mu)];
            }
            square = Fma(phi[x], phi[x], square);
            ahead = Fma(phi[x], next, ahead);
          }
          t.sum = Fma(Fma(quartic, square, quadratic), square, Fma(-hop, ahead, t.sum));
        }
        if (lane == 0) action[configuration] = 0;
      });
      block.AddSum(
          Block<Thread>::shared(), 0, [](Thread& t) HF_LAMBDA { return t.sum; }, action);
    });
  }
};

}  // namespace haarflow::HF_ISA
