// The order in which a GPU thread runs a link's matrix program.
//
// A program computes all products of a sum and then adds them up, which keeps them all in memory. A thread holds a sum
// in registers and adds each product as soon as it is there. Nothing else changes: the operations, and the order of a
// sum's terms up to that of their products.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel/table.h"

namespace haarflow::kernel {

// After a sum's additions: its matrix is there.
constexpr int32_t kSumDone = 7;
static_assert(kSumDone > HF_SCALAR_ADD);

class LoopSchedule {
 public:
  // `program` is a checked one (core/kernel/loop_store.h) and must outlive this.
  explicit LoopSchedule(const hf_link_program& program) : program_(program) {}

  // What is wrong with the program, or an empty string.
  std::string Make() {
    if (std::string e = FindDefinitions(); !e.empty()) return e;
    CountReads();
    for (int32_t j = 0; j < program_.loops; ++j) EmitMatrix(program_.loop[j]);
    EmitMatrix(program_.linear);
    for (int32_t m = 0; m < program_.monomials; ++m) {
      if (program_.monomial[m].scalar >= 0) EmitScalar(program_.monomial[m].scalar / 2);
    }
    return "";
  }
  // Operations on whose results something depends, and a kSumDone after the additions of every CLEAR.
  const std::vector<hf_matrix_op>& ops() const { return ops_; }

  static bool Adds(const hf_matrix_op& op) { return op.code == HF_MATRIX_ADD || op.code == HF_MATRIX_ADD_TRACE; }
  // The matrix that an operand names, or -1 for a link.
  static int32_t MatrixOf(const hf_link_program& program, int32_t operand) {
    return std::max(-1, operand / 2 - program.inputs);
  }
  // f(operand, 0 or 1) for the matrices that an operation reads.
  template <class F>
  static void ForReads(const hf_matrix_op& op, const F& f) {
    if (op.code == HF_MATRIX_MULTIPLY || op.code == HF_MATRIX_TRACE || Adds(op)) f(op.a, 0);
    if (op.code == HF_MATRIX_MULTIPLY) f(op.b, 1);
  }

 private:
  // Every matrix is written once, every scalar at one time, and read only then.
  std::string FindDefinitions() {
    matrix_at_.assign(program_.matrices, -1);
    scalar_ops_.assign(program_.scalars, {});
    std::vector<bool> scalar_read(program_.scalars, false);
    int32_t open = -1;  // the sum at hand
    bool good = true;
    const auto is_there = [&](int32_t m) { return m < 0 || (matrix_at_[m] >= 0 && m != open); };
    for (int32_t o = 0; o < program_.ops; ++o) {
      const hf_matrix_op& op = program_.op[o];
      if (!Adds(op)) open = op.code == HF_MATRIX_CLEAR ? op.out : -1;
      ForReads(op, [&](int32_t operand, int) { good = good && is_there(MatrixOf(program_, operand)); });
      if (op.code == HF_MATRIX_ADD_TRACE || (op.code == HF_SCALAR_ADD && op.b >= 0)) {
        good = good && !scalar_ops_[op.b / 2].empty() && (op.code == HF_MATRIX_ADD_TRACE || op.b / 2 != op.out);
        scalar_read[op.b / 2] = true;
      }
      if (op.code == HF_MATRIX_MULTIPLY || op.code == HF_MATRIX_CLEAR) {
        good = good && matrix_at_[op.out] < 0;
        matrix_at_[op.out] = o;
      } else if (!Adds(op)) {
        good = good && !scalar_read[op.out];
        scalar_ops_[op.out].push_back(o);
      }
    }
    open = -1;
    good = good && is_there(program_.linear) && matrix_at_[program_.linear] >= 0;
    for (int32_t j = 0; j < program_.loops; ++j) good = good && is_there(program_.loop[j]);
    for (int32_t m = 0; m < program_.monomials; ++m) {
      const int32_t scalar = program_.monomial[m].scalar;
      good = good && (scalar < 0 || !scalar_ops_[scalar / 2].empty());
    }
    return good ? "" : "a program reads a matrix or a scalar before it is written, or writes one again";
  }

  void CountReads() {
    reads_.assign(program_.matrices, 0);
    seen_reads_ = reads_;
    for (int32_t o = 0; o < program_.ops; ++o) {
      ForReads(program_.op[o], [&](int32_t operand, int) {
        if (const int32_t m = MatrixOf(program_, operand); m >= 0) ++reads_[m];
      });
    }
    matrix_done_.assign(program_.matrices, false);
    scalar_done_.assign(program_.scalars, false);
  }

  void Push(const hf_matrix_op& op) {
    ForReads(op, [&](int32_t operand, int) {
      if (const int32_t m = MatrixOf(program_, operand); m >= 0) --reads_[m];
    });
    ops_.push_back(op);
  }

  void EmitOperand(int32_t operand) {
    if (const int32_t m = MatrixOf(program_, operand); m >= 0) EmitMatrix(m);
  }
  void EmitMatrix(int32_t m) {
    if (matrix_done_[m]) return;
    matrix_done_[m] = true;
    const hf_matrix_op& op = program_.op[matrix_at_[m]];
    if (op.code == HF_MATRIX_CLEAR) return EmitSum(matrix_at_[m]);
    // The longer one first: the other is in registers then.
    const bool second_first = NeedsOf(op.b).missing > NeedsOf(op.a).missing;
    EmitOperand(second_first ? op.b : op.a);
    EmitOperand(second_first ? op.a : op.b);
    Push(op);
  }

  void EmitScalar(int32_t s) {
    if (scalar_done_[s]) return;
    scalar_done_[s] = true;
    for (const int32_t o : scalar_ops_[s]) {
      const hf_matrix_op& op = program_.op[o];
      if (op.code == HF_MATRIX_TRACE) EmitOperand(op.a);
      if (op.code == HF_SCALAR_ADD && op.b >= 0) EmitScalar(op.b / 2);
      Push(op);
    }
  }

  // There is one sum in registers: those that it needs come before.
  void EmitSum(int32_t clear) {
    std::vector<hf_matrix_op> left;
    std::vector<bool> seen(program_.matrices + program_.scalars, false);
    for (int32_t o = clear + 1; o < program_.ops && Adds(program_.op[o]); ++o) {
      left.push_back(program_.op[o]);
      EmitSumsFor(left.back().a, &seen);
      if (left.back().code == HF_MATRIX_ADD_TRACE) EmitSumsForScalar(left.back().b / 2, &seen);
    }
    Push(program_.op[clear]);
    while (!left.empty()) {
      size_t best = 0;
      int32_t least = INT32_MAX;
      for (size_t i = 0; i < left.size(); ++i) {
        if (const int32_t growth = NeedsOf(left[i].a).growth; growth < least) {
          least = growth;
          best = i;
        }
      }
      const hf_matrix_op add = left[best];
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(best));
      EmitOperand(add.a);
      if (add.code == HF_MATRIX_ADD_TRACE) EmitScalar(add.b / 2);
      Push(add);
    }
    ops_.push_back({kSumDone, program_.op[clear].out, 0, 0, -1});
  }
  // The sums behind an operand or a scalar; `seen` are matrices, then scalars, that need no second look.
  void EmitSumsFor(int32_t operand, std::vector<bool>* seen) {
    const int32_t m = MatrixOf(program_, operand);
    if (m < 0 || matrix_done_[m] || (*seen)[m]) return;
    (*seen)[m] = true;
    const hf_matrix_op& op = program_.op[matrix_at_[m]];
    if (op.code == HF_MATRIX_CLEAR) return EmitMatrix(m);
    EmitSumsFor(op.a, seen);
    EmitSumsFor(op.b, seen);
  }
  void EmitSumsForScalar(int32_t s, std::vector<bool>* seen) {
    if (scalar_done_[s] || (*seen)[program_.matrices + s]) return;
    (*seen)[program_.matrices + s] = true;
    for (const int32_t o : scalar_ops_[s]) {
      const hf_matrix_op& op = program_.op[o];
      if (op.code == HF_MATRIX_TRACE) EmitSumsFor(op.a, seen);
      if (op.code == HF_SCALAR_ADD && op.b >= 0) EmitSumsForScalar(op.b / 2, seen);
    }
  }

  struct Needs {
    int32_t missing = 0;  // matrices that must still be computed
    int32_t growth = 0;   // how many more are kept then: new ones that something else reads, without those last read
  };
  Needs NeedsOf(int32_t operand) {
    touched_.clear();
    Touch(operand);
    Needs needs;
    for (const int32_t m : touched_) {
      const bool more = seen_reads_[m] < reads_[m];
      needs.missing += matrix_done_[m] ? 0 : 1;
      needs.growth += matrix_done_[m] ? (more ? 0 : -1) : (more ? 1 : 0);
      seen_reads_[m] = 0;
    }
    return needs;
  }
  void Touch(int32_t operand) {
    const int32_t m = MatrixOf(program_, operand);
    if (m < 0) return;
    if (++seen_reads_[m] > 1) return;
    touched_.push_back(m);
    const hf_matrix_op& op = program_.op[matrix_at_[m]];
    if (matrix_done_[m] || op.code != HF_MATRIX_MULTIPLY) return;
    Touch(op.a);
    Touch(op.b);
  }

  const hf_link_program& program_;
  std::vector<int32_t> matrix_at_;                // operation that begins it
  std::vector<std::vector<int32_t>> scalar_ops_;  // that write it
  std::vector<int32_t> reads_;                    // still to come
  std::vector<bool> matrix_done_, scalar_done_;
  std::vector<int32_t> seen_reads_, touched_;  // of NeedsOf
  std::vector<hf_matrix_op> ops_;
};

}  // namespace haarflow::kernel
