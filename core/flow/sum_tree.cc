#include "core/flow/sum_tree.h"

#include <algorithm>
#include <utility>

namespace haarflow {

Word Adjoint(const Word& word) {
  Word adjoint(word.rbegin(), word.rend());
  for (int32_t& symbol : adjoint) symbol ^= 1;
  return adjoint;
}

SumTree TakeOutFactors(std::vector<Summand> summands, bool take_out, const std::set<Word>& is_known) {
  SumTree tree;
  while (take_out) {
    std::map<std::pair<bool, int32_t>, int> count;  // by (not on the left, symbol)
    for (const Summand& s : summands) {
      if (s.word.size() < 2 || is_known.contains(s.word)) continue;
      ++count[{false, s.word.front()}];
      ++count[{true, s.word.back()}];
    }
    const auto best =
        std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == count.end() || best->second < 2) break;
    const auto [on_right, symbol] = best->first;
    std::vector<Summand> inner, others;
    for (Summand& s : summands) {
      const bool shares =
          s.word.size() >= 2 && !is_known.contains(s.word) && (on_right ? s.word.back() : s.word.front()) == symbol;
      if (!shares) {
        others.push_back(std::move(s));
        continue;
      }
      s.word.erase(on_right ? s.word.end() - 1 : s.word.begin());
      inner.push_back(std::move(s));
    }
    tree.branches.push_back(
        {symbol, !on_right, std::make_unique<SumTree>(TakeOutFactors(std::move(inner), take_out, is_known))});
    summands = std::move(others);
  }
  for (Summand& s : summands) tree.leaves[s.word].push_back(s);
  return tree;
}

}  // namespace haarflow
