// The matrix program of a link (hf_link_program) as one GPU thread runs it.
//
// A thread holds the last matrix that it computed, and the sum that it adds up, in registers: an operation that reads
// the former needs no memory, and what nothing else reads is never written. Everything else lies in slots, the first of
// them in shared memory, those of matrices that outlive the program last.
#pragma once

#include "core/kernel/cuda/loop_schedule.h"
#include "core/kernel/cuda/sun_matrix.h"

namespace haarflow::HF_ISA::sun {

constexpr int kLinkThreads = 128;  // of a block

// An operation as in hf_matrix_op, its places resolved. Operands are 2 i + (1 for the adjoint): input i for i < inputs,
// else slot i - inputs; kHeld: the matrix in registers.
struct alignas(16) LoopOp {
  int32_t code_and_coefficient;  // HF_MATRIX_* or HF_SCALAR_*, + 16 x (column + 1)
  int32_t out;                   // slot, or -1 for registers alone; scalar
  int32_t a, b;
  HF_FN int32_t code() const { return code_and_coefficient & 15; }
  HF_FN int32_t coefficient() const { return (code_and_coefficient >> 4) - 1; }
};
constexpr int32_t kHeld = 1 << 30;

struct LoopProgramTable {
  hf_link_program view;  // device addresses; without operations; linear and loop are slots, those of products are 0 ..
  int32_t ops;
  const LoopOp* op;  // [ops + 1]
  int32_t slots;
};

// One thread's memory: numbers are kLinkThreads apart.
template <int N>
struct LinkMemory {
  double *shared, *scratch;
  int32_t shared_slots, slots;

  HF_FN double* Slot(int32_t s) const {
    constexpr int64_t kSlot = int64_t{Group<N>::kNumbers} * kLinkThreads;
    return s < shared_slots ? shared + s * kSlot : scratch + (s - shared_slots) * kSlot;
  }
  HF_FN double* Scalar(int32_t s) const {
    return scratch + (int64_t{slots - shared_slots} * Group<N>::kNumbers + 2 * s) * kLinkThreads;
  }
  HF_FN Complex<double> ScalarOf(int32_t operand) const {
    const double* s = Scalar(operand >> 1);
    return {s[0], (operand & 1) != 0 ? -s[kLinkThreads] : s[kLinkThreads]};
  }
  // Numbers that a thread has beyond its shared memory.
  HF_FN static int64_t ScratchNumbers(int64_t slots, int64_t shared_slots, int64_t scalars) {
    return (slots - shared_slots) * Group<N>::kNumbers + 2 * scalars;
  }
};

template <int N>
struct LinkProgramRun {
  static constexpr int kNumbers = Group<N>::kNumbers;
  const LoopProgramTable& program;
  const LinkMemory<N>& memory;
  const double* coefficient;
  const int32_t* input;  // links
  const double* links;   // of this configuration
  int64_t batch;

  HF_FN double Coefficient(const LoopOp& op) const {
    const int32_t c = op.coefficient();
    return c < 0 ? 1.0 : coefficient[c];
  }
  HF_FN void Fetch(int32_t operand, const double* held, double* m) const {
    const int32_t i = operand >> 1;
    if (i >= kHeld >> 1) {
      Copy<N>(held, m);
    } else if (i < program.view.inputs) {
      Read<N>(links + int64_t{input[i]} * kNumbers * batch, batch, m);
    } else {
      Read<N>(memory.Slot(i - program.view.inputs), kLinkThreads, m);
    }
    if ((operand & 1) != 0) Adjoin<N>(m);
  }
  HF_FN void Keep(int32_t slot, const double* held) const {
    if (slot >= 0) Write<N>(held, memory.Slot(slot), kLinkThreads);
  }

  HF_FN void operator()() const {
    double held[kNumbers], sum[kNumbers];
    HF_UNROLL
    for (int r = 0; r < kNumbers; ++r) held[r] = sum[r] = 0;
    LoopOp next = program.op[0];
    for (int32_t o = 0; o < program.ops;) {
      const LoopOp op = next;
      next = program.op[++o];
      switch (op.code()) {
        case HF_MATRIX_MULTIPLY: {
          double b[kNumbers], a[kNumbers];
          Fetch(op.b, held, b);
          Fetch(op.a, held, a);
          MultiplyBy<N>(b, a);
          Copy<N>(a, held);
          Keep(op.out, held);
          break;
        }
        case HF_MATRIX_CLEAR:
          HF_UNROLL
          for (int r = 0; r < kNumbers; ++r) sum[r] = 0;
          break;
        case HF_MATRIX_ADD:
        case HF_MATRIX_ADD_TRACE: {
          double a[kNumbers];
          Fetch(op.a, held, a);
          double re = Coefficient(op), im = 0;
          const bool is_complex = op.code() == HF_MATRIX_ADD_TRACE;
          if (is_complex) {
            const Complex<double> s = memory.ScalarOf(op.b);
            im = re * s.im;
            re = re * s.re;
          }
          AddMultiple<N>(re, im, is_complex, a, sum);
          break;
        }
        case kernel::kSumDone:
          Copy<N>(sum, held);
          Keep(op.out, held);
          break;
        case HF_MATRIX_TRACE: {
          double a[kNumbers];
          Fetch(op.a, held, a);
          const Complex<double> trace = TraceOf<N, double>(a);
          SetScalar(op.out, trace.re, N == 2 ? 0.0 : trace.im);
          break;
        }
        case HF_SCALAR_CLEAR:
          SetScalar(op.out, 0.0, 0.0);
          break;
        default: {  // HF_SCALAR_ADD
          const double c = Coefficient(op);
          const Complex<double> b = op.b < 0 ? Complex<double>{1.0, 0.0} : memory.ScalarOf(op.b);
          const double* s = memory.Scalar(op.out);
          SetScalar(op.out, Fma(c, b.re, s[0]), Fma(c, b.im, s[kLinkThreads]));
        }
      }
    }
  }

  HF_FN void SetScalar(int32_t i, double re, double im) const {
    double* s = memory.Scalar(i);
    s[0] = re;
    s[kLinkThreads] = im;
  }
};

}  // namespace haarflow::HF_ISA::sun
