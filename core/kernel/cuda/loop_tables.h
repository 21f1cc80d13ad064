// A loop flow's tables as the GPU reads them.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "core/kernel/cuda/loop_bodies.h"
#include "core/kernel/cuda/loop_schedule.h"
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
  explicit LoopProgramPacker(const hf_link_program& program) : in_(program), schedule_(program) {}

  // What is wrong with the program, or an empty string.
  std::string Resolve() {
    if (in_.inputs >= kHeld / 8 || in_.matrices >= kHeld / 8) return "a program is too large";
    if (std::string e = schedule_.Make(); !e.empty()) return e;
    FindHeld();
    AssignSlots();
    for (size_t o = 0; o < schedule_.ops().size(); ++o) ops_.push_back(Resolved(o));
    ops_.push_back({HF_SCALAR_CLEAR, 0, 0, 0});  // read ahead, never run
    return "";
  }

  LoopProgramTable Pack(Arena* arena) const {
    const auto size = static_cast<int32_t>(ops_.size());
    LoopProgramTable out = {in_, size - 1, arena->Add(ops_.data(), size), slots_};
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
  using Schedule = kernel::LoopSchedule;
  // f(matrix, operand, 0 or 1) for the matrices that operation o of the schedule reads.
  template <class F>
  void ForReads(size_t o, const F& f) const {
    Schedule::ForReads(schedule_.ops()[o], [&](int32_t operand, int place) {
      if (const int32_t m = Schedule::MatrixOf(in_, operand); m >= 0) f(m, operand, place);
    });
  }
  static bool Makes(const hf_matrix_op& op) { return op.code == HF_MATRIX_MULTIPLY || op.code == kernel::kSumDone; }

  // Which reads are of the matrix in registers: the last product or sum.
  void FindHeld() {
    const std::vector<hf_matrix_op>& ops = schedule_.ops();
    held_.assign(2 * ops.size(), false);
    last_read_.assign(in_.matrices, -1);
    int32_t held = -1;
    for (size_t o = 0; o < ops.size(); ++o) {
      ForReads(o, [&](int32_t m, int32_t, int place) {
        held_[2 * o + place] = m == held;
        if (m != held) last_read_[m] = static_cast<int64_t>(o);
      });
      if (Makes(ops[o])) held = ops[o].out;
    }
  }

  // Matrices share a slot where one is last read before the other is written; the lowest, which are in shared memory,
  // are used most. The loops' products come to the same slots after the program.
  void AssignSlots() {
    const std::vector<hf_matrix_op>& ops = schedule_.ops();
    slot_.assign(in_.matrices, -1);
    std::vector<bool> outlives(in_.matrices, false);
    outlives[in_.linear] = true;
    for (int32_t j = 0; j < in_.loops; ++j) outlives[in_.loop[j]] = true;
    std::set<int32_t> free;
    for (size_t o = 0; o < ops.size(); ++o) {
      // Operands are in registers before the result is written.
      ForReads(o, [&](int32_t m, int32_t, int) {
        if (last_read_[m] == static_cast<int64_t>(o) && slot_[m] >= 0) free.insert(slot_[m]);
      });
      if (!Makes(ops[o]) || outlives[ops[o].out] || last_read_[ops[o].out] < 0) continue;
      if (free.empty()) free.insert(slots_++);
      slot_[ops[o].out] = *free.begin();
      free.erase(free.begin());
    }
    slots_ = std::max(slots_, in_.loops);
    for (int32_t m = 0; m < in_.matrices; ++m) {
      if (outlives[m]) slot_[m] = slots_++;
    }
  }

  LoopOp Resolved(size_t o) const {
    const hf_matrix_op& op = schedule_.ops()[o];
    LoopOp out = {op.code + 16 * (op.coefficient + 1), Makes(op) ? slot_[op.out] : op.out, op.a, op.b};
    ForReads(o, [&](int32_t m, int32_t operand, int place) {
      (place == 0 ? out.a : out.b) = (held_[2 * o + place] ? kHeld : 2 * (in_.inputs + slot_[m])) + operand % 2;
    });
    return out;
  }

  const hf_link_program& in_;
  Schedule schedule_;
  std::vector<bool> held_;          // [operation][a, b]
  std::vector<int64_t> last_read_;  // from memory, or -1
  std::vector<int32_t> slot_;
  int32_t slots_ = 0;
  std::vector<LoopOp> ops_;
};

// A whole flow: resolved once, packed as often as an arena needs.
class LoopPacker {
 public:
  // `flow` is a checked one (core/kernel/loop_store.h) and must outlive this.
  explicit LoopPacker(const hf_loop_flow& flow) : flow_(flow) {}

  // What is wrong with the tables for a GPU, or an empty string.
  std::string Resolve() {
    if (flow_.columns >= 1 << 26) return "a flow has too many columns of coefficients";
    for (int32_t p = 0; p < flow_.programs; ++p) {
      if (std::string e = programs_.emplace_back(flow_.program[p]).Resolve(); !e.empty()) return e;
    }
    for (int32_t s = 0; s < flow_.steps && flow_.integration_steps == 0; ++s) {
      if (std::string e = CheckApart(flow_.step[s]); !e.empty()) return e;
    }
    return "";
  }

  LoopTables Pack(Arena* arena) const {
    LoopTables out;
    out.colours = flow_.colours;
    out.links = flow_.links;
    out.integration_steps = flow_.integration_steps;
    for (int32_t p = 0; p < flow_.programs; ++p) {
      out.programs.push_back(programs_[p].Pack(arena));
      out.slots = std::max(out.slots, out.programs.back().slots);
      out.scalars = std::max(out.scalars, flow_.program[p].scalars);
    }
    for (int32_t s = 0; s < flow_.steps; ++s) {
      const hf_loop_step& step = flow_.step[s];
      out.steps.push_back(
          {step.program, step.active, arena->Add(step.link, step.active), arena->Add(step.input, InputsOf(step))});
      out.active = std::max(out.active, step.active);
    }
    out.passes.assign(flow_.pass, flow_.pass + flow_.passes);
    out.columns = flow_.columns;
    out.coefficient = arena->Add(flow_.coefficient, int64_t{flow_.rows} * flow_.columns);
    out.plaquettes = PackLoops(flow_.plaquettes, arena);
    out.rectangles = PackLoops(flow_.rectangles, arena);
    return out;
  }

 private:
  int64_t InputsOf(const hf_loop_step& step) const { return int64_t{step.active} * flow_.program[step.program].inputs; }
  // Threads update a step's links at once and in place.
  std::string CheckApart(const hf_loop_step& step) const {
    std::vector<bool> active(flow_.links, false);
    for (int32_t a = 0; a < step.active; ++a) {
      if (active[step.link[a]]) return "link " + std::to_string(step.link[a]) + " is active twice in a step";
      active[step.link[a]] = true;
    }
    for (int64_t i = 0; i < InputsOf(step); ++i) {
      if (active[step.input[i]]) return "a step reads its active link " + std::to_string(step.input[i]);
    }
    return "";
  }
  static hf_loops PackLoops(const hf_loops& in, Arena* arena) {
    return {in.n, arena->Add(in.begin, int64_t{in.n} + 1), arena->Add(in.links, in.begin[in.n])};
  }

  const hf_loop_flow& flow_;
  std::vector<LoopProgramPacker> programs_;
};

}  // namespace haarflow::HF_ISA::sun
