// Matrix products that share factors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core/flow/sum_tree.h"

namespace haarflow {

// Words, each kept once with its adjoint.
class SharedWords {
 public:
  // The word's number, and whether it is the adjoint of what is kept under it. New words before ShareProducts only.
  std::pair<size_t, bool> NumberOf(const Word& word);
  // The most frequent pair of neighbours becomes a symbol of its own, until every word is one symbol. The first one is
  // number `first_product`.
  void ShareProducts(int32_t first_product);
  // What a word has become.
  int32_t symbol(size_t number) const { return words_[number].front(); }
  size_t products() const { return product_.size(); }
  std::pair<int32_t, int32_t> product(size_t i) const { return product_[i]; }

 private:
  std::map<Word, size_t> number_of_;
  std::vector<Word> words_;
  std::vector<std::pair<int32_t, int32_t>> product_;
};

}  // namespace haarflow
