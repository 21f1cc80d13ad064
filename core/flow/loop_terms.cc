#include "core/flow/loop_terms.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

// A rotation or reflection: direction mu goes to sign[mu] x direction to[mu].
struct Symmetry {
  std::array<int, 4> to = {};
  std::array<int, 4> sign = {};
};

std::vector<Symmetry> Symmetries(int dims) {
  std::vector<int> order(dims);
  std::iota(order.begin(), order.end(), 0);
  std::vector<Symmetry> all;
  do {
    for (int bits = 0; bits < 1 << dims; ++bits) {
      Symmetry s;
      for (int mu = 0; mu < dims; ++mu) {
        s.to[mu] = order[mu];
        s.sign[mu] = bits >> mu & 1 ? -1 : 1;
      }
      all.push_back(s);
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return all;
}

// Steps +-(mu + 1) and a starting point.
struct Walk {
  std::array<int16_t, 4> start = {};
  std::vector<int> steps;
  bool conjugate = false;
  std::vector<bool> may_be_active;  // [steps]
  std::vector<bool> fat;            // [steps]
};

Walk Image(const v1::ClosedLoop& loop, const Symmetry& s, bool any_step) {
  Walk walk;
  walk.may_be_active.assign(loop.steps_size(), any_step);
  for (uint32_t step : loop.active_steps()) walk.may_be_active[step] = true;
  walk.fat.assign(loop.steps_size(), false);
  for (uint32_t step : loop.fat_steps()) {
    walk.fat[step] = true;
    walk.may_be_active[step] = false;
  }
  for (int mu = 0; mu < loop.start_size(); ++mu) {
    walk.start[s.to[mu]] = static_cast<int16_t>(s.sign[mu] * loop.start(mu));
  }
  for (int step : loop.steps()) {
    const int mu = std::abs(step) - 1;
    walk.steps.push_back((step > 0 ? 1 : -1) * s.sign[mu] * (s.to[mu] + 1));
  }
  walk.conjugate = loop.conjugate();
  return walk;
}

RelativePath Links(const Walk& walk, const std::array<int16_t, 4>& origin) {
  RelativePath path;
  std::array<int16_t, 4> at = walk.start;
  for (int mu = 0; mu < 4; ++mu) at[mu] = static_cast<int16_t>(at[mu] - origin[mu]);
  for (size_t i = 0; i < walk.steps.size(); ++i) {
    const int step = walk.steps[i], mu = std::abs(step) - 1;
    if (step < 0) --at[mu];
    path.push_back({at, static_cast<int8_t>(mu), step < 0, walk.fat[i]});
    if (step > 0) ++at[mu];
  }
  return path;
}

struct Factor {
  RelativePath loop;
  bool conjugate = false;
  friend auto operator<=>(const Factor&, const Factor&) = default;
};

// The smallest of all rotations of the loop and of its adjoint: a name of the loop as a set of links.
Factor Canonical(Factor factor) {
  Factor best = factor;
  for (int reverse = 0; reverse < 2; ++reverse) {
    Factor f = factor;
    if (reverse == 1) {
      f.loop = AdjointPath(f.loop);
      f.conjugate = !f.conjugate;
    }
    for (size_t i = 0; i < f.loop.size(); ++i) {
      std::rotate(f.loop.begin(), f.loop.begin() + 1, f.loop.end());
      if (f.loop < best.loop) best = f;
    }
  }
  return best;
}

using Product = std::vector<Factor>;

// Re of a product is Re of its conjugate.
Product Canonical(Product product, bool real_traces) {
  for (Factor& f : product) {
    f = Canonical(std::move(f));
    if (real_traces) f.conjugate = false;
  }
  std::sort(product.begin(), product.end());
  Product conjugate = product;
  for (Factor& f : conjugate) f.conjugate = !real_traces && !f.conjugate;
  std::sort(conjugate.begin(), conjugate.end());
  return std::min(product, conjugate);
}

}  // namespace

RelativePath AdjointPath(const RelativePath& path) {
  RelativePath adjoint(path.rbegin(), path.rend());
  for (RelativeStep& step : adjoint) step.backward = !step.backward;
  return adjoint;
}

std::vector<RelativePath> StaplesAround(const RelativeStep& link, int dims) {
  std::vector<RelativePath> staples;
  const auto mu = static_cast<size_t>(link.mu);
  for (int8_t nu = 0; nu < dims; ++nu) {
    if (nu == link.mu) continue;
    auto ahead = link.at, above = link.at, below = link.at;
    ++ahead[mu];
    ++above[nu];
    --below[nu];
    auto below_ahead = below;
    ++below_ahead[mu];
    staples.push_back({{link.at, nu, false}, {above, link.mu, false}, {ahead, nu, true}});
    staples.push_back({{below, nu, true}, {below, link.mu, false}, {below_ahead, nu, false}});
  }
  return staples;
}

int64_t SiteAt(const Lattice& lattice, int64_t site, const std::array<int16_t, 4>& displacement) {
  for (int mu = 0; mu < lattice.dims(); ++mu) site = lattice.Shift(site, mu, displacement[mu]);
  return site;
}

absl::Status CheckLoopClass(const v1::LoopClass& loop_class, int dims, const std::string& path) {
  if (loop_class.loops_size() < 1 || loop_class.loops_size() > 3) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", loop_class.loops_size(), " loops; one to three"));
  }
  if (loop_class.joined() && (!loop_class.independent() || loop_class.loops_size() != 2)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".joined is for two independent loops"));
  }
  for (int l = 0; l < loop_class.loops_size(); ++l) {
    const v1::ClosedLoop& loop = loop_class.loops(l);
    if (loop_class.joined() && loop.conjugate()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ".loops[", l, "].conjugate: joined loops have one trace"));
    }
    if (loop_class.independent() && loop.start_size() != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ".loops[", l, "].start means nothing in an independent loop"));
    }
    const std::string at = absl::StrCat(path, ".loops[", l, "]");
    if (loop.steps_size() < 4 || loop.steps_size() > 32) {
      return absl::InvalidArgumentError(absl::StrCat(at, " has ", loop.steps_size(), " steps; 4..32"));
    }
    std::array<int, 4> sum = {};
    for (int step : loop.steps()) {
      if (step == 0 || std::abs(step) > dims) {
        return absl::InvalidArgumentError(
            absl::StrCat(at, " has a step ", step, "; steps are +-1 .. +-", dims, ", 1 is x"));
      }
      sum[std::abs(step) - 1] += step > 0 ? 1 : -1;
    }
    if (sum != std::array<int, 4>{}) return absl::InvalidArgumentError(absl::StrCat(at, " is not closed"));
    if (loop.start_size() != 0 && loop.start_size() != dims) {
      return absl::InvalidArgumentError(
          absl::StrCat(at, ".start has ", loop.start_size(), " numbers; none or ", dims, ", x first"));
    }
    for (uint32_t step : loop.active_steps()) {
      if (step < static_cast<uint32_t>(loop.steps_size())) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(at, ".active_steps: there is no step ", step, "; 0..", loop.steps_size() - 1));
    }
    for (uint32_t step : loop.fat_steps()) {
      if (step < static_cast<uint32_t>(loop.steps_size()) &&
          std::find(loop.active_steps().begin(), loop.active_steps().end(), step) == loop.active_steps().end()) {
        continue;
      }
      return absl::InvalidArgumentError(
          absl::StrCat(at, ".fat_steps: ", step, " is no step, 0..", loop.steps_size() - 1, ", or an active one"));
    }
    for (int start : loop.start()) {
      if (std::abs(start) > 16) return absl::InvalidArgumentError(absl::StrCat(at, ".start is beyond +-16"));
    }
  }
  return absl::OkStatus();
}

namespace {

// How a loop meets the links of a mask.
struct Passage {
  size_t passes = 0;  // of the link itself
  size_t where = 0;   // the last of them
  bool meets_another = false;
};

// What a term is to be for.
struct ActiveLink {
  const Lattice& lattice;
  int mu;
  int64_t site;
  const std::function<bool(int64_t link)>& is_active;

  Passage Of(const RelativePath& loop) const {
    Passage passage;
    for (size_t i = 0; i < loop.size(); ++i) {
      if (loop[i].fat) continue;
      const int64_t link = lattice.Link(loop[i].mu, SiteAt(lattice, site, loop[i].at));
      if (link == lattice.Link(mu, site)) {
        ++passage.passes;
        passage.where = i;
      } else if (is_active(link)) {
        passage.meets_another = true;
      }
    }
    return passage;
  }
};

// The loop without its step `where`, so that it follows the link forwards; whether the loop is turned round for that.
std::pair<RelativePath, bool> RestOf(RelativePath loop, size_t where) {
  std::rotate(loop.begin(), loop.begin() + static_cast<int64_t>(where), loop.end());
  const bool turned = loop.front().backward;
  if (turned) {
    loop = AdjointPath(loop);
    std::rotate(loop.begin(), loop.end() - 1, loop.end());
  }
  loop.erase(loop.begin());
  return {std::move(loop), turned};
}

// Displaced images of the walks, so that one of their steps that may be active is the link.
template <class Visit>
void ForEachImage(const std::vector<Walk>& walks, int mu, Visit visit) {
  for (const Walk& through : walks) {
    const RelativePath path = Links(through, {});
    for (size_t k = 0; k < path.size(); ++k) {
      if (path[k].mu == mu && through.may_be_active[k]) visit(path[k].at);
    }
  }
}

// The one term of a class of independent loops; without loops where none of a loop's images is allowed.
LoopTerm IndependentTerm(const v1::LoopClass& loop_class, const ActiveLink& link, bool real_traces) {
  LoopTerm term;
  term.joined = loop_class.joined();
  for (const auto& loop : loop_class.loops()) {
    std::set<RelativePath> rests;
    for (const Symmetry& symmetry : Symmetries(link.lattice.dims())) {
      const Walk walk = Image(loop, symmetry, loop.active_steps_size() == 0);
      ForEachImage({walk}, link.mu, [&](const std::array<int16_t, 4>& at) {
        RelativePath path = Links(walk, at);
        const Passage passage = link.Of(path);
        if (passage.passes != 1 || passage.meets_another) return;
        rests.insert(RestOf(std::move(path), passage.where).first);
      });
    }
    if (rests.empty()) return {};
    term.active.push_back({{rests.begin(), rests.end()}, !real_traces && loop.conjugate()});
  }
  if (term.active.front().conjugate) {
    for (auto& active : term.active) active.conjugate = !active.conjugate;
  }
  return term;
}

}  // namespace

absl::StatusOr<std::vector<LoopTerm>> LoopTermsAt(const v1::LoopClass& loop_class, int class_index,
                                                  const Lattice& lattice, int mu, int64_t site, bool real_traces,
                                                  const std::function<bool(int64_t link)>& is_active) {
  const ActiveLink active_link{lattice, mu, site, is_active};
  if (loop_class.independent()) {
    LoopTerm term = IndependentTerm(loop_class, active_link, real_traces);
    term.loop_class = class_index;
    if (term.active.empty()) return std::vector<LoopTerm>();
    return std::vector<LoopTerm>{std::move(term)};
  }
  const bool any_step = std::all_of(loop_class.loops().begin(), loop_class.loops().end(),
                                    [](const v1::ClosedLoop& loop) { return loop.active_steps_size() == 0; });
  std::set<Product> images;
  for (const Symmetry& symmetry : Symmetries(lattice.dims())) {
    std::vector<Walk> walks;
    for (const auto& loop : loop_class.loops()) walks.push_back(Image(loop, symmetry, any_step));
    ForEachImage(walks, mu, [&](const std::array<int16_t, 4>& at) {
      Product product;
      for (const Walk& walk : walks) product.push_back({Links(walk, at), walk.conjugate});
      images.insert(Canonical(std::move(product), real_traces));
    });
  }
  std::vector<LoopTerm> terms;
  for (const Product& product : images) {
    LoopTerm term;
    term.loop_class = class_index;
    bool allowed = true;
    for (const Factor& factor : product) {
      const Passage passage = active_link.Of(factor.loop);
      allowed = passage.passes <= 1 && !passage.meets_another;
      if (!allowed) break;
      if (passage.passes == 0) {
        if (term.frozen.has_value()) {
          return absl::FailedPreconditionError(
              absl::StrCat("loop class '", loop_class.name(), "' has terms with two loops that do not pass the link"));
        }
        term.frozen = {factor.loop, factor.conjugate};
        continue;
      }
      auto [rest, turned] = RestOf(factor.loop, passage.where);
      term.active.push_back({{std::move(rest)}, !real_traces && factor.conjugate != turned});
    }
    if (!allowed || term.active.empty()) continue;
    // Shorter loops first; the first one not conjugated.
    std::sort(term.active.begin(), term.active.end(), [](const LoopTerm::Active& a, const LoopTerm::Active& b) {
      return std::make_pair(a.rests[0].size(), a) < std::make_pair(b.rests[0].size(), b);
    });
    if (term.active.front().conjugate) {
      for (auto& active : term.active) active.conjugate = !active.conjugate;
      if (term.frozen.has_value()) term.frozen->conjugate = !term.frozen->conjugate;
    }
    terms.push_back(std::move(term));
  }
  return terms;
}

}  // namespace haarflow
