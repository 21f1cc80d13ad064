// Loop terms of one link compiled into matrix operations with common factors computed once (hf_link_program).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/flow/loop_terms.h"
#include "core/kernel/table.h"

namespace haarflow {

struct LinkProgram {
  std::vector<RelativeStep> inputs;  // links, forwards
  std::vector<hf_matrix_op> ops;
  std::vector<int32_t> slot;  // [matrices]
  int32_t scalars = 0;
  int32_t linear = 0;
  std::vector<int32_t> loops;
  std::vector<hf_loop_monomial> monomials;
  int32_t paired = 0;
  std::vector<hf_loop_pair> pairs;
  std::vector<hf_pair_term> pair_terms;
  std::vector<hf_loop_twin> twins;
  int64_t products() const;  // matrix multiplications, without those by the link itself
  hf_link_program View() const;
};

// The paths that stand for a fat link, forwards.
using StaplesOf = std::function<std::vector<RelativePath>(const RelativeStep& link)>;

// Columns of coefficients are the terms' classes. FAILED_PRECONDITION when there are more than 16 nonlinear loops, 64
// monomials or 8 twins.
absl::StatusOr<LinkProgram> CompileLinkProgram(const std::vector<LoopTerm>& terms, const StaplesOf& staples_of);

}  // namespace haarflow
