// Sums of matrix products with common factors taken out: the algebra behind link programs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/flow/loop_terms.h"

namespace haarflow {

// A product of symbols: 2 x (a matrix) + (1 for the adjoint).
using Word = std::vector<int32_t>;

Word Adjoint(const Word& word);

// One summand: coefficient x scalar x the product of a word.
struct Summand {
  Word word;
  int32_t coefficient = -1;                  // column of the coefficients, or -1 for 1
  const LoopTerm::Frozen* frozen = nullptr;  // the scalar is its trace; null for 1
};

// Words, and symbols times sums.
struct SumTree {
  struct Branch {
    int32_t symbol = 0;
    bool on_left = true;
    std::unique_ptr<SumTree> inner;
  };
  std::map<Word, std::vector<Summand>> leaves;
  std::vector<Branch> branches;
};

// First and last symbols that most summands share are taken out, again and again; never of words in `is_known`, whose
// products are there anyway. Without `take_out` every summand is a leaf.
SumTree TakeOutFactors(std::vector<Summand> summands, bool take_out, const std::set<Word>& is_known);

}  // namespace haarflow
