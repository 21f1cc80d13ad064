// What one GPU thread does for loop flows of SU(N) links. Links are [link][number][batch] of core/kernel/sun_algebra.h.
#pragma once

#include "core/kernel/cuda/loop_program.h"

namespace haarflow::HF_ISA::sun {

HF_FN double NotANumber() { return Bits<double>(uint64_t{0x7FF8000000000000}); }

// -------------------------------------------------------------------------------------------------- fields and prior

// names is seeds [batch], indices [batch]. A unit is a link.
template <int N>
struct HaarBody {
  const uint64_t* names;
  double* links;
  int64_t batch;
  HF_FN void operator()(int32_t link, int64_t c) const {
    constexpr uint32_t kPairs = N == 2 ? 2 : 6;
    double w[Group<N>::kNumbers];
    HF_UNROLL
    for (uint32_t pair = 0; pair < kPairs; ++pair) {
      NormalPair(names[c], names[batch + c], kPriorPurpose, kPairs * static_cast<uint32_t>(link) + pair, &w[2 * pair],
                 &w[2 * pair + 1]);
    }
    MakeHaar<N>(w);
    Write<N>(w, links + int64_t{link} * Group<N>::kNumbers * batch + c, batch);
  }
};

// Elements of matrices [row][column][real, imaginary part], rows [batch][links x 2 N^2]. SU(2): [w_0 + i w_3, w_2 + i
// w_1], [-w_2 + i w_1, w_0 - i w_3].
template <int N>
struct ToMatricesBody {
  const double* links;
  double* rows;
  int64_t count, batch;
  HF_FN void operator()(int32_t element, int64_t c) const {
    if constexpr (N == 2) {
      const int r = element % 8, number = 0x30121230 >> 4 * r & 3;
      const double x = links[(int64_t{element / 8} * 4 + number) * batch + c];
      rows[c * count + element] = r == 4 || r == 7 ? -x : x;
    } else {
      rows[c * count + element] = links[element * batch + c];
    }
  }
};
// A unit is a number of a link.
template <int N>
struct FromMatricesBody {
  const double* rows;
  double* links;
  int64_t count, batch;
  HF_FN void operator()(int32_t number, int64_t c) const {
    const int64_t element = N == 2 ? int64_t{number / 4} * 8 + (0x1230 >> 4 * (number % 4) & 3) : number;
    links[number * batch + c] = rows[c * count + element];
  }
};

// ------------------------------------------------------------------------------------------------------ a link's map

// What LinkMap reads: products U M_j in slots, coefficients where they are.
template <int N>
struct StoredLoops {
  static constexpr bool kStreams = true;
  struct Column {
    const double* first;
    HF_FN double operator[](int r) const { return first[r * kLinkThreads]; }
  };
  struct Products {
    const LinkMemory<N>* memory;
    HF_FN Column operator[](int j) const { return {memory->Slot(j)}; }
  };
  struct Factors {
    const LinkMemory<N>* memory;
    const hf_loop_monomial* monomial;
    const double* coefficient;
    HF_FN Complex<double> operator[](int m) const {
      const int32_t column = monomial[m].coefficient, scalar = monomial[m].scalar;
      const double c = column < 0 ? 1.0 : coefficient[column];
      if (scalar < 0) return {c, 0.0};
      const Complex<double> s = memory->ScalarOf(scalar);
      return {c * s.re, c * s.im};
    }
  };
  struct TwinFactors {
    const hf_loop_twin* twin;
    const double* coefficient;
    HF_FN double operator[](int i) const { return twin[i].coefficient < 0 ? 1.0 : coefficient[twin[i].coefficient]; }
  };
  Products loop;
  Factors factor;
  TwinFactors twin_factor;
};

template <int N>
struct StreamedMap : LinkMap<N, double, StoredLoops<N>> {
  static constexpr int kNumbers = Group<N>::kNumbers;
  using Map = LinkMap<N, double, StoredLoops<N>>;

  HF_FN StreamedMap(const LoopProgramTable& table, const LinkMemory<N>& memory, const double* coefficient) {
    Map::program = &table.view;
    Map::loop = {&memory};
    Map::factor = {&memory, table.view.monomial, coefficient};
    Map::twin_factor = {table.view.twin, coefficient};
  }

  // The force at u. The program has run.
  HF_FN void ForceAt(const double* u, const LinkMemory<N>& memory) {
    for (int j = 0; j < Map::program->loops; ++j) {
      double w[kNumbers], loop[kNumbers];
      Copy<N>(u, w);
      Read<N>(memory.Slot(Map::program->loop[j]), kLinkThreads, loop);
      MultiplyBy<N>(loop, w);
      Write<N>(w, memory.Slot(j), kLinkThreads);
    }
    double loop[kNumbers];
    Read<N>(memory.Slot(Map::program->linear), kLinkThreads, loop);
    Copy<N>(u, Map::linear);
    MultiplyBy<N>(loop, Map::linear);
    Map::Force();
  }

  // log of the determinant; NaN where it, or the force, is out of the range in which the map is what its formulas say.
  HF_FN double LogDeterminant() const {
    const double determinant = Map::BlockDeterminant();
    double square = 0;
    HF_UNROLL
    for (int a = 0; a < Map::kDim; ++a) square = Fma(Map::force[a], Map::force[a], square);
    const bool good = determinant > 0.0 && square < kLargestForce;
    return good ? Log(determinant) : NotANumber();
  }
};

// Active link a of a step, for configuration c: U' = exp(F) U, or the inverse, u -> exp(-F(u)) u' until it stands
// still. No other thread of the launch reads the link. Row a of log_det grows by the forward map's logarithm, or is NaN
// where the inverse is not found.
template <int N, bool kInverse>
struct LinkUpdateBody {
  static constexpr int kMinBlocks = 2;
  static constexpr int kNumbers = Group<N>::kNumbers;
  static constexpr int kMaxIterations = 500;
  static constexpr double kStandsStill = 1e-30;  // sum of squares of changes

  LoopProgramTable program;
  int32_t active, shared_slots;
  const int32_t *link, *input;  // [active], [active][inputs]
  const double* coefficient;    // of the pass
  double *links, *log_det, *scratch;
  int64_t batch, scratch_numbers;  // of a thread

  HF_FN void operator()(int32_t a, int64_t c, double* shared, double* own_scratch) const {
    const LinkMemory<N> memory = {shared, own_scratch, shared_slots, program.slots};
    const int32_t* const inputs = input + int64_t{a} * program.view.inputs;
    LinkProgramRun<N>{program, memory, coefficient, inputs, links + c, batch}();
    StreamedMap<N> map(program, memory, coefficient);
    double* const place = links + int64_t{link[a]} * kNumbers * batch + c;
    double u[kNumbers];
    Read<N>(place, batch, u);
    bool found = !kInverse;
    for (int iteration = 0;; ++iteration) {
      map.ForceAt(u, memory);
      if (found || iteration == kMaxIterations) break;
      double back[kNumbers], image[kNumbers];
      Exponential<N, double>(map.force, back);
      Adjoin<N>(back);
      Read<N>(place, batch, image);
      MultiplyBy<N>(image, back);
      double change = 0;
      HF_UNROLL
      for (int r = 0; r < kNumbers; ++r) {
        const double d = back[r] - u[r];
        change = Fma(d, d, change);
      }
      Copy<N>(back, u);
      found = change < kStandsStill;
    }
    if (!kInverse) {
      double exponential[kNumbers];
      Exponential<N, double>(map.force, exponential);
      MultiplyBy<N>(u, exponential);
      Copy<N>(exponential, u);
    }
    Write<N>(u, place, batch);
    const double log = map.LogDeterminant();
    double* const sum = log_det + int64_t{a} * batch + c;
    *sum = *sum + (found ? log : NotANumber());
  }
};

// ---------------------------------------------------------------------------------------------------------------- sums

// log q is `sign` times the sum of rows, in order. Unit 0 only.
struct LoopLogQBody {
  double sign;
  int32_t count;
  const double* rows;
  double* log_q;
  int64_t batch;
  HF_FN void operator()(int32_t, int64_t c) const {
    double sum = 0;
    for (int32_t i = 0; i < count; ++i) sum = sum + rows[i * batch + c];
    log_q[c] = 0.0 + sign * sum;
  }
};

// Re tr of the links along loops, summed over kLoopsAtOnce of them: rows of plaquettes, then those of rectangles, not
// written where the action has none.
constexpr int32_t kLoopsAtOnce = 8;
HF_FN int32_t TraceRows(int32_t loops) { return (loops + kLoopsAtOnce - 1) / kLoopsAtOnce; }

template <int N>
struct TracesBody {
  static constexpr int kNumbers = Group<N>::kNumbers;
  hf_loops plaquettes, rectangles;
  const double *links, *couplings;
  double* rows;
  int64_t batch;

  HF_FN void ReadLink(int32_t signed_link, int64_t c, double* u) const {
    Read<N>(links + int64_t{signed_link >> 1} * kNumbers * batch + c, batch, u);
    if ((signed_link & 1) != 0) Adjoin<N>(u);
  }
  HF_FN void operator()(int32_t row, int64_t c) const {
    const int32_t first_rectangle = TraceRows(plaquettes.n);
    if (row >= first_rectangle && couplings[1] == 0) return;
    const hf_loops& loops = row < first_rectangle ? plaquettes : rectangles;
    const int32_t first = (row < first_rectangle ? row : row - first_rectangle) * kLoopsAtOnce;
    double sum = 0;
    for (int32_t i = first; i < first + kLoopsAtOnce && i < loops.n; ++i) {
      const int32_t last = loops.begin[i + 1] - 1;
      double product[kNumbers], u[kNumbers];
      ReadLink(loops.links[loops.begin[i]], c, product);
      for (int32_t k = loops.begin[i] + 1; k < last; ++k) {
        ReadLink(loops.links[k], c, u);
        MultiplyBy<N>(u, product);
      }
      ReadLink(loops.links[last], c, u);
      sum = sum + RealTraceOfProduct<N>(product, u);
    }
    rows[row * batch + c] = sum;
  }
};

// Unit 0 only.
template <int N>
struct LoopActionBody {
  int32_t plaquette_rows, rectangle_rows;
  const double *rows, *couplings;  // beta, c
  double* action;
  int64_t batch;
  HF_FN void operator()(int32_t, int64_t c) const {
    double plaquettes = 0, rectangles = 0;
    for (int32_t i = 0; i < plaquette_rows; ++i) plaquettes = plaquettes + rows[i * batch + c];
    if (couplings[1] != 0) {
      for (int32_t i = 0; i < rectangle_rows; ++i) rectangles = rectangles + rows[(plaquette_rows + i) * batch + c];
    }
    action[c] = -couplings[0] / N * Fma(1 - 8 * couplings[1], plaquettes, couplings[1] * rectangles);
  }
};

}  // namespace haarflow::HF_ISA::sun
