#include "core/flow/link_program.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/flow/link_tables.h"
#include "core/flow/shared_words.h"
#include "core/flow/sum_tree.h"

namespace haarflow {
namespace {

constexpr size_t kMaxLoops = 16;
constexpr size_t kMaxMonomials = 64;
constexpr size_t kMaxTwins = 8;

class Compiler {
 public:
  Compiler(const StaplesOf& staples_of, bool take_out_factors)
      : staples_of_(staples_of), take_out_factors_(take_out_factors) {}
  absl::StatusOr<LinkProgram> Compile(const std::vector<LoopTerm>& terms);

 private:
  // A sum of words without coefficients, and its place among the program's loops.
  using WordSum = std::vector<Word>;  // sorted
  struct Loop {
    SumTree tree;
    int32_t number = -1;  // in the program, once it is computed
  };

  struct FatLink {
    RelativeStep link;
    std::vector<RelativePath> staples;
    SumTree tree;
    int32_t matrix = -1;  // once it is computed
  };

  // Symbols: inputs, then fat links, then shared products.
  int32_t inputs() const { return static_cast<int32_t>(program_.inputs.size()); }
  int32_t products_from() const { return inputs() + static_cast<int32_t>(fat_links_.size()); }
  Word Spell(const RelativePath& path) const;
  WordSum Spell(const std::vector<RelativePath>& paths) const;
  void CollectInputs(const std::vector<LoopTerm>& terms);
  void GroupTerms(const std::vector<LoopTerm>& terms);
  void BuildTrees();
  void NumberLeaves(const SumTree& tree);
  int32_t Operand(const Word& word);
  // The operand that is a symbol, computed if it is not yet there.
  int32_t Emit(int32_t symbol);
  int32_t NewMatrix() { return matrices_++; }
  int32_t LoopOf(const WordSum& sum);
  int32_t ScalarOf(const LoopTerm::Frozen& frozen);
  int32_t EmitSum(const SumTree& tree);
  void AddNonlinear(const LoopTerm& term);

  const StaplesOf& staples_of_;
  const bool take_out_factors_;
  LinkProgram program_;
  std::map<RelativeStep, int32_t> input_of_, fat_link_of_;
  std::vector<FatLink> fat_links_;
  std::vector<LoopTerm> nonlinear_;
  std::vector<Summand> linear_;
  std::vector<std::pair<int32_t, WordSum>> linear_loops_;  // classes that are a nonlinear loop as a whole
  std::map<WordSum, Loop> loops_;
  SumTree linear_tree_;
  SharedWords words_;
  std::vector<int32_t> matrix_of_product_;  // -1: not emitted yet
  int32_t matrices_ = 0;
  std::map<size_t, int32_t> scalar_of_;  // word -> scalar
};

Word Compiler::Spell(const RelativePath& path) const {
  Word word;
  for (RelativeStep step : path) {
    const int32_t backward = step.backward ? 1 : 0;
    step.backward = false;
    word.push_back(2 * (step.fat ? inputs() + fat_link_of_.at(step) : input_of_.at(step)) + backward);
  }
  return word;
}

Compiler::WordSum Compiler::Spell(const std::vector<RelativePath>& paths) const {
  WordSum sum;
  for (const RelativePath& path : paths) sum.push_back(Spell(path));
  std::sort(sum.begin(), sum.end());
  return sum;
}

void Compiler::CollectInputs(const std::vector<LoopTerm>& terms) {
  const auto collect = [&](const RelativePath& path) {
    for (RelativeStep step : path) {
      step.backward = false;
      if (step.fat) {
        const auto [it, is_new] = fat_link_of_.emplace(step, fat_links_.size());
        if (is_new) fat_links_.push_back({step, staples_of_(step), {}});
      } else if (input_of_.emplace(step, program_.inputs.size()).second) {
        program_.inputs.push_back(step);
      }
    }
  };
  for (const LoopTerm& term : terms) {
    for (const auto& active : term.active) std::for_each(active.rests.begin(), active.rests.end(), collect);
    if (term.frozen.has_value()) collect(term.frozen->loop);
  }
  for (const FatLink& fat : fat_links_) std::for_each(fat.staples.begin(), fat.staples.end(), collect);
}

// Terms of two loops that differ in nothing but the second one become one: its images are added up.
void Compiler::GroupTerms(const std::vector<LoopTerm>& terms) {
  using Key = std::tuple<int, LoopTerm::Active, bool, std::optional<LoopTerm::Frozen>>;
  std::map<Key, LoopTerm> pairs;
  std::map<int32_t, WordSum> whole;  // linear classes without scalars
  for (const LoopTerm& term : terms) {
    if (term.active.size() == 2 && !term.joined) {
      const auto [it, is_new] =
          pairs.emplace(Key{term.loop_class, term.active[0], term.active[1].conjugate, term.frozen}, term);
      std::vector<RelativePath>& rests = it->second.active[1].rests;
      if (!is_new) rests.insert(rests.end(), term.active[1].rests.begin(), term.active[1].rests.end());
    } else if (term.active.size() >= 2) {
      nonlinear_.push_back(term);
    } else if (!term.frozen.has_value()) {
      const WordSum words = Spell(term.active[0].rests);
      WordSum& sum = whole[term.loop_class];
      sum.insert(sum.end(), words.begin(), words.end());
    }
  }
  for (auto& [key, term] : pairs) nonlinear_.push_back(std::move(term));
  for (const LoopTerm& term : nonlinear_) {
    for (const auto& active : term.active) loops_[Spell(active.rests)];
  }
  std::set<int32_t> is_loop;
  for (auto& [loop_class, sum] : whole) {
    std::sort(sum.begin(), sum.end());
    if (sum.size() < 2 || !loops_.contains(sum)) continue;
    linear_loops_.emplace_back(loop_class, sum);
    is_loop.insert(loop_class);
  }
  for (const LoopTerm& term : terms) {
    if (term.active.size() != 1 || (!term.frozen.has_value() && is_loop.contains(term.loop_class))) continue;
    for (const RelativePath& rest : term.active[0].rests) {
      linear_.push_back({Spell(rest), term.loop_class, term.frozen.has_value() ? &*term.frozen : nullptr});
    }
  }
}

void Compiler::BuildTrees() {
  std::set<Word> known;
  for (const auto& [sum, loop] : loops_) {
    if (sum.size() == 1) known.insert(sum.front());
  }
  const auto plain_sum = [&](const WordSum& sum) {
    std::vector<Summand> summands;
    for (const Word& word : sum) summands.push_back({word, -1, nullptr});
    SumTree tree = TakeOutFactors(std::move(summands), take_out_factors_, known);
    NumberLeaves(tree);
    return tree;
  };
  for (FatLink& fat : fat_links_) fat.tree = plain_sum(Spell(fat.staples));
  for (auto& [sum, loop] : loops_) loop.tree = plain_sum(sum);
  linear_tree_ = TakeOutFactors(linear_, take_out_factors_, known);
  NumberLeaves(linear_tree_);
  const auto number_frozen = [&](const LoopTerm::Frozen* frozen) {
    if (frozen != nullptr) words_.NumberOf(Spell(frozen->loop));
  };
  for (const Summand& s : linear_) number_frozen(s.frozen);
  for (const LoopTerm& t : nonlinear_) number_frozen(t.frozen.has_value() ? &*t.frozen : nullptr);
}

void Compiler::NumberLeaves(const SumTree& tree) {
  for (const auto& [word, summands] : tree.leaves) words_.NumberOf(word);
  for (const auto& branch : tree.branches) NumberLeaves(*branch.inner);
}

int32_t Compiler::Emit(int32_t symbol) {
  const int32_t which = symbol / 2, adjoint = symbol % 2;
  if (which < inputs()) return symbol;
  int32_t* matrix;
  if (which < products_from()) {
    FatLink& fat = fat_links_[which - inputs()];
    matrix = &fat.matrix;
    if (*matrix < 0) *matrix = EmitSum(fat.tree);
  } else {
    matrix = &matrix_of_product_[which - products_from()];
    if (*matrix < 0) {
      const auto [a, b] = words_.product(which - products_from());
      const int32_t left = Emit(a), right = Emit(b);
      *matrix = NewMatrix();
      program_.ops.push_back({HF_MATRIX_MULTIPLY, *matrix, left, right, -1});
    }
  }
  return 2 * (inputs() + *matrix) + adjoint;
}

int32_t Compiler::Operand(const Word& word) {
  const auto [number, adjoint] = words_.NumberOf(word);
  return Emit(words_.symbol(number)) ^ (adjoint ? 1 : 0);
}

int32_t Compiler::ScalarOf(const LoopTerm::Frozen& frozen) {
  const auto [number, adjoint] = words_.NumberOf(Spell(frozen.loop));
  auto known = scalar_of_.find(number);
  if (known == scalar_of_.end()) {
    const int32_t operand = Operand(adjoint ? Adjoint(Spell(frozen.loop)) : Spell(frozen.loop));
    program_.ops.push_back({HF_MATRIX_TRACE, program_.scalars, operand, 0, -1});
    known = scalar_of_.emplace(number, program_.scalars++).first;
  }
  return 2 * known->second + (adjoint != frozen.conjugate ? 1 : 0);
}

// The matrix of a sum. Everything it needs comes first: a sum's operations are one after the other.
int32_t Compiler::EmitSum(const SumTree& tree) {
  std::vector<hf_matrix_op> adds;
  for (const auto& branch : tree.branches) {
    const int32_t inner = 2 * (inputs() + EmitSum(*branch.inner)), factor = Emit(branch.symbol);
    const int32_t product = NewMatrix();
    program_.ops.push_back(
        {HF_MATRIX_MULTIPLY, product, branch.on_left ? factor : inner, branch.on_left ? inner : factor, -1});
    adds.push_back({HF_MATRIX_ADD, -1, 2 * (inputs() + product), 0, -1});
  }
  for (const auto& [word, summands] : tree.leaves) {
    const int32_t operand = Operand(word);
    const bool has_scalar =
        std::any_of(summands.begin(), summands.end(), [](const Summand& s) { return s.frozen != nullptr; });
    if (summands.size() == 1 || !has_scalar) {
      for (const Summand& s : summands) {
        if (s.frozen == nullptr) {
          adds.push_back({HF_MATRIX_ADD, -1, operand, 0, s.coefficient});
        } else {
          adds.push_back({HF_MATRIX_ADD_TRACE, -1, operand, ScalarOf(*s.frozen), s.coefficient});
        }
      }
      continue;
    }
    std::vector<hf_matrix_op> sum;
    for (const Summand& s : summands) {
      sum.push_back({HF_SCALAR_ADD, -1, 0, s.frozen == nullptr ? -1 : ScalarOf(*s.frozen), s.coefficient});
    }
    const int32_t scalar = program_.scalars++;
    program_.ops.push_back({HF_SCALAR_CLEAR, scalar, 0, 0, -1});
    for (hf_matrix_op& op : sum) {
      op.out = scalar;
      program_.ops.push_back(op);
    }
    adds.push_back({HF_MATRIX_ADD_TRACE, -1, operand, 2 * scalar, -1});
  }
  const int32_t out = NewMatrix();
  program_.ops.push_back({HF_MATRIX_CLEAR, out, 0, 0, -1});
  for (hf_matrix_op& op : adds) {
    op.out = out;
    program_.ops.push_back(op);
  }
  return out;
}

// The number of the nonlinear loop whose matrix is a sum of words.
int32_t Compiler::LoopOf(const WordSum& sum) {
  Loop& loop = loops_.at(sum);
  if (loop.number >= 0) return loop.number;
  int32_t matrix = -1;
  if (sum.size() == 1) {
    const int32_t operand = Operand(sum.front());
    if (operand % 2 == 0 && operand / 2 >= inputs()) matrix = operand / 2 - inputs();
  }
  if (matrix < 0) matrix = EmitSum(loop.tree);
  loop.number = static_cast<int32_t>(program_.loops.size());
  program_.loops.push_back(matrix);
  return loop.number;
}

void Compiler::AddNonlinear(const LoopTerm& term) {
  if (term.joined) {
    program_.twins.push_back(
        {term.loop_class, LoopOf(Spell(term.active[0].rests)), LoopOf(Spell(term.active[1].rests))});
    return;
  }
  hf_loop_monomial monomial{};
  monomial.coefficient = term.loop_class;
  monomial.scalar = term.frozen.has_value() ? ScalarOf(*term.frozen) : -1;
  monomial.loops = static_cast<int32_t>(term.active.size());
  for (int32_t i = 0; i < monomial.loops; ++i) {
    monomial.loop[i] = 2 * LoopOf(Spell(term.active[i].rests)) + (term.active[i].conjugate ? 1 : 0);
  }
  program_.monomials.push_back(monomial);
}

absl::StatusOr<LinkProgram> Compiler::Compile(const std::vector<LoopTerm>& terms) {
  CollectInputs(terms);
  GroupTerms(terms);
  BuildTrees();
  words_.ShareProducts(products_from());
  matrix_of_product_.assign(words_.products(), -1);
  // Loops of monomials come before those that only twins need.
  std::stable_partition(nonlinear_.begin(), nonlinear_.end(), [](const LoopTerm& t) { return !t.joined; });
  for (const LoopTerm& term : nonlinear_) AddNonlinear(term);
  if (program_.loops.size() > kMaxLoops || program_.monomials.size() > kMaxMonomials ||
      program_.twins.size() > kMaxTwins) {
    return absl::FailedPreconditionError(absl::StrCat("the classes of products give a link ", program_.loops.size(),
                                                      " loops, ", program_.monomials.size(), " monomials and ",
                                                      program_.twins.size(), " joined loops; at most ", kMaxLoops, ", ",
                                                      kMaxMonomials, " and ", kMaxTwins));
  }
  AddPairs(&program_);
  program_.linear = EmitSum(linear_tree_);
  // Continues the sum.
  for (const auto& [loop_class, sum] : linear_loops_) {
    program_.ops.push_back(
        {HF_MATRIX_ADD, program_.linear, 2 * (inputs() + program_.loops[LoopOf(sum)]), 0, loop_class});
  }
  AssignSlots(matrices_, &program_);
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
          monomials.data(),
          paired,
          static_cast<int32_t>(pairs.size()),
          pairs.data(),
          static_cast<int32_t>(pair_terms.size()),
          pair_terms.data(),
          static_cast<int32_t>(twins.size()),
          twins.data()};
}

absl::StatusOr<LinkProgram> CompileLinkProgram(const std::vector<LoopTerm>& terms, const StaplesOf& staples_of) {
  ASSIGN_OR_RETURN(LinkProgram program, Compiler(staples_of, true).Compile(terms));
  ASSIGN_OR_RETURN(LinkProgram plain, Compiler(staples_of, false).Compile(terms));
  return program.products() < plain.products() ? std::move(program) : std::move(plain);
}

}  // namespace haarflow
