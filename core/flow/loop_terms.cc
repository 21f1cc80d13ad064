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
};

Walk Image(const v1::ClosedLoop& loop, const Symmetry& s, bool any_step) {
  Walk walk;
  walk.may_be_active.assign(loop.steps_size(), any_step);
  for (uint32_t step : loop.active_steps()) walk.may_be_active[step] = true;
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
  for (int step : walk.steps) {
    const int mu = std::abs(step) - 1;
    if (step < 0) --at[mu];
    path.push_back({at, static_cast<int8_t>(mu), step < 0});
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

int64_t SiteAt(const Lattice& lattice, int64_t site, const std::array<int16_t, 4>& displacement) {
  for (int mu = 0; mu < lattice.dims(); ++mu) site = lattice.Shift(site, mu, displacement[mu]);
  return site;
}

absl::Status CheckLoopClass(const v1::LoopClass& loop_class, int dims, const std::string& path) {
  if (loop_class.loops_size() < 1 || loop_class.loops_size() > 3) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", loop_class.loops_size(), " loops; one to three"));
  }
  for (int l = 0; l < loop_class.loops_size(); ++l) {
    const v1::ClosedLoop& loop = loop_class.loops(l);
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
    for (int start : loop.start()) {
      if (std::abs(start) > 16) return absl::InvalidArgumentError(absl::StrCat(at, ".start is beyond +-16"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LoopTerm>> LoopTermsAt(const v1::LoopClass& loop_class, int class_index,
                                                  const Lattice& lattice, int mu, int64_t site, bool real_traces,
                                                  const std::function<bool(int64_t link)>& is_active) {
  const bool any_step = std::all_of(loop_class.loops().begin(), loop_class.loops().end(),
                                    [](const v1::ClosedLoop& loop) { return loop.active_steps_size() == 0; });
  std::set<Product> images;
  for (const Symmetry& symmetry : Symmetries(lattice.dims())) {
    std::vector<Walk> walks;
    for (const auto& loop : loop_class.loops()) walks.push_back(Image(loop, symmetry, any_step));
    for (const Walk& through : walks) {
      const RelativePath path = Links(through, {});
      for (size_t k = 0; k < path.size(); ++k) {
        const RelativeStep& step = path[k];
        if (step.mu != mu || !through.may_be_active[k]) continue;
        Product product;
        for (const Walk& walk : walks) product.push_back({Links(walk, step.at), walk.conjugate});
        images.insert(Canonical(std::move(product), real_traces));
      }
    }
  }
  const int64_t own = lattice.Link(mu, site);
  std::vector<LoopTerm> terms;
  for (const Product& product : images) {
    LoopTerm term;
    term.loop_class = class_index;
    bool allowed = true;
    for (const Factor& factor : product) {
      size_t passes = 0, where = 0;
      for (size_t i = 0; i < factor.loop.size(); ++i) {
        const RelativeStep& step = factor.loop[i];
        const int64_t link = lattice.Link(step.mu, SiteAt(lattice, site, step.at));
        if (link == own) {
          ++passes;
          where = i;
        } else if (is_active(link)) {
          allowed = false;
        }
      }
      if (passes > 1) allowed = false;
      if (!allowed) break;
      if (passes == 0) {
        if (term.frozen.has_value()) {
          return absl::FailedPreconditionError(
              absl::StrCat("loop class '", loop_class.name(), "' has terms with two loops that do not pass the link"));
        }
        term.frozen = {factor.loop, factor.conjugate};
        continue;
      }
      LoopTerm::Active active{factor.loop, factor.conjugate};
      std::rotate(active.rest.begin(), active.rest.begin() + static_cast<int64_t>(where), active.rest.end());
      if (active.rest.front().backward) {
        active.rest = AdjointPath(active.rest);
        std::rotate(active.rest.begin(), active.rest.end() - 1, active.rest.end());
        active.conjugate = !real_traces && !active.conjugate;
      }
      active.rest.erase(active.rest.begin());
      term.active.push_back(std::move(active));
    }
    if (!allowed || term.active.empty()) continue;
    // Shorter loops first; the first one not conjugated.
    std::sort(term.active.begin(), term.active.end(), [](const LoopTerm::Active& a, const LoopTerm::Active& b) {
      return std::make_pair(a.rest.size(), a) < std::make_pair(b.rest.size(), b);
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
