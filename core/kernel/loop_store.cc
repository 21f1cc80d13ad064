#include "core/kernel/loop_store.h"

#include <algorithm>

#include "core/kernel/cpu/loop_isa.h"

namespace haarflow::kernel {

std::string LoopStore::Copy(const hf_loop_flow& flow) {
  flow_ = flow;
  if (flow.colours != 2 && flow.colours != 3) return "colours are 2 or 3";
  if (flow.links < 1 || flow.programs < 0 || flow.steps < 0 || flow.passes < 0 || flow.rows < 0 || flow.columns < 0) {
    return "negative sizes";
  }
  flow_.coefficient = arrays_.Keep(flow.coefficient, int64_t{flow.rows} * flow.columns);
  for (int32_t p = 0; p < flow.programs; ++p) {
    hf_link_program& program = programs_.emplace_back(flow.program[p]);
    if (std::string e = CopyProgram(&program); !e.empty()) return e;
  }
  for (int32_t s = 0; s < flow.steps; ++s) {
    hf_loop_step& step = steps_.emplace_back(flow.step[s]);
    if (step.program < 0 || step.program >= flow.programs || step.active < 0) return "a step has no program";
    step.link = arrays_.Keep(step.link, step.active);
    step.input = arrays_.Keep(step.input, int64_t{step.active} * programs_[step.program].inputs);
    const auto is_link = [&](int32_t link) { return link >= 0 && link < flow.links; };
    if (!std::all_of(step.link, step.link + step.active, is_link) ||
        !std::all_of(step.input, step.input + int64_t{step.active} * programs_[step.program].inputs, is_link)) {
      return "a step names an unknown link";
    }
  }
  for (int32_t p = 0; p < flow.passes; ++p) {
    if (flow.pass[p].step < 0 || flow.pass[p].step >= flow.steps || flow.pass[p].row < 0 ||
        flow.pass[p].row >= flow.rows) {
      return "a pass has no step or no coefficients";
    }
  }
  flow_.program = programs_.data();
  flow_.step = steps_.data();
  flow_.pass = arrays_.Keep(flow.pass, flow.passes);
  if (std::string e = CheckIntegration(); !e.empty()) return e;
  if (std::string e = CopyPaths(&flow_.plaquettes); !e.empty()) return e;
  return CopyPaths(&flow_.rectangles);
}

// A continuous flow reads the force of every link, and a row of coefficients for every half step.
std::string LoopStore::CheckIntegration() const {
  if (flow_.integration_steps == 0) return "";
  if (flow_.integration_steps < 0 || int64_t{flow_.rows} != 2 * int64_t{flow_.integration_steps} + 1) {
    return "a continuous flow's coefficients do not fit its steps";
  }
  std::vector<int> active(flow_.links, 0);
  for (int32_t p = 0; p < flow_.passes; ++p) {
    const hf_loop_step& step = steps_[flow_.pass[p].step];
    for (int32_t a = 0; a < step.active; ++a) ++active[step.link[a]];
  }
  const bool once = std::all_of(active.begin(), active.end(), [](int n) { return n == 1; });
  return once ? "" : "a continuous flow's passes do not cover every link once";
}

std::string LoopStore::CopyProgram(hf_link_program* program) {
  if (program->inputs < 0 || program->matrices < 1 || program->scalars < 0 || program->ops < 0 || program->loops < 0 ||
      program->loops > kMaxActiveLoops || program->monomials < 0 || program->monomials > kMaxMonomials ||
      program->paired < 0 || program->paired > program->loops || program->pairs < 0 || program->pair_terms < 0 ||
      program->twins < 0 || program->twins > kMaxTwins) {
    return "a program's sizes are out of range";
  }
  program->slot = arrays_.Keep(program->slot, program->matrices);
  program->op = arrays_.Keep(program->op, program->ops);
  program->loop = arrays_.Keep(program->loop, program->loops);
  program->monomial = arrays_.Keep(program->monomial, program->monomials);
  const auto is_matrix = [&](int32_t m) { return m >= 0 && m < program->matrices; };
  const auto is_operand = [&](int32_t o) { return o >= 0 && o / 2 < program->inputs + program->matrices; };
  const auto is_scalar = [&](int32_t o) { return o >= 0 && o / 2 < program->scalars; };
  const auto is_coefficient = [&](int32_t c) { return c >= -1 && c < flow_.columns; };
  for (int32_t m = 0; m < program->matrices; ++m) {
    if (program->slot[m] < 0 || program->slot[m] >= program->matrices) return "a program's slot is out of range";
    max_slots_ = std::max(max_slots_, int64_t{program->slot[m]} + 1);
  }
  for (int32_t i = 0; i < program->ops; ++i) {
    const hf_matrix_op& op = program->op[i];
    const bool adds = op.code == HF_MATRIX_ADD || op.code == HF_MATRIX_ADD_TRACE;
    const bool makes_scalar = op.code == HF_MATRIX_TRACE || op.code >= HF_SCALAR_CLEAR;
    bool good = op.code >= HF_MATRIX_CLEAR && op.code <= HF_SCALAR_ADD && is_coefficient(op.coefficient);
    good = good && (makes_scalar ? op.out >= 0 && is_scalar(2 * op.out) : is_matrix(op.out));
    good = good && (!(adds || op.code == HF_MATRIX_MULTIPLY || op.code == HF_MATRIX_TRACE) || is_operand(op.a));
    good = good && (op.code != HF_MATRIX_MULTIPLY || is_operand(op.b));
    good = good && (op.code != HF_MATRIX_ADD_TRACE || is_scalar(op.b));
    good = good && (op.code != HF_SCALAR_ADD || op.b == -1 || is_scalar(op.b));
    if (!good) return "a program's operation is out of range";
    const hf_matrix_op before = i == 0 ? hf_matrix_op{HF_MATRIX_TRACE, -1, 0, 0, -1} : program->op[i - 1];
    if (adds && (before.out != op.out || (before.code != HF_MATRIX_CLEAR && before.code != HF_MATRIX_ADD &&
                                          before.code != HF_MATRIX_ADD_TRACE))) {
      return "a program's sum does not follow the clearing of its matrix";
    }
  }
  if (!is_matrix(program->linear)) return "a program has no linear loop";
  if (!std::all_of(program->loop, program->loop + program->loops, is_matrix)) return "a program's loop is no matrix";
  for (int32_t m = 0; m < program->monomials; ++m) {
    const hf_loop_monomial& monomial = program->monomial[m];
    if (monomial.loops < 2 || monomial.loops > 3 || !is_coefficient(monomial.coefficient) ||
        (monomial.scalar != -1 && !is_scalar(monomial.scalar))) {
      return "a program's monomial is out of range";
    }
    for (int32_t k = 0; k < monomial.loops; ++k) {
      if (monomial.loop[k] < 0 || monomial.loop[k] / 2 >= program->paired) return "a monomial's loop is out of range";
    }
  }
  program->pair = arrays_.Keep(program->pair, program->pairs);
  program->pair_term = arrays_.Keep(program->pair_term, program->pair_terms);
  program->twin = arrays_.Keep(program->twin, program->twins);
  for (int32_t i = 0; i < program->pairs; ++i) {
    const hf_loop_pair& pair = program->pair[i];
    if (pair.j < 0 || pair.j > pair.k || pair.k >= program->paired || pair.begin < 0 || pair.begin > pair.mixed ||
        pair.mixed > pair.end || pair.end > program->pair_terms) {
      return "a program's pair of loops is out of range";
    }
  }
  for (int32_t i = 0; i < program->pair_terms; ++i) {
    const hf_pair_term& term = program->pair_term[i];
    if (term.monomial < 0 || term.monomial >= program->monomials || term.rest < -1 ||
        term.rest / 2 >= std::max(program->loops, 1)) {
      return "a pair's term is out of range";
    }
  }
  for (int32_t i = 0; i < program->twins; ++i) {
    const hf_loop_twin& twin = program->twin[i];
    if (flow_.colours != 3 || !is_coefficient(twin.coefficient) || std::min(twin.a, twin.b) < 0 ||
        std::max(twin.a, twin.b) >= program->loops) {
      return "a program's twin is out of range";
    }
  }
  max_scalars_ = std::max(max_scalars_, int64_t{program->scalars});
  max_loops_ = std::max(max_loops_, int64_t{program->loops});
  return "";
}

std::string LoopStore::CopyPaths(hf_loops* loops) {
  if (loops->n < 0) return "negative number of loops";
  loops->begin = arrays_.Keep(loops->begin, int64_t{loops->n} + 1);
  if (loops->begin[0] != 0) return "loop offsets do not start at 0";
  for (int32_t i = 0; i < loops->n; ++i) {
    const int32_t n = loops->begin[i + 1] - loops->begin[i];
    if (n < 2 || n > 8) return "a loop of the action has fewer than 2 or more than 8 links";
  }
  loops->links = arrays_.Keep(loops->links, loops->begin[loops->n]);
  for (int32_t k = 0; k < loops->begin[loops->n]; ++k) {
    if (loops->links[k] < 0 || loops->links[k] / 2 >= flow_.links) return "a loop runs through an unknown link";
  }
  return "";
}

}  // namespace haarflow::kernel
