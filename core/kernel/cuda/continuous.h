// Priors and continuous flows of scalars on the GPU, a configuration per block of threads (small ones share a block).
//
// The floor, per site and Runge-Kutta stage, of F features, one of them linear (a fused multiply-add is one operation):
//   sines and cosines    24 (F - 1) double operations;
//   transforms           F, in two dimensions of 7 (8x8), 10.5 (16x16) or 17.5 (64x64) operations;
//   kernels and sums     4 F.
// For two sines 81, 92 and 113 operations, for eight 291, 323 and 386; an H100 does 64 a clock and multiprocessor.
// State and sums live in frequency space: C v = sum_f K_f (C g_f), so that the linear feature needs no transform, and a
// stage makes F transforms instead of F + 1. Memory: a thread keeps its own frequencies (state, sum of the step,
// velocity) and its own sites in registers; a transform of p passes moves 16 (p - 1) bytes per site through shared
// memory, at 128 bytes a clock. Two sines: 8x8 and 16x16, two passes, 0.4 clocks against 1.3 and 1.4 of arithmetic;
// 64x64, four passes, 1.1 against 1.8. The kernels, 8 F bytes, come through L1 and L2. Device memory sees names and
// fields, once. So double arithmetic is what limits. Of the instructions that sm_90 executes for a sine at 8x8 half are
// double (290 of 540 for 8 sites, counted, not timed). Not yet measured on a GPU.
//
// Where registers do not suffice (more than 4096 sites; extents with a prime factor above 7, whose transforms are
// dense) states lie in device memory, above about 28,000 sites on an H100 transforms do too: then L2 and device memory
// limit.
#pragma once

#include "core/kernel/cuda/block.h"
#include "core/kernel/cuda/continuous_tables.h"
#include "core/kernel/cuda/noise.h"
#include "core/kernel/cuda/owned.h"

namespace haarflow::HF_ISA {

// A run of continuous layers between two ends, forwards or backwards.
template <int kSlots, int kComponents>
struct ContinuousBody {
  using Thread = ContinuousThread<kSlots, kComponents>;
  static constexpr int kPoints = kSlots == 8 ? 8 : 16;  // the largest unit
  static constexpr int kMaxThreads = kSlots == 0 ? 512 : 256;
  static constexpr int kMinBlocks = kSlots == 8 && kComponents == 1 ? 2 : 1;

  BlockShape shape;
  CasTables cas;
  PriorTable prior;
  const PhaseRecord* phase;
  int32_t phases;
  bool from_prior, to_prior;  // else from and to rows
  const uint64_t* names;      // seeds [batch], indices [batch]
  double* rows;               // [batch][components x sites]
  double* log_q;              // [batch], added to
  double log_q_constant;
  // Of kSlots = 0: states [blocks][configurations][StateSize], and where shared memory is too small for transforms
  // [blocks][buffers][configurations][components][padded].
  double *states, *work;
  int32_t buffers;  // 1 or 2

  // ---------------------------------------------------------------------------------------------------------- memory

  HF_BLOCK_FN int64_t BufferSize() const { return int64_t{kComponents} * cas.padded; }
  HF_BLOCK_FN double* Buffer(int32_t which, int32_t slot) const {
    const int64_t place = (which * shape.configurations + slot) * BufferSize();
    if constexpr (kSlots == 0) {
      if (work != nullptr) return work + blockIdx.x * (buffers * shape.configurations * BufferSize()) + place;
    }
    return Block<Thread>::shared() + static_cast<int32_t>(place);
  }
  HF_BLOCK_FN double* Sums() const {
    return Block<Thread>::shared() + (work != nullptr ? 0 : buffers * shape.configurations * BufferSize());
  }
  HF_BLOCK_FN void Bind(int32_t lane, int32_t slot, Thread& t) const {
    if constexpr (kSlots == 0) {
      double* at = states + (blockIdx.x * int64_t{shape.configurations} + slot) * StateSize(kComponents, cas) + lane;
      const int64_t modes = cas.owned_modes;
      t.momentum.Bind(at, shape.threads, modes);
      t.sum.Bind(at + kComponents * modes, shape.threads, modes);
      t.velocity.Bind(at + 2 * kComponents * modes, shape.threads, modes);
      t.field.Bind(at + 3 * kComponents * modes, shape.threads, cas.owned_sites);
    }
    t.log_q = 0;
  }

  // f(unit, first slot) for a thread's units of a pass. With registers the slots are compile-time constants.
  template <class Unit, class F>
  HF_BLOCK_FN void ForUnits(const PassTable& pass, int32_t lane, const F& f) const {
    if constexpr (kSlots > 0) {
      HF_UNROLL
      for (int u = 0; u < kSlots / Unit::kSize; ++u) {
        if (const int32_t unit = lane + u * shape.threads; unit < pass.units) f(unit, u * Unit::kSize);
      }
    } else {
      int32_t slot = 0;
      for (int32_t unit = lane; unit < pass.units; unit += shape.threads, slot += Unit::kSize) f(unit, slot);
    }
  }

  // -------------------------------------------------------------------------------------------------------- transforms

  // In place; a dense one to the other buffer.
  HF_BLOCK_FN void Pass(Block<Thread>& block, const PhaseRecord& r) const {
    const PassTable& pass = cas.pass[r.pass];
    block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread&) HF_LAMBDA {
      if (kSlots == 0 && pass.radix == 0) return DensePass(pass, lane, slot, r.from);
      ForRadix<kPoints>(pass.radix, [&](auto radix) HF_LAMBDA {
        using Unit = decltype(radix);
        for (int32_t unit = lane; unit < pass.units; unit += shape.threads) {
          const UnitEntry at = Read(pass.unit + unit);
          for (int c = 0; c < kComponents; ++c) {
            double* memory = Buffer(r.from, slot) + c * cas.padded;
            double x[Unit::kSize];
            LoadUnit<Unit>(at, pass.step, memory, x);
            if (r.Has(PhaseRecord::kTransposed)) {
              Unit::template Transform<true>(x, at.pair, pass.twiddles);
            } else {
              Unit::template Transform<false>(x, at.pair, pass.twiddles);
            }
            StoreUnit<Unit>(at, pass.step, x, memory);
          }
        }
      });
    });
  }

  HF_BLOCK_FN void DensePass(const PassTable& pass, int32_t lane, int32_t slot, int32_t from) const {
    for (int32_t unit = lane; unit < pass.units; unit += shape.threads) {
      const UnitEntry at = Read(pass.unit + unit);
      for (int c = 0; c < kComponents; ++c) {
        const double* line = Buffer(from, slot) + c * cas.padded + at.mirror;
        double sum = 0;
        int32_t turn = 0;
        for (int32_t j = 0; j < pass.extent; ++j) {
          sum = Fma(Read(pass.twiddles + turn), line[j * pass.step], sum);
          turn += at.pair;
          turn = turn >= pass.extent ? turn - pass.extent : turn;
        }
        Buffer(1 - from, slot)[c * cas.padded + at.first] = sum;
      }
    }
  }

  // ------------------------------------------------------------------------------------------------- Runge-Kutta
  // stages

  HF_BLOCK_FN void SinePhase(Block<Thread>& block, const PhaseRecord& r) const {
    const PassTable& pass = cas.pass[0];
    block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread& t) HF_LAMBDA {
      if (r.Has(PhaseRecord::kAdd)) AddUnits(r, lane, slot, t);
      double trace = 0;
      ForRadix<kPoints>(pass.radix, [&](auto radix) HF_LAMBDA {
        using Unit = decltype(radix);
        if constexpr (!Unit::InMirror(Unit::kSize - 1)) {  // a first pass
          ForUnits<Unit>(pass, lane, [&](int32_t unit, int slots) HF_LAMBDA {
            trace = trace + SineUnit<Unit>(r, pass, unit, slots, lane, slot, t);
          });
        }
      });
      t.log_q = Fma(r.b, trace, t.log_q);
    });
  }

  // Returns the unit's part of the trace.
  template <class Unit>
  HF_BLOCK_FN double SineUnit(const PhaseRecord& r, const PassTable& pass, int32_t unit, int slots, int32_t lane,
                              int32_t slot, Thread& t) const {
    const UnitEntry at = Read(pass.unit + unit);
    double x[kComponents][Unit::kSize];
    HF_UNROLL
    for (int c = 0; c < kComponents; ++c) {
      if (r.Has(PhaseRecord::kFromWork)) {
        LoadUnit<Unit>(at, pass.step, Buffer(r.from, slot) + c * cas.padded, x[c]);
        Unit::template Transform<true>(x[c], 0, pass.twiddles);
      } else {
        HF_UNROLL
        for (int i = 0; i < Unit::kSize; ++i) x[c][i] = t.field.At(c, slots + i);
      }
      if (!r.Has(PhaseRecord::kKeep)) continue;
      HF_UNROLL
      for (int i = 0; i < Unit::kSize; ++i) t.field.At(c, slots + i) = x[c][i];
    }
    const uint8_t* active = prior.owned_active;
    const double trace = active == nullptr ? Sines<Unit, false>(r.a, nullptr, x)
                                           : Sines<Unit, true>(r.a, active + slots * int64_t{shape.threads} + lane, x);
    HF_UNROLL
    for (int c = 0; c < kComponents; ++c) {
      Unit::template Transform<false>(x[c], 0, pass.twiddles);
      StoreUnit<Unit>(at, pass.step, x[c], Buffer(r.to, slot) + c * cas.padded);
    }
    return trace;
  }

  // Of a unit's sites, in place; inactive ones become zero. Returns the sum of tr g' / w.
  template <class Unit, bool kMasked>
  HF_BLOCK_FN double Sines(double frequency, const uint8_t* active, double (&x)[kComponents][Unit::kSize]) const {
    double trace = 0;
    HF_UNROLL
    for (int i = 0; i < Unit::kSize; ++i) {
      double own[kComponents];
      HF_UNROLL
      for (int c = 0; c < kComponents; ++c) own[c] = x[c][i];
      double site_trace = Sine(frequency, own);
      if (kMasked && Read(active + i * shape.threads) == 0) own[0] = site_trace = 0;
      trace = trace + site_trace;
      HF_UNROLL
      for (int c = 0; c < kComponents; ++c) x[c][i] = own[c];
    }
    return trace;
  }

  // phi sin(w |phi|) / |phi| in place, w = sites x frequency, given sites x phi; returns tr g' / w.
  HF_BLOCK_FN static double Sine(double frequency, double (&phi)[kComponents]) {
    double sine, cosine;
    if constexpr (kComponents == 1) {
      SinCos(frequency * phi[0], &sine, &cosine);
      phi[0] = sine;
      return cosine;
    } else {
      const double z = frequency * Sqrt(Fma(phi[0], phi[0], phi[1] * phi[1]));
      SinCos(z, &sine, &cosine);
      const double z2 = z * z;
      double a = Fma(z2, -1.0 / 39916800, 1.0 / 362880);
      a = Fma(a, z2, -1.0 / 5040);
      a = Fma(a, z2, 1.0 / 120);
      a = Fma(a, z2, -1.0 / 6);
      a = Fma(a, z2, 1.0);
      const double sinc = z < 0.5 ? a : sine / (z < 0.5 ? 1.0 : z);
      phi[0] = frequency * sinc * phi[0];
      phi[1] = frequency * sinc * phi[1];
      return sinc + cosine;
    }
  }

  // Where the first pair of numbers of a unit's frequencies stands.
  HF_BLOCK_FN int64_t PairPlace(int size, int64_t slots, int32_t lane) const {
    return slots / size * ((size + 1) / 2) * shape.threads + lane;
  }

  // velocity += kernel x at a unit's frequencies, or velocity = kernel x. `place`: of the unit's first pair.
  template <int kSize, bool kAdd>
  HF_BLOCK_FN void ApplyKernel(const double* kernel, const int32_t* orbit, int64_t place, const double* x,
                               double* velocity) const {
    const auto apply = [&](int i, double k) HF_LAMBDA { velocity[i] = kAdd ? Fma(k, x[i], velocity[i]) : k * x[i]; };
    if (orbit == nullptr) {
      HF_UNROLL
      for (int i = 0; i < kSize; i += 2) {
        const PairOf<double> k = Read(reinterpret_cast<const PairOf<double>*>(kernel) + place + i / 2 * shape.threads);
        apply(i, k.first);
        if (i + 1 < kSize) apply(i + 1, k.second);
      }
    } else {
      HF_UNROLL
      for (int i = 0; i < kSize; i += 2) {
        const PairOf<int32_t> o = Read(reinterpret_cast<const PairOf<int32_t>*>(orbit) + place + i / 2 * shape.threads);
        apply(i, Read(kernel + o.first));
        if (i + 1 < kSize) apply(i + 1, Read(kernel + o.second));
      }
    }
  }

  HF_BLOCK_FN void ModePhase(Block<Thread>& block, const PhaseRecord& r) const {
    const PassTable& pass = cas.pass[cas.passes - 1];
    block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread& t) HF_LAMBDA {
      ForRadix<kPoints>(pass.radix, [&](auto radix) HF_LAMBDA {
        using Unit = decltype(radix);
        ForUnits<Unit>(pass, lane, [&](int32_t unit, int slots) HF_LAMBDA {
          const UnitEntry at = Read(pass.unit + unit);
          HF_UNROLL
          for (int c = 0; c < kComponents; ++c) {
            double* memory = Buffer(r.from, slot) + c * cas.padded;
            double x[Unit::kSize] = {};
            if (r.Has(PhaseRecord::kFromWork)) {
              LoadUnit<Unit>(at, pass.step, memory, x);
              if (!r.Has(PhaseRecord::kRaw)) Unit::template Transform<false>(x, at.pair, pass.twiddles);
            }
            Advance<Unit::kSize>(r, lane, slots, c, x, t);
            if (!r.Has(PhaseRecord::kToWork)) continue;
            if (!r.Has(PhaseRecord::kRawOut)) Unit::template Transform<true>(x, at.pair, pass.twiddles);
            StoreUnit<Unit>(at, pass.step, x, memory);
          }
        });
      });
    });
  }

  // The last pass of a sine's transform, and what it adds to the velocity.
  HF_BLOCK_FN void AddUnits(const PhaseRecord& r, int32_t lane, int32_t slot, Thread& t) const {
    const PassTable& pass = cas.pass[cas.passes - 1];
    ForRadix<kPoints>(pass.radix, [&](auto radix) HF_LAMBDA {
      using Unit = decltype(radix);
      ForUnits<Unit>(pass, lane, [&](int32_t unit, int slots) HF_LAMBDA {
        const UnitEntry at = Read(pass.unit + unit);
        HF_UNROLL
        for (int c = 0; c < kComponents; ++c) {
          double x[Unit::kSize], velocity[Unit::kSize];
          LoadUnit<Unit>(at, pass.step, Buffer(r.from, slot) + c * cas.padded, x);
          Unit::template Transform<false>(x, at.pair, pass.twiddles);
          HF_UNROLL
          for (int i = 0; i < Unit::kSize; ++i) velocity[i] = t.velocity.At(c, slots + i);
          ApplyKernel<Unit::kSize, true>(r.kernel, r.orbit, PairPlace(Unit::kSize, slots, lane), x, velocity);
          HF_UNROLL
          for (int i = 0; i < Unit::kSize; ++i) t.velocity.At(c, slots + i) = velocity[i];
        }
      });
    });
  }

  // A unit's frequencies: from the transform of a sine to the next stage's input (or the state after the last one). The
  // sum of a step starts as the state.
  template <int kSize>
  HF_BLOCK_FN void Advance(const PhaseRecord& r, int32_t lane, int64_t slots, int c, double* x, Thread& t) const {
    const int64_t place = PairPlace(kSize, slots, lane);
    double velocity[kSize];
    if (r.Has(PhaseRecord::kRaw)) {
      HF_UNROLL
      for (int i = 0; i < kSize; ++i) t.momentum.At(c, slots + i) = t.sum.At(c, slots + i) = x[i];
    } else {
      HF_UNROLL
      for (int i = 0; i < kSize; ++i) velocity[i] = t.velocity.At(c, slots + i);
      if (r.kernel != nullptr) ApplyKernel<kSize, true>(r.kernel, r.orbit, place, x, velocity);
      const bool full = r.Has(PhaseRecord::kFull);
      HF_UNROLL
      for (int i = 0; i < kSize; ++i) {
        const double sum = Fma(r.a, velocity[i], t.sum.At(c, slots + i));
        t.sum.At(c, slots + i) = sum;
        if (full) t.momentum.At(c, slots + i) = sum;
        x[i] = full ? sum : Fma(r.b, velocity[i], t.momentum.At(c, slots + i));
      }
    }
    HF_UNROLL
    for (int i = 0; i < kSize; ++i) velocity[i] = 0;
    if (r.next != nullptr) ApplyKernel<kSize, false>(r.next, r.next_orbit, place, x, velocity);
    HF_UNROLL
    for (int i = 0; i < kSize; ++i) t.velocity.At(c, slots + i) = velocity[i];
  }

  // ---------------------------------------------------------------------------------------------------------------
  // ends

  // f(configuration, address of an element in the buffer, component, site or mode, thread).
  template <class F>
  HF_BLOCK_FN void ForElements(Block<Thread>& block, bool modes, int32_t buffer, const F& f) const {
    const int32_t* address = modes ? cas.mode_address : cas.site_address;
    block.Phase([&](int32_t lane, int32_t slot, int64_t configuration, Thread& t) HF_LAMBDA {
      for (int32_t c = 0; c < kComponents; ++c) {
        for (int32_t i = lane; i < cas.sites; i += shape.threads) {
          f(configuration, Buffer(buffer, slot) + c * cas.padded + Read(address + i), c, i, t);
        }
      }
    });
  }
  HF_BLOCK_FN bool Active(int32_t site) const { return prior.active == nullptr || Read(prior.active + site) != 0; }

  // Noise (times sigma, but for a heat bath) or given fields.
  HF_BLOCK_FN void Begin(Block<Thread>& block, const PhaseRecord& r) const {
    const bool modes = r.Has(PhaseRecord::kAtModes);
    const double size = modes ? Sqrt(static_cast<double>(cas.sites)) : 1.0;
    const bool plain = prior.fourier != 0 && prior.heat_bath != 0;
    ForElements(block, modes, r.from,
                [&](int64_t configuration, double* at, int32_t c, int32_t i, Thread& t) HF_LAMBDA {
                  const int32_t element = c * cas.sites + i;
                  if (!from_prior) {
                    *at = rows[configuration * (int64_t{kComponents} * cas.sites) + element];
                    return;
                  }
                  double z = 0;
                  if (modes || Active(i)) {
                    z = Normal(names[configuration], names[shape.batch + configuration], kPriorPurpose,
                               static_cast<uint32_t>(element), 0);
                    t.log_q = Fma(-0.5 * z, z, t.log_q);
                  }
                  *at = plain ? z : size * Read(prior.sigma + i) * z;
                });
  }

  // To rows, or to the density of the noise.
  HF_BLOCK_FN void End(Block<Thread>& block, const PhaseRecord& r) const {
    const bool modes = r.Has(PhaseRecord::kAtModes);
    const bool divide = prior.fourier == 0 || prior.heat_bath == 0;
    ForElements(block, modes, r.from,
                [&](int64_t configuration, double* at, int32_t c, int32_t i, Thread& t) HF_LAMBDA {
                  const double x = r.a * *at;
                  if (!to_prior) {
                    rows[configuration * (int64_t{kComponents} * cas.sites) + c * cas.sites + i] = x;
                  } else if (modes || Active(i)) {
                    const double z = divide ? x / Read(prior.sigma + i) : x;
                    t.log_q = Fma(-0.5 * z, z, t.log_q);
                  }
                });
  }

  HF_BLOCK_FN void Scale(Block<Thread>& block, const PhaseRecord& r) const {
    ForElements(block, true, r.from, [&](int64_t, double* at, int32_t, int32_t i, Thread&) HF_LAMBDA {
      const double sigma = Read(prior.sigma + i);
      *at = r.op == PhaseRecord::kDivide ? *at / sigma : *at * sigma;
    });
  }

  HF_BLOCK_FN void Run(Block<Thread>& block) const {
    block.ForGroups([&]() HF_LAMBDA {
      block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread& t) HF_LAMBDA { Bind(lane, slot, t); });
      for (int32_t i = 0; i < phases; ++i) {
        const PhaseRecord r = phase[i];
        switch (r.op) {
          case PhaseRecord::kMode:
            ModePhase(block, r);
            break;
          case PhaseRecord::kSine:
            SinePhase(block, r);
            break;
          case PhaseRecord::kPass:
            Pass(block, r);
            break;
          case PhaseRecord::kBegin:
            Begin(block, r);
            break;
          case PhaseRecord::kEnd:
            End(block, r);
            break;
          default:
            Scale(block, r);
        }
      }
      block.AddSum(
          Sums(), log_q_constant, [](Thread& t) HF_LAMBDA { return t.log_q; }, log_q);
    });
  }
};

}  // namespace haarflow::HF_ISA
