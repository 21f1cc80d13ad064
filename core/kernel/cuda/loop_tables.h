// A loop flow's tables as the GPU reads them.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "core/kernel/cuda/loop_bodies.h"
#include "core/kernel/cuda/network_tables.h"

namespace haarflow::HF_ISA::sun {

struct LoopStepTable {
  int32_t program, active;
  const int32_t *link, *input;
};

struct LoopTables {
  int32_t colours = 0, links = 0, integration_steps = 0;
  std::vector<LoopProgramTable> programs;
  std::vector<LoopStepTable> steps;
  std::vector<hf_loop_pass> passes;
  int32_t columns = 0;
  const double* coefficient = nullptr;  // [rows][columns]
  hf_loops plaquettes{}, rectangles{};
  // Largest of any program or step.
  int32_t slots = 1, scalars = 0, active = 0;
};

// Resolves a program's places: what stays in registers, and slots for the rest.
class LoopProgramPacker {
 public:
  explicit LoopProgramPacker(const hf_link_program& program) : in_(program) {}

  // What is wrong with the program, or an empty string.
  std::string Resolve() {
    if (in_.inputs >= kHeld / 8 || in_.matrices >= kHeld / 8) return "a program is too large";
    if (std::string e = FindHeld(); !e.empty()) return e;
    AssignSlots();
    for (int32_t o = 0; o < in_.ops; ++o) ops_.push_back(Resolved(o));
    ops_.push_back({HF_SCALAR_CLEAR, 0, 0, 0});  // read ahead, never run
    return "";
  }

  LoopProgramTable Pack(Arena* arena) const {
    LoopProgramTable out = {in_, in_.ops, arena->Add(ops_.data(), static_cast<int64_t>(ops_.size())), slots_};
    std::vector<int32_t> loops;
    for (int32_t j = 0; j < in_.loops; ++j) loops.push_back(slot_[in_.loop[j]]);
    out.view.linear = slot_[in_.linear];
    out.view.slot = nullptr;
    out.view.op = nullptr;
    out.view.loop = arena->Add(loops.data(), in_.loops);
    out.view.monomial = arena->Add(in_.monomial, in_.monomials);
    out.view.pair = arena->Add(in_.pair, in_.pairs);
    out.view.pair_term = arena->Add(in_.pair_term, in_.pair_terms);
    out.view.twin = arena->Add(in_.twin, in_.twins);
    return out;
  }

 private:
  static bool Adds(const hf_matrix_op& op) { return op.code == HF_MATRIX_ADD || op.code == HF_MATRIX_ADD_TRACE; }
  // The matrix that an operand names, or -1 for a link.
  int32_t MatrixOf(int32_t operand) const { return operand / 2 - in_.inputs >= 0 ? operand / 2 - in_.inputs : -1; }
  // f(operand, place in `held_`) for the matrices that an operation reads.
  template <class F>
  void ForReads(int32_t o, const F& f) const {
    const hf_matrix_op& op = in_.op[o];
    if (op.code == HF_MATRIX_MULTIPLY || op.code == HF_MATRIX_TRACE || Adds(op)) f(op.a, 2 * o);
    if (op.code == HF_MATRIX_MULTIPLY) f(op.b, 2 * o + 1);
  }

  // Which reads are of the matrix in registers: the last product or sum. A sum's additions see what was there before.
  std::string FindHeld() {
    held_.assign(2 * in_.ops, false);
    last_read_.assign(in_.matrices, -1);  // from memory
    std::vector<bool> written(in_.matrices, false);
    int32_t held = -1, sum = -1;
    bool good = true;
    for (int32_t o = 0; o < in_.ops; ++o) {
      const hf_matrix_op& op = in_.op[o];
      if (sum >= 0 && !Adds(op)) {
        held = sum;
        written[sum] = true;
        sum = -1;
      }
      ForReads(o, [&](int32_t operand, int32_t place) {
        const int32_t m = MatrixOf(operand);
        if (m < 0) return;
        good = good && written[m];
        held_[place] = m == held;
        if (m != held) last_read_[m] = o;
      });
      if (op.code == HF_MATRIX_MULTIPLY || op.code == HF_MATRIX_CLEAR) {
        good = good && !written[op.out];
        if (op.code == HF_MATRIX_CLEAR) {
          sum = op.out;
        } else {
          held = op.out;
          written[held] = true;
        }
      }
    }
    if (sum >= 0) written[sum] = true;
    good = good && written[in_.linear];
    for (int32_t j = 0; j < in_.loops; ++j) good = good && written[in_.loop[j]];
    return good ? "" : "a program's matrix is read before it is written, or written twice";
  }

  // Matrices share a slot where one is last read before the other is written; the lowest, which are in shared memory,
  // are used most. The loops' products come to the same slots after the program.
  void AssignSlots() {
    slot_.assign(in_.matrices, -1);
    std::vector<bool> outlives(in_.matrices, false);
    outlives[in_.linear] = true;
    for (int32_t j = 0; j < in_.loops; ++j) outlives[in_.loop[j]] = true;
    std::vector<std::vector<int32_t>> free_after(in_.ops);
    std::set<int32_t> free;
    slots_ = 0;
    for (int32_t o = 0; o < in_.ops; ++o) {
      const hf_matrix_op& op = in_.op[o];
      // Before the slot of the result is chosen: operands are in registers by then. A sum's result is written last.
      if (op.code == HF_MATRIX_MULTIPLY) Release(o, &free);
      const bool writes = op.code == HF_MATRIX_MULTIPLY || (op.code == HF_MATRIX_CLEAR);
      if (writes && !outlives[op.out] && last_read_[op.out] >= 0) {
        if (free.empty()) free.insert(slots_++);
        slot_[op.out] = *free.begin();
        free.erase(free.begin());
      }
      if (op.code != HF_MATRIX_MULTIPLY) Release(o, &free);
    }
    slots_ = std::max(slots_, in_.loops);
    for (int32_t m = 0; m < in_.matrices; ++m) {
      if (outlives[m]) slot_[m] = slots_++;
    }
  }
  void Release(int32_t o, std::set<int32_t>* free) const {
    ForReads(o, [&](int32_t operand, int32_t) {
      const int32_t m = MatrixOf(operand);
      if (m >= 0 && last_read_[m] == o && slot_[m] >= 0) free->insert(slot_[m]);
    });
  }

  LoopOp Resolved(int32_t o) const {
    const hf_matrix_op& op = in_.op[o];
    LoopOp out = {op.code + 16 * (op.coefficient + 1), op.out, op.a, op.b};
    ForReads(o, [&](int32_t operand, int32_t place) {
      const int32_t m = MatrixOf(operand);
      int32_t& to = place % 2 == 0 ? out.a : out.b;
      if (m >= 0) to = (held_[place] ? kHeld : 2 * (in_.inputs + slot_[m])) + operand % 2;
    });
    if (op.code == HF_MATRIX_MULTIPLY || op.code == HF_MATRIX_CLEAR) out.out = slot_[op.out];
    return out;
  }

  const hf_link_program& in_;
  std::vector<bool> held_;  // [operation][a, b]
  std::vector<int32_t> last_read_, slot_;
  int32_t slots_ = 0;
  std::vector<LoopOp> ops_;
};

class LoopPacker {
 public:
  LoopPacker(Arena* arena, LoopTables* out) : arena_(*arena), out_(*out) {}

  // Of checked tables (core/kernel/loop_store.h). What is wrong with them for a GPU, or an empty string.
  std::string Pack(const hf_loop_flow& flow) {
    if (flow.columns >= 1 << 26) return "a flow has too many columns of coefficients";
    out_ = {};
    out_.colours = flow.colours;
    out_.links = flow.links;
    out_.integration_steps = flow.integration_steps;
    out_.columns = flow.columns;
    for (int32_t p = 0; p < flow.programs; ++p) {
      LoopProgramPacker program(flow.program[p]);
      if (std::string e = program.Resolve(); !e.empty()) return e;
      out_.programs.push_back(program.Pack(&arena_));
      out_.slots = std::max(out_.slots, out_.programs.back().slots);
      out_.scalars = std::max(out_.scalars, flow.program[p].scalars);
    }
    for (int32_t s = 0; s < flow.steps; ++s) {
      const hf_loop_step& step = flow.step[s];
      const int64_t inputs = int64_t{step.active} * flow.program[step.program].inputs;
      if (flow.integration_steps == 0) {
        if (std::string e = CheckApart(flow, step, inputs); !e.empty()) return e;
      }
      out_.steps.push_back(
          {step.program, step.active, arena_.Add(step.link, step.active), arena_.Add(step.input, inputs)});
      out_.active = std::max(out_.active, step.active);
    }
    out_.passes.assign(flow.pass, flow.pass + flow.passes);
    out_.coefficient = arena_.Add(flow.coefficient, int64_t{flow.rows} * flow.columns);
    out_.plaquettes = PackLoops(flow.plaquettes);
    out_.rectangles = PackLoops(flow.rectangles);
    return "";
  }

 private:
  // Threads update a step's links at once and in place.
  static std::string CheckApart(const hf_loop_flow& flow, const hf_loop_step& step, int64_t inputs) {
    std::vector<bool> active(flow.links, false);
    for (int32_t a = 0; a < step.active; ++a) {
      if (active[step.link[a]]) return "link " + std::to_string(step.link[a]) + " is active twice in a step";
      active[step.link[a]] = true;
    }
    for (int64_t i = 0; i < inputs; ++i) {
      if (active[step.input[i]]) return "a step reads its active link " + std::to_string(step.input[i]);
    }
    return "";
  }
  hf_loops PackLoops(const hf_loops& in) {
    return {in.n, arena_.Add(in.begin, int64_t{in.n} + 1), arena_.Add(in.links, in.begin[in.n])};
  }

  Arena& arena_;
  LoopTables& out_;
};

}  // namespace haarflow::HF_ISA::sun
