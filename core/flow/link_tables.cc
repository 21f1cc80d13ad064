#include "core/flow/link_tables.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace haarflow {

void AddPairs(LinkProgram* program) {
  std::map<std::pair<int32_t, int32_t>, std::array<std::vector<hf_pair_term>, 2>> pairs;
  for (size_t m = 0; m < program->monomials.size(); ++m) {
    const hf_loop_monomial& monomial = program->monomials[m];
    for (int32_t i = 0; i < monomial.loops; ++i) {
      for (int32_t l = 0; l < monomial.loops; ++l) {
        const int32_t j = monomial.loop[i] / 2, k = monomial.loop[l] / 2;
        if (i == l || j > k) continue;
        // Where the first loop is conjugated: Re of the conjugate.
        const bool flip = monomial.loop[i] % 2 == 1, mixed = flip != (monomial.loop[l] % 2 == 1);
        hf_pair_term term{static_cast<int32_t>(m), -1, flip ? 1 : 0};
        for (int32_t o = 0; o < monomial.loops; ++o) {
          if (o != i && o != l) term.rest = monomial.loop[o];
        }
        pairs[{j, k}][mixed ? 1 : 0].push_back(term);
      }
    }
  }
  for (const auto& [loops, terms] : pairs) {
    hf_loop_pair& pair = program->pairs.emplace_back();
    const auto append = [&](const std::vector<hf_pair_term>& some) {
      program->pair_terms.insert(program->pair_terms.end(), some.begin(), some.end());
      return static_cast<int32_t>(program->pair_terms.size());
    };
    pair = {loops.first, loops.second, static_cast<int32_t>(program->pair_terms.size()), 0, 0};
    pair.mixed = append(terms[0]);
    pair.end = append(terms[1]);
    program->paired = std::max(program->paired, loops.second + 1);
  }
}

void AssignSlots(int32_t matrices, LinkProgram* program) {
  const auto inputs = static_cast<int32_t>(program->inputs.size());
  const auto n = static_cast<int32_t>(program->ops.size());
  std::vector<int32_t> last(matrices, -1);
  const auto read = [&](int32_t operand, int32_t when) {
    if (operand / 2 >= inputs) last[operand / 2 - inputs] = when;
  };
  const auto is_matrix_op = [](const hf_matrix_op& op) {
    return op.code <= HF_MATRIX_ADD_TRACE && op.code != HF_MATRIX_TRACE;
  };
  for (int32_t o = 0; o < n; ++o) {
    const hf_matrix_op& op = program->ops[o];
    if (!is_matrix_op(op)) {
      if (op.code == HF_MATRIX_TRACE) read(op.a, o);
      continue;
    }
    last[op.out] = std::max(last[op.out], o);
    if (op.code != HF_MATRIX_CLEAR) read(op.a, o);
    if (op.code == HF_MATRIX_MULTIPLY) read(op.b, o);
  }
  last[program->linear] = n;
  for (int32_t loop : program->loops) last[loop] = n;
  program->slot.assign(matrices, -1);
  std::set<int32_t> free;
  int32_t slots = 0;
  for (int32_t o = 0; o < n; ++o) {
    const hf_matrix_op& op = program->ops[o];
    if (is_matrix_op(op) && program->slot[op.out] < 0) {
      if (free.empty()) free.insert(slots++);
      program->slot[op.out] = *free.begin();
      free.erase(free.begin());
    }
    for (int32_t m = 0; m < matrices; ++m) {
      if (last[m] == o) free.insert(program->slot[m]);
    }
  }
}

}  // namespace haarflow
