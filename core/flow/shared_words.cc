#include "core/flow/shared_words.h"

#include <algorithm>

namespace haarflow {

std::pair<size_t, bool> SharedWords::NumberOf(const Word& word) {
  const Word adjoint = Adjoint(word);
  const bool flip = adjoint < word;
  const auto [it, is_new] = number_of_.emplace(flip ? adjoint : word, words_.size());
  if (is_new) words_.push_back(it->first);
  return {it->second, flip};
}

void SharedWords::ShareProducts(int32_t first_product) {
  const auto canonical = [](int32_t a, int32_t b) {
    return std::min(std::make_pair(a, b), std::make_pair(b ^ 1, a ^ 1));
  };
  while (true) {
    std::map<std::pair<int32_t, int32_t>, int> count;
    for (const Word& word : words_) {
      for (size_t i = 0; i + 1 < word.size(); ++i) ++count[canonical(word[i], word[i + 1])];
    }
    if (count.empty()) break;
    const auto best =
        std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    const auto pair = best->first;
    const int32_t symbol = 2 * (first_product + static_cast<int32_t>(product_.size()));
    product_.push_back(pair);
    for (Word& word : words_) {
      Word shorter;
      for (size_t i = 0; i < word.size(); ++i) {
        if (i + 1 < word.size() && canonical(word[i], word[i + 1]) == pair) {
          shorter.push_back(std::make_pair(word[i], word[i + 1]) == pair ? symbol : symbol + 1);
          ++i;
        } else {
          shorter.push_back(word[i]);
        }
      }
      word = std::move(shorter);
    }
  }
}

}  // namespace haarflow
