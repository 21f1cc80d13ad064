// Priors and continuous flows of scalars on the GPU, a configuration per block of threads (small ones share a block).
//
// The floor. With n = log2(sites) and F features, one of them linear, a Runge-Kutta stage costs per site
//   23 (F - 1) double operations for sines and cosines (a fused multiply-add counts as one),
//   about 1.3 n F for transforms (2-D: 3.5 per axis of 8, 5.3 of 16, 9 of 64), and 4 F for kernels and sums:
// for two sines 75 operations at 8x8, 90 at 16x16, 120 at 64x64. An H100 does 64 a clock and multiprocessor. State and
// sums live in frequency space: C v = sum_f K_f (C g_f), so that the linear feature needs no transform, and a stage
// makes F transforms instead of F + 1. Memory: a thread keeps its own frequencies (state, sum of the step, velocity) and
// its own sites in registers; a transform of p passes moves 16 (p - 1) bytes per site through shared memory (128 bytes a
// clock: 8x8 and 16x16, two passes, 3 transforms: 48 bytes, 0.4 clocks per site against 1.2 and 1.4 of arithmetic; 64x64,
// four passes: 1.1 against 1.9), and F kernels of 8 bytes per site and stage come through L1 and L2. Device memory sees
// noise's names and fields, once. Not yet measured on a GPU.
//
// Where registers do not suffice (above 4096 sites, odd extents) states lie in device memory, and above about 28,000
// sites the transforms do too: then L2 and device memory are the limit.
#pragma once

#include "core/kernel/cuda/block.h"
#include "core/kernel/cuda/continuous_tables.h"
#include "core/kernel/cuda/noise.h"

namespace haarflow::HF_ISA {

// Numbers of a thread's own points: in registers, or (kSlots = 0) in memory.
template <int kSlots, int kComponents>
struct Owned {
  double v[kComponents][kSlots];
  HF_BLOCK_FN void Bind(double*, int64_t, int64_t) {}
  HF_BLOCK_FN double& At(int component, int slot) { return v[component][slot]; }
};
template <int kComponents>
struct Owned<0, kComponents> {
  double* first;
  int64_t threads, size;
  HF_BLOCK_FN void Bind(double* memory, int64_t of_threads, int64_t of_size) {
    first = memory, threads = of_threads, size = of_size;
  }
  HF_BLOCK_FN double& At(int component, int64_t slot) { return first[component * size + slot * threads]; }
};

template <int kSlots, int kComponents>
struct ContinuousThread {
  Owned<kSlots, kComponents> momentum, sum, velocity;  // own frequencies
  Owned<kSlots, kComponents> field;                    // own sites, times the number of sites
  double log_q;                                        // this thread's part
};

enum class SegmentBegin { kPrior, kRows };
enum class SegmentEnd { kRows, kPriorDensity };

// A run of continuous layers between two ends, forwards or backwards.
template <int kSlots, int kComponents>
struct ContinuousBody {
  using Thread = ContinuousThread<kSlots, kComponents>;
  static constexpr int kPoints = kSlots == 8 ? 8 : 16;  // the largest unit
  static constexpr int kMaxThreads = kSlots == 0 ? 512 : 256;

  BlockShape shape;
  CasTables cas;
  PriorTable prior;
  const ContinuousTable* layer;  // [layers], in the flow's order
  int32_t layers;
  bool backwards;
  SegmentBegin begin;
  SegmentEnd end;
  const uint64_t* names;  // seeds [batch], indices [batch]
  double* rows;           // [batch][components x sites]
  double* log_q;          // [batch], added to
  double log_q_constant;
  double* work;     // [blocks][buffers][configurations][components][padded] where shared memory is too small, or null
  double* states;   // [blocks][configurations][StateSize] where kSlots = 0
  int32_t buffers;  // 1 or 2

  // ---------------------------------------------------------------------------------------------------------- memory

  HF_BLOCK_FN int64_t BufferSize() const { return int64_t{kComponents} * cas.padded; }
  HF_BLOCK_FN double* Buffer(int32_t which, int32_t slot) const {
    const int64_t place = (which * shape.configurations + slot) * BufferSize();
    if (work == nullptr) return Block<Thread>::shared() + place;
    return work + blockIdx.x * (buffers * shape.configurations * BufferSize()) + place;
  }
  HF_BLOCK_FN double* Sums() const {
    return Block<Thread>::shared() + (work != nullptr ? 0 : buffers * shape.configurations * BufferSize());
  }
  HF_BLOCK_FN void Bind(int32_t lane, int32_t slot, Thread& t) const {
    if constexpr (kSlots == 0) {
      double* at = states +
                   (blockIdx.x * int64_t{shape.configurations} + slot) * StateSize(kComponents, cas) + lane;
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

  // One pass over `buffer` in place; a dense one goes to the other buffer, which becomes `buffer`.
  HF_BLOCK_FN void Pass(Block<Thread>& block, const PassTable& pass, bool transposed, int32_t* buffer) const {
    const int32_t from = *buffer;
    if (kSlots == 0 && pass.radix == 0) {
      block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread&) { DensePass(pass, lane, slot, from); });
      *buffer = 1 - from;
      return;
    }
    block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread&) {
      ForRadix<kPoints>(pass.radix, [&](auto radix) {
        using Unit = decltype(radix);
        for (int32_t unit = lane; unit < pass.units; unit += shape.threads) {
          const UnitEntry at = Read(pass.unit + unit);
          for (int c = 0; c < kComponents; ++c) {
            double* memory = Buffer(from, slot) + c * cas.padded;
            double x[Unit::kSize];
            LoadUnit<Unit>(at, pass.step, memory, x);
            Unit::Transform(x, transposed, at.pair, pass.twiddles);
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

  // All passes: fields to frequencies, or back (times the number of sites).
  HF_BLOCK_FN void Transform(Block<Thread>& block, bool back, int32_t* buffer) const {
    for (int32_t i = 0; i < cas.passes; ++i) {
      Pass(block, cas.pass[back ? cas.passes - 1 - i : i], back, buffer);
    }
  }

  // ------------------------------------------------------------------------------------------------- Runge-Kutta stages

  // C (C phi) from the last transposed pass (`from_work`) or from where it was kept; a sine of it, its divergence, and
  // the first pass of the sine's transform.
  HF_BLOCK_FN void SinePhase(Block<Thread>& block, const ContinuousTable& flow, int32_t sine, double divergence,
                             bool from_work, int32_t from, int32_t to) const {
    const PassTable& pass = cas.pass[0];
    const double frequency = Read(flow.frequency + sine);
    const bool keep = from_work && flow.sines > 1;
    block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread& t) {
      double trace = 0;
      ForRadix<kPoints>(pass.radix, [&](auto radix) {
        using Unit = decltype(radix);
        if constexpr (!Unit::InMirror(Unit::kSize - 1)) {  // a first pass
          ForUnits<Unit>(pass, lane, [&](int32_t unit, int slots) {
            const UnitEntry at = Read(pass.unit + unit);
            double x[kComponents][Unit::kSize];
            HF_UNROLL
            for (int c = 0; c < kComponents; ++c) {
              if (from_work) {
                LoadUnit<Unit>(at, pass.step, Buffer(from, slot) + c * cas.padded, x[c]);
                Unit::Transform(x[c], true, 0, pass.twiddles);
              } else {
                HF_UNROLL
                for (int i = 0; i < Unit::kSize; ++i) x[c][i] = t.field.At(c, slots + i);
              }
              if (!keep) continue;
              HF_UNROLL
              for (int i = 0; i < Unit::kSize; ++i) t.field.At(c, slots + i) = x[c][i];
            }
            HF_UNROLL
            for (int i = 0; i < Unit::kSize; ++i) {
              double own[kComponents];
              HF_UNROLL
              for (int c = 0; c < kComponents; ++c) own[c] = x[c][i];
              double site_trace = Sine(frequency, own);
              if (prior.owned_active != nullptr &&
                  Read(prior.owned_active + (slots + i) * int64_t{shape.threads} + lane) == 0) {
                own[0] = site_trace = 0;
              }
              trace = trace + site_trace;
              HF_UNROLL
              for (int c = 0; c < kComponents; ++c) x[c][i] = own[c];
            }
            HF_UNROLL
            for (int c = 0; c < kComponents; ++c) {
              Unit::Transform(x[c], false, 0, pass.twiddles);
              StoreUnit<Unit>(at, pass.step, x[c], Buffer(to, slot) + c * cas.padded);
            }
          });
        }
      });
      t.log_q = Fma(divergence, trace, t.log_q);
    });
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

  // What is done at a thread's own frequencies between the last pass of a transform and the first transposed pass.
  struct ModeStep {
    enum class What { kStart, kAdd, kAdvance } what;
    bool from_work, transformed;  // whether the buffer is read, and then through the last pass
    bool to_work, transpose;      // the same for writing
    int32_t stage;
    double weight, node;          // of the sum of the step; from the state to the next stage's input
    const double* kernel;         // of the sine, or null
    const double* next;           // of the linear feature at the next stage, or null
    const int32_t* orbit;
    const int32_t* next_orbit;
  };

  HF_BLOCK_FN double KernelAt(const double* kernel, const int32_t* orbit, int32_t lane, int64_t slot) const {
    const int64_t own = slot * shape.threads + lane;
    return Read(kernel + (orbit != nullptr ? Read(orbit + own) : own));
  }

  HF_BLOCK_FN void ModePhase(Block<Thread>& block, const ModeStep& step, int32_t buffer) const {
    const PassTable& pass = cas.pass[cas.passes - 1];
    block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread& t) {
      ForRadix<kPoints>(pass.radix, [&](auto radix) {
        using Unit = decltype(radix);
        ForUnits<Unit>(pass, lane, [&](int32_t unit, int slots) {
          const UnitEntry at = Read(pass.unit + unit);
          HF_UNROLL
          for (int c = 0; c < kComponents; ++c) {
            double* memory = Buffer(buffer, slot) + c * cas.padded;
            double x[Unit::kSize];
            if (step.from_work) {
              LoadUnit<Unit>(at, pass.step, memory, x);
              if (step.transformed) Unit::Transform(x, false, at.pair, pass.twiddles);
            }
            HF_UNROLL
            for (int i = 0; i < Unit::kSize; ++i) x[i] = Advance(step, lane, slots + i, c, x[i], t);
            if (!step.to_work) continue;
            if (step.transpose) Unit::Transform(x, true, at.pair, pass.twiddles);
            StoreUnit<Unit>(at, pass.step, x, memory);
          }
        });
      });
    });
  }

  // One own frequency: returns the next stage's input (or the state after the last one).
  HF_BLOCK_FN double Advance(const ModeStep& step, int32_t lane, int slot, int c, double x, Thread& t) const {
    double input = x;
    if (step.what == ModeStep::What::kStart) {
      t.momentum.At(c, slot) = x;
    } else {
      double velocity = t.velocity.At(c, slot);
      if (step.kernel != nullptr) velocity = Fma(KernelAt(step.kernel, step.orbit, lane, slot), x, velocity);
      if (step.what == ModeStep::What::kAdd) {
        t.velocity.At(c, slot) = velocity;
        return x;
      }
      const double before = step.stage == 0 ? t.momentum.At(c, slot) : t.sum.At(c, slot);
      const double sum = Fma(step.weight, velocity, before);
      if (step.stage == 3) {
        t.momentum.At(c, slot) = sum;
        input = sum;
      } else {
        t.sum.At(c, slot) = sum;
        input = Fma(step.node, velocity, t.momentum.At(c, slot));
      }
    }
    t.velocity.At(c, slot) = step.next != nullptr ? KernelAt(step.next, step.next_orbit, lane, slot) * input : 0.0;
    return input;
  }

  // --------------------------------------------------------------------------------------------------------------- flow

  HF_BLOCK_FN ContinuousTable LayerAt(int32_t i) const { return layer[backwards ? layers - 1 - i : i]; }
  // Index of a stage's time in the tables; stages count from where the integration starts.
  HF_BLOCK_FN int64_t Time(const ContinuousTable& flow, int32_t stage) const {
    const int32_t time = 2 * (stage / 4) + (stage % 4 + 1) / 2;
    return backwards ? 2 * flow.steps - time : time;
  }
  HF_BLOCK_FN const double* Kernel(const ContinuousTable& flow, int64_t time, int32_t feature) const {
    return flow.kernel + (time * (1 + flow.sines) + feature) * flow.columns;
  }

  // Frequencies in `buffer` to those after all layers, there too.
  HF_BLOCK_FN void Integrate(Block<Thread>& block, int32_t* buffer) const {
    for (int32_t l = 0; l < layers; ++l) {
      const ContinuousTable flow = LayerAt(l);
      // Stage -1 of the first layer takes in the state.
      for (int32_t n = l == 0 ? -1 : 0; n < 4 * flow.steps; ++n) {
        const bool last = l + 1 == layers && n + 1 == 4 * flow.steps;
        const ContinuousTable following = n + 1 == 4 * flow.steps && !last ? LayerAt(l + 1) : flow;
        const int32_t next = n + 1 == 4 * flow.steps ? 0 : n + 1;
        const double h = (backwards ? -1.0 : 1.0) / flow.steps;
        const int32_t stage = n & 3;
        ModeStep step = {};
        step.stage = stage;
        step.weight = h * (stage == 1 || stage == 2 ? 1.0 / 3 : 1.0 / 6);
        step.node = h * (stage == 2 ? 1.0 : 0.5);
        step.next = last || !following.linear ? nullptr : Kernel(following, Time(following, next), 0);
        step.orbit = flow.orbit;
        step.next_orbit = following.orbit;
        const int32_t sines = n < 0 ? 0 : flow.sines;
        for (int32_t sine = 0; sine < (sines > 1 ? sines : 1); ++sine) {
          step.what = n < 0                ? ModeStep::What::kStart
                      : sine + 1 < sines ? ModeStep::What::kAdd
                                           : ModeStep::What::kAdvance;
          step.from_work = n < 0 || sines > 0;
          step.transformed = n >= 0;
          step.to_work = step.what != ModeStep::What::kAdd && (last || following.sines > 0);
          step.transpose = !last;
          if (sines > 0) {
            const int64_t time = Time(flow, n);
            step.kernel = Kernel(flow, time, 1 + sine);
            const double divergence = (stage == 1 || stage == 2 ? 1.0 / 3 : 1.0 / 6) *
                                      Read(flow.divergence + time * flow.sines + sine);
            FeaturePasses(block, flow, sine, divergence, buffer);
          }
          ModePhase(block, step, *buffer);
        }
      }
    }
  }

  // The middle passes back (for the first sine), the sine, the middle passes.
  HF_BLOCK_FN void FeaturePasses(Block<Thread>& block, const ContinuousTable& flow, int32_t sine, double divergence,
                                 int32_t* buffer) const {
    for (int32_t i = sine == 0 ? 2 - cas.passes : 0; i <= cas.passes - 2; ++i) {
      if (i != 0) {
        Pass(block, cas.pass[i < 0 ? -i : i], i < 0, buffer);
        continue;
      }
      // Others may still read what the sine before left: each second one uses the other buffer.
      const int32_t from = *buffer, to = sine > 0 ? 1 - from : from;
      SinePhase(block, flow, sine, divergence, sine == 0, from, to);
      *buffer = to;
    }
  }

  // f(configuration's element, its address in the buffer, component, index in the component, thread).
  template <class F>
  HF_BLOCK_FN void ForElements(Block<Thread>& block, const int32_t* address, int32_t buffer, const F& f) const {
    block.Phase([&](int32_t lane, int32_t slot, int64_t configuration, Thread& t) {
      for (int32_t c = 0; c < kComponents; ++c) {
        for (int32_t i = lane; i < cas.sites; i += shape.threads) {
          f(configuration, Buffer(buffer, slot) + c * cas.padded + Read(address + i), c, i, t);
        }
      }
    });
  }
  HF_BLOCK_FN bool Active(int32_t site) const { return prior.active == nullptr || Read(prior.active + site) != 0; }

  // Noise (times sigma, but for a heat bath) or given fields.
  HF_BLOCK_FN void Begin(Block<Thread>& block, bool modes, int32_t buffer) const {
    const double size = prior.fourier != 0 ? Sqrt(static_cast<double>(cas.sites)) : 1.0;
    const bool plain = prior.fourier != 0 && prior.heat_bath != 0;
    ForElements(block, modes ? cas.mode_address : cas.site_address, buffer,
                [&](int64_t configuration, double* at, int32_t c, int32_t i, Thread& t) {
                  const int32_t element = c * cas.sites + i;
                  if (begin == SegmentBegin::kRows) {
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

  // Fields times `factor` to rows, or their noise's density.
  HF_BLOCK_FN void End(Block<Thread>& block, bool modes, double factor, int32_t buffer) const {
    const bool divide = prior.fourier == 0 || prior.heat_bath == 0;
    ForElements(block, modes ? cas.mode_address : cas.site_address, buffer,
                [&](int64_t configuration, double* at, int32_t c, int32_t i, Thread& t) {
                  const double x = factor * *at;
                  if (end == SegmentEnd::kRows) {
                    rows[configuration * (int64_t{kComponents} * cas.sites) + c * cas.sites + i] = x;
                  } else if (modes || Active(i)) {
                    const double z = divide ? x / Read(prior.sigma + i) : x;
                    t.log_q = Fma(-0.5 * z, z, t.log_q);
                  }
                });
  }

  HF_BLOCK_FN void ScaleModes(Block<Thread>& block, bool divide, int32_t buffer) const {
    ForElements(block, cas.mode_address, buffer, [&](int64_t, double* at, int32_t, int32_t i, Thread&) {
      *at = divide ? *at / Read(prior.sigma + i) : *at * Read(prior.sigma + i);
    });
  }

  HF_BLOCK_FN void Run(Block<Thread>& block) const {
    const bool bath = prior.fourier != 0 && prior.heat_bath != 0;
    const bool from_prior = begin == SegmentBegin::kPrior, to_prior = end == SegmentEnd::kPriorDensity;
    block.ForGroups([&] {
      int32_t buffer = 0;
      bool modes = from_prior && prior.fourier != 0 && !bath;
      block.Phase([&](int32_t lane, int32_t slot, int64_t, Thread& t) { Bind(lane, slot, t); });
      Begin(block, modes, buffer);
      if (!modes && (layers > 0 || (from_prior && bath) || (to_prior && prior.fourier != 0))) {
        Transform(block, false, &buffer);
        modes = true;
      }
      if (from_prior && bath) ScaleModes(block, false, buffer);
      if (layers > 0) Integrate(block, &buffer);
      if (to_prior && bath) ScaleModes(block, true, buffer);
      const bool stay = to_prior && prior.fourier != 0 && !bath;
      double factor = stay ? 1 / Sqrt(static_cast<double>(cas.sites)) : 1.0;
      if (modes && !stay) {
        Transform(block, true, &buffer);
        factor = 1.0 / cas.sites;
        modes = false;
      }
      End(block, modes, factor, buffer);
      block.AddSum(Sums(), log_q_constant, [](Thread& t) { return t.log_q; }, log_q);
    });
  }
};

}  // namespace haarflow::HF_ISA
