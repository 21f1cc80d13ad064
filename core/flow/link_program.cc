#include "core/flow/link_program.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

constexpr size_t kMaxLoops = 16;
constexpr size_t kMaxMonomials = 64;

// Symbols of products: 2 x (input, or inputs + matrix) + (1 for the adjoint).
using Word = std::vector<int32_t>;

Word Adjoint(const Word& word) {
  Word adjoint(word.rbegin(), word.rend());
  for (int32_t& symbol : adjoint) symbol ^= 1;
  return adjoint;
}

class Compiler {
 public:
  absl::StatusOr<LinkProgram> Compile(const std::vector<LoopTerm>& terms);

 private:
  Word Spell(const RelativePath& path) const;
  // The word's number, and whether it is the adjoint of what is kept under it.
  std::pair<size_t, bool> WordOf(const RelativePath& path);
  void CollectInputs(const std::vector<LoopTerm>& terms);
  void ShareProducts();
  int32_t Operand(size_t word, bool adjoint);
  void Emit(int32_t symbol);
  int32_t NewMatrix();
  int32_t LoopMatrix(const std::vector<std::pair<size_t, bool>>& sum);
  int32_t ScalarOf(const LoopTerm::Frozen& frozen);
  void AddNonlinear(const std::vector<const LoopTerm*>& group);
  void AssignSlots();

  LinkProgram program_;
  std::map<std::pair<std::array<int16_t, 4>, int>, int32_t> input_of_;
  std::map<Word, size_t> word_of_;
  std::vector<Word> words_;
  std::vector<std::pair<int32_t, int32_t>> product_;  // of shared symbols, beyond the inputs
  std::vector<int32_t> matrix_of_product_;            // -1: not emitted yet
  int32_t matrices_ = 0;
  std::map<std::vector<std::pair<size_t, bool>>, int32_t> loop_of_;
  std::map<size_t, int32_t> scalar_of_;  // word -> scalar
};

Word Compiler::Spell(const RelativePath& path) const {
  Word word;
  for (const RelativeStep& step : path) {
    word.push_back(2 * input_of_.at({step.at, step.mu}) + (step.backward ? 1 : 0));
  }
  return word;
}

std::pair<size_t, bool> Compiler::WordOf(const RelativePath& path) {
  const Word word = Spell(path), adjoint = Adjoint(word);
  const bool flip = adjoint < word;
  const auto [it, is_new] = word_of_.emplace(flip ? adjoint : word, words_.size());
  if (is_new) words_.push_back(it->first);
  return {it->second, flip};
}

void Compiler::CollectInputs(const std::vector<LoopTerm>& terms) {
  const auto collect = [&](const RelativePath& path) {
    for (const RelativeStep& step : path) {
      const auto [it, is_new] = input_of_.emplace(std::make_pair(step.at, step.mu), program_.inputs.size());
      if (is_new) program_.inputs.push_back({step.at, step.mu, false});
    }
  };
  for (const LoopTerm& term : terms) {
    for (const auto& active : term.active) collect(active.rest);
    if (term.frozen.has_value()) collect(term.frozen->loop);
  }
}

// The most frequent pair of neighbours becomes a symbol of its own, until every word is one symbol.
void Compiler::ShareProducts() {
  const auto inputs = static_cast<int32_t>(program_.inputs.size());
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
    const int32_t symbol = 2 * (inputs + static_cast<int32_t>(product_.size()));
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
  matrix_of_product_.assign(product_.size(), -1);
}

int32_t Compiler::NewMatrix() { return matrices_++; }

// Computes the symbol's product, once.
void Compiler::Emit(int32_t symbol) {
  const auto inputs = static_cast<int32_t>(program_.inputs.size());
  const int32_t i = symbol / 2 - inputs;
  if (i < 0 || matrix_of_product_[i] >= 0) return;
  const auto [a, b] = product_[i];
  Emit(a);
  Emit(b);
  const auto operand = [&](int32_t s) {
    return s / 2 < inputs ? s : 2 * (inputs + matrix_of_product_[s / 2 - inputs]) + s % 2;
  };
  const int32_t out = NewMatrix();
  program_.ops.push_back({HF_MATRIX_MULTIPLY, out, operand(a), operand(b), -1});
  matrix_of_product_[i] = out;
}

int32_t Compiler::Operand(size_t word, bool adjoint) {
  const auto inputs = static_cast<int32_t>(program_.inputs.size());
  const int32_t symbol = words_[word].front();
  Emit(symbol);
  const int32_t plain =
      symbol / 2 < inputs ? symbol : 2 * (inputs + matrix_of_product_[symbol / 2 - inputs]) + symbol % 2;
  return plain ^ (adjoint ? 1 : 0);
}

// The number of the nonlinear loop whose matrix is a sum of words.
int32_t Compiler::LoopMatrix(const std::vector<std::pair<size_t, bool>>& sum) {
  const auto known = loop_of_.find(sum);
  if (known != loop_of_.end()) return known->second;
  const auto inputs = static_cast<int32_t>(program_.inputs.size());
  int32_t matrix = -1;
  if (sum.size() == 1) {
    const int32_t operand = Operand(sum[0].first, sum[0].second);
    if (operand % 2 == 0 && operand / 2 >= inputs) matrix = operand / 2 - inputs;
  }
  if (matrix < 0) {
    std::vector<int32_t> operands;
    for (const auto& [word, adjoint] : sum) operands.push_back(Operand(word, adjoint));
    matrix = NewMatrix();
    program_.ops.push_back({HF_MATRIX_CLEAR, matrix, 0, 0, -1});
    for (int32_t operand : operands) program_.ops.push_back({HF_MATRIX_ADD, matrix, operand, 0, -1});
  }
  const auto loop = static_cast<int32_t>(program_.loops.size());
  program_.loops.push_back(matrix);
  loop_of_[sum] = loop;
  return loop;
}

int32_t Compiler::ScalarOf(const LoopTerm::Frozen& frozen) {
  const auto [word, adjoint] = WordOf(frozen.loop);
  auto known = scalar_of_.find(word);
  if (known == scalar_of_.end()) {
    const int32_t operand = Operand(word, false);
    program_.ops.push_back({HF_MATRIX_TRACE, program_.scalars, operand, 0, -1});
    known = scalar_of_.emplace(word, program_.scalars++).first;
  }
  return 2 * known->second + (adjoint != frozen.conjugate ? 1 : 0);
}

// Terms that differ in nothing but the last loop of two: its matrices are added up.
void Compiler::AddNonlinear(const std::vector<const LoopTerm*>& group) {
  const LoopTerm& term = *group.front();
  hf_loop_monomial monomial{};
  monomial.coefficient = term.loop_class;
  monomial.scalar = term.frozen.has_value() ? ScalarOf(*term.frozen) : -1;
  monomial.loops = static_cast<int32_t>(term.active.size());
  for (int32_t i = 0; i < monomial.loops; ++i) {
    std::vector<std::pair<size_t, bool>> sum;
    if (i + 1 == monomial.loops) {
      for (const LoopTerm* t : group) sum.push_back(WordOf(t->active[i].rest));
    } else {
      sum.push_back(WordOf(term.active[i].rest));
    }
    std::sort(sum.begin(), sum.end());
    monomial.loop[i] = 2 * LoopMatrix(sum) + (term.active[i].conjugate ? 1 : 0);
  }
  program_.monomials.push_back(monomial);
}

// Matrices share memory where one is last read before the other is written.
void Compiler::AssignSlots() {
  const auto inputs = static_cast<int32_t>(program_.inputs.size());
  const auto n = static_cast<int32_t>(program_.ops.size());
  std::vector<int32_t> last(matrices_, -1);
  const auto read = [&](int32_t operand, int32_t when) {
    if (operand / 2 >= inputs) last[operand / 2 - inputs] = when;
  };
  for (int32_t o = 0; o < n; ++o) {
    const hf_matrix_op& op = program_.ops[o];
    if (op.code != HF_MATRIX_TRACE) last[op.out] = std::max(last[op.out], o);
    if (op.code != HF_MATRIX_CLEAR) read(op.a, o);
    if (op.code == HF_MATRIX_MULTIPLY) read(op.b, o);
  }
  last[program_.linear] = n;
  for (int32_t loop : program_.loops) last[loop] = n;
  program_.slot.assign(matrices_, -1);
  std::set<int32_t> free;
  int32_t slots = 0;
  for (int32_t o = 0; o < n; ++o) {
    const hf_matrix_op& op = program_.ops[o];
    if (op.code != HF_MATRIX_TRACE && program_.slot[op.out] < 0) {
      if (free.empty()) free.insert(slots++);
      program_.slot[op.out] = *free.begin();
      free.erase(free.begin());
    }
    for (int32_t m = 0; m < matrices_; ++m) {
      if (last[m] == o) free.insert(program_.slot[m]);
    }
  }
}

absl::StatusOr<LinkProgram> Compiler::Compile(const std::vector<LoopTerm>& terms) {
  CollectInputs(terms);
  for (const LoopTerm& term : terms) {
    for (const auto& active : term.active) WordOf(active.rest);
    if (term.frozen.has_value()) WordOf(term.frozen->loop);
  }
  ShareProducts();
  program_.linear = NewMatrix();
  program_.ops.push_back({HF_MATRIX_CLEAR, program_.linear, 0, 0, -1});
  for (const LoopTerm& term : terms) {
    if (term.active.size() != 1) continue;
    const auto [word, adjoint] = WordOf(term.active[0].rest);
    const int32_t operand = Operand(word, adjoint);
    if (term.frozen.has_value()) {
      const int32_t scalar = ScalarOf(*term.frozen);
      program_.ops.push_back({HF_MATRIX_ADD_TRACE, program_.linear, operand, scalar, term.loop_class});
    } else {
      program_.ops.push_back({HF_MATRIX_ADD, program_.linear, operand, 0, term.loop_class});
    }
  }
  using Key = std::tuple<int, LoopTerm::Active, bool, std::optional<LoopTerm::Frozen>, size_t>;
  std::map<Key, std::vector<const LoopTerm*>> groups;
  size_t alone = 1;
  for (const LoopTerm& term : terms) {
    if (term.active.size() == 2) {
      groups[{term.loop_class, term.active[0], term.active[1].conjugate, term.frozen, 0}].push_back(&term);
    } else if (term.active.size() == 3) {
      groups[{term.loop_class, term.active[0], false, term.frozen, alone++}].push_back(&term);
    }
  }
  for (const auto& [key, group] : groups) AddNonlinear(group);
  if (program_.loops.size() > kMaxLoops || program_.monomials.size() > kMaxMonomials) {
    return absl::FailedPreconditionError(absl::StrCat("the classes of products give a link ", program_.loops.size(),
                                                      " loops and ", program_.monomials.size(), " monomials; at most ",
                                                      kMaxLoops, " and ", kMaxMonomials));
  }
  AssignSlots();
  return std::move(program_);
}

}  // namespace

int64_t LinkProgram::products() const {
  return std::count_if(ops.begin(), ops.end(), [](const hf_matrix_op& op) { return op.code == HF_MATRIX_MULTIPLY; });
}

hf_link_program LinkProgram::View() const {
  return {static_cast<int32_t>(inputs.size()),
          static_cast<int32_t>(slot.size()),
          slot.data(),
          scalars,
          static_cast<int32_t>(ops.size()),
          ops.data(),
          linear,
          static_cast<int32_t>(loops.size()),
          loops.data(),
          static_cast<int32_t>(monomials.size()),
          monomials.data()};
}

absl::StatusOr<LinkProgram> CompileLinkProgram(const std::vector<LoopTerm>& terms) { return Compiler().Compile(terms); }

}  // namespace haarflow
