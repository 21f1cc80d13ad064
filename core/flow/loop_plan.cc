#include "core/flow/loop_plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/action/target.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr uint32_t kMaxSweeps = 64;
constexpr int kMaxClasses = 64;
constexpr uint32_t kMaxTimeModes = 16;
using LoopClasses = google::protobuf::RepeatedPtrField<v1::LoopClass>;
constexpr int64_t kMaxVolume = int64_t{1} << 20;

v1::LinkMaskFamily FamilyOf(const v1::LoopFlow& flow, int dims) {
  if (flow.masks() != v1::LINK_MASK_FAMILY_UNSPECIFIED) return flow.masks();
  return dims == 2 ? v1::LINK_MASK_FAMILY_STAGGERED_ROWS : v1::LINK_MASK_FAMILY_TRANSVERSE_PARITY;
}

int64_t CoordinateOf(const Lattice& lattice, int64_t site, int mu) {
  return lattice.Coordinate(site, lattice.AxisOf(mu));
}

// All links of a direction, for every direction: continuous flows.
std::vector<LinkMaskSites> AllLinks(const Lattice& lattice) {
  std::vector<LinkMaskSites> masks(lattice.dims());
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    masks[mu].mu = mu;
    for (int64_t site = 0; site < lattice.volume(); ++site) masks[mu].sites.push_back(site);
  }
  return masks;
}

// The program of a mask's links, all of which see it alike.
absl::StatusOr<LinkProgram> ProgramOf(const LoopClasses& classes, const LoopFlowPlan& plan, const LinkMaskSites& mask) {
  std::vector<bool> active(plan.lattice.links(), false);
  for (int64_t site : mask.sites) active[plan.lattice.Link(mask.mu, site)] = !plan.is_continuous();
  std::vector<LoopTerm> terms;
  for (int k = 0; k < classes.size(); ++k) {
    ASSIGN_OR_RETURN(std::vector<LoopTerm> of_class,
                     LoopTermsAt(classes[k], k, plan.lattice, mask.mu, mask.sites.front(), plan.colours == 2,
                                 [&](int64_t link) { return active[link]; }));
    std::move(of_class.begin(), of_class.end(), std::back_inserter(terms));
  }
  const auto is_frozen = [&](const RelativeStep& step) {
    const int64_t link = plan.lattice.Link(step.mu, SiteAt(plan.lattice, mask.sites.front(), step.at));
    return !active[link] && link != plan.lattice.Link(mask.mu, mask.sites.front());
  };
  return CompileLinkProgram(terms, [&](const RelativeStep& link) {
    std::vector<RelativePath> staples = StaplesAround(link, plan.lattice.dims());
    std::erase_if(staples, [&](const RelativePath& path) { return !std::all_of(path.begin(), path.end(), is_frozen); });
    return staples;
  });
}

absl::Status CheckVolume(const Lattice& lattice) {
  if (lattice.volume() <= kMaxVolume) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a lattice of ", lattice.ToString(), " has ", lattice.volume(),
                                                 " sites; loop flows have tables for at most ", kMaxVolume));
}

// Of the classes, and of the lattice that they are taken on.
absl::Status CheckClasses(const LoopClasses& classes, const Lattice& lattice, uint32_t colours,
                          const std::string& path) {
  if (classes.empty() || classes.size() > kMaxClasses) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".classes: there are ", classes.size(), "; 1..", kMaxClasses));
  }
  RETURN_IF_ERROR(CheckVolume(lattice));
  for (int k = 0; k < classes.size(); ++k) {
    RETURN_IF_ERROR(CheckLoopClass(classes[k], lattice.dims(), absl::StrCat(path, ".classes[", k, "]")));
    if (classes[k].joined() && colours == 2) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ".classes[", k, "].joined: SU(2) needs no joined loops, tr AB is tr A tr B - tr AB^+ there"));
    }
  }
  return absl::OkStatus();
}

void AppendLoops(const Lattice& lattice, int64_t width, int64_t height, std::vector<int32_t>* begin,
                 std::vector<int32_t>* links) {
  if (begin->empty()) begin->push_back(0);
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int nu = width == height ? mu + 1 : 0; nu < lattice.dims(); ++nu) {
      if (nu == mu) continue;
      for (int64_t site = 0; site < lattice.volume(); ++site) {
        for (const PathStep& step : Rectangle(lattice, site, mu, nu, width, height)) {
          links->push_back(static_cast<int32_t>(2 * step.link + (step.sign < 0 ? 1 : 0)));
        }
        begin->push_back(static_cast<int32_t>(links->size()));
      }
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<LinkMaskSites>> LinkMasks(const Lattice& lattice, v1::LinkMaskFamily family) {
  const int dims = lattice.dims();
  std::vector<LinkMaskSites> masks;
  const auto add = [&](int mu, const auto& contains) {
    LinkMaskSites& mask = masks.emplace_back();
    mask.mu = mu;
    for (int64_t site = 0; site < lattice.volume(); ++site) {
      if (contains(site)) mask.sites.push_back(site);
    }
  };
  if (family == v1::LINK_MASK_FAMILY_STAGGERED_ROWS) {
    for (int mu = 0; mu < dims; ++mu) {
      if (lattice.extent(mu) % 4 == 0) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("staggered rows need extents that 4 divides, not ", lattice.ToString()));
    }
    for (int mu = 0; mu < dims; ++mu) {
      for (int row = 0; row < 1 << (dims - 1); ++row) {
        for (int parity = 0; parity < 2; ++parity) {
          add(mu, [&](int64_t site) {
            int64_t shift = 0;
            for (int nu = 0, bit = 0; nu < dims; ++nu) {
              if (nu == mu) continue;
              const int64_t across = CoordinateOf(lattice, site, nu);
              if (across % 2 != (row >> bit++ & 1)) return false;
              shift += across / 2;
            }
            return (CoordinateOf(lattice, site, mu) + shift) % 2 == parity;
          });
        }
      }
    }
    return masks;
  }
  if (getenv("HF32") != nullptr) {
    for (int mu = 0; mu < dims; ++mu) {
      for (int own = 0; own < 2; ++own) {
        for (int row = 0; row < 4; ++row) {
          add(mu, [&](int64_t site) {
            int v = 0;
            for (int nu = 0, bit = 0; nu < dims; ++nu) {
              if (nu == mu) continue;
              v |= (CoordinateOf(lattice, site, nu) % 2) << bit++;
            }
            return CoordinateOf(lattice, site, mu) % 2 == own && (v == row || v == 7 - row);
          });
        }
      }
    }
    return masks;
  }
  for (int mu = 0; mu < dims; ++mu) {
    if (lattice.extent(mu) % 2 != 0) {
      return absl::InvalidArgumentError(absl::StrCat("masks by parity need even extents, not ", lattice.ToString()));
    }
  }
  for (int mu = 0; mu < dims; ++mu) {
    for (int own = 0; own < 2; ++own) {
      for (int others = 0; others < 2; ++others) {
        add(mu, [&](int64_t site) {
          int64_t sum = 0;
          for (int nu = 0; nu < dims; ++nu) sum += nu == mu ? 0 : CoordinateOf(lattice, site, nu);
          return CoordinateOf(lattice, site, mu) % 2 == own && sum % 2 == others;
        });
      }
    }
  }
  return masks;
}

absl::Status CheckLoopFlow(const v1::LoopFlow& flow, const v1::Target& target, const std::string& path) {
  if (!target.has_sun_wilson()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is for SU(N) links, not for ", DescribeTheory(target)));
  }
  if (flow.sweeps() < 1 || flow.sweeps() > kMaxSweeps) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".sweeps is ", flow.sweeps(), "; 1..", kMaxSweeps));
  }
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  RETURN_IF_ERROR(CheckClasses(flow.classes(), lattice, target.sun_wilson().colours(), path));
  const auto masks = LinkMasks(lattice, FamilyOf(flow, lattice.dims()));
  if (!masks.ok()) return absl::InvalidArgumentError(absl::StrCat(path, ".masks: ", masks.status().message()));
  return absl::OkStatus();
}

absl::Status CheckContinuousLoopFlow(const v1::ContinuousLoopFlow& flow, const v1::Target& target,
                                     const std::string& path) {
  if (!target.has_sun_wilson()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is for SU(N) links, not for ", DescribeTheory(target)));
  }
  if (flow.time_modes() < 1 || flow.time_modes() > kMaxTimeModes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ".time_modes is ", flow.time_modes(), "; 1..", kMaxTimeModes));
  }
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  return CheckClasses(flow.classes(), lattice, target.sun_wilson().colours(), path);
}

v1::Target LoopPhaseTarget(const v1::ModelSpec& spec, const v1::TrainingPhase& phase) {
  v1::Target target = spec.target();
  const auto change = [&](const auto& settings) {
    if (settings.shape_size() > 0) *target.mutable_lattice()->mutable_shape() = settings.shape();
    if (settings.beta() != 0) target.mutable_sun_wilson()->set_beta(settings.beta());
  };
  phase.has_gauss_newton() ? change(phase.gauss_newton()) : change(phase.trivialising_regression());
  return target;
}

absl::StatusOr<LoopFlowPlan> PlanLoopFlow(const v1::ModelSpec& spec, const v1::Target& target, int sweeps) {
  ASSIGN_OR_RETURN(Lattice lattice, LatticeOf(target));
  RETURN_IF_ERROR(CheckVolume(lattice));
  static const v1::Layer kNone;  // the Haar measure
  const v1::Layer& layer = spec.layers_size() == 0 ? kNone : spec.layers(0);
  const v1::LoopFlow& flow = layer.loop_flow();
  const bool continuous = layer.has_continuous_loop_flow();
  const LoopClasses& classes = continuous ? layer.continuous_loop_flow().classes() : flow.classes();
  LoopFlowPlan plan{.name = "layers.0", .lattice = std::move(lattice)};
  plan.colours = static_cast<int>(spec.target().sun_wilson().colours());
  plan.sweeps = continuous ? 1 : sweeps > 0 ? sweeps : static_cast<int>(flow.sweeps());
  plan.time_modes = static_cast<int>(layer.continuous_loop_flow().time_modes());
  plan.per_mask = flow.per_mask();
  for (const auto& c : classes) {
    plan.class_scale.push_back(std::pow(plan.colours, c.joined() ? -1 : -c.loops_size()));
    plan.is_plaquette.push_back(c.loops_size() == 1 && c.loops(0).steps_size() == 4);
  }
  if (plan.sweeps == 0) return plan;
  std::vector<LinkMaskSites> masks = AllLinks(plan.lattice);
  if (!continuous) {
    ASSIGN_OR_RETURN(masks, LinkMasks(plan.lattice, FamilyOf(flow, plan.lattice.dims())));
  }
  plan.masks = static_cast<int>(masks.size());
  for (int m = 0; m < plan.masks; ++m) {
    // Masks of one direction are translates of each other.
    if (m == 0 || masks[m].mu != masks[m - 1].mu) {
      ASSIGN_OR_RETURN(LinkProgram program, ProgramOf(classes, plan, masks[m]));
      plan.programs.push_back(std::move(program));
    }
    LoopStepPlan& step = plan.steps.emplace_back();
    step.program = static_cast<int32_t>(plan.programs.size()) - 1;
    for (int64_t site : masks[m].sites) {
      step.links.push_back(static_cast<int32_t>(plan.lattice.Link(masks[m].mu, site)));
      for (const RelativeStep& input : plan.programs.back().inputs) {
        step.inputs.push_back(static_cast<int32_t>(plan.lattice.Link(input.mu, SiteAt(plan.lattice, site, input.at))));
      }
    }
  }
  plan.layout.Add(plan.name + ".coefficients", {plan.rows(), plan.classes()}, true);
  return plan;
}

LoopFlowTables::LoopFlowTables(const LoopFlowPlan& plan, int32_t integration_steps) : plan_(plan) {
  for (const LinkProgram& program : plan.programs) programs_.push_back(program.View());
  for (const LoopStepPlan& step : plan.steps) {
    steps_.push_back({step.program, static_cast<int32_t>(step.links.size()), step.links.data(), step.inputs.data()});
  }
  const auto steps = static_cast<int32_t>(steps_.size());
  for (int32_t sweep = 0; sweep < plan.sweeps; ++sweep) {
    for (int32_t i = 0; i < steps; ++i) {
      const int32_t s = sweep % 2 == 0 ? i : steps - 1 - i;
      passes_.push_back({s, plan.per_mask ? sweep * plan.masks + s : sweep});
    }
  }
  int32_t rows = plan.rows();
  if (plan.is_continuous()) {
    mixing_ = TimeModes(integration_steps, plan.time_modes);
    rows = 2 * integration_steps + 1;
  }
  coefficients_.assign(static_cast<size_t>(rows) * plan.classes(), 0.0);
  AppendLoops(plan.lattice, 1, 1, &plaquette_begin_, &plaquette_links_);
  AppendLoops(plan.lattice, 2, 1, &rectangle_begin_, &rectangle_links_);
  flow_ = {plan.colours,
           static_cast<int32_t>(plan.lattice.links()),
           static_cast<int32_t>(programs_.size()),
           programs_.data(),
           steps,
           steps_.data(),
           static_cast<int32_t>(passes_.size()),
           passes_.data(),
           rows,
           plan.classes(),
           coefficients_.data(),
           {static_cast<int32_t>(plaquette_begin_.size()) - 1, plaquette_begin_.data(), plaquette_links_.data()},
           {static_cast<int32_t>(rectangle_begin_.size()) - 1, rectangle_begin_.data(), rectangle_links_.data()},
           plan.is_continuous() ? integration_steps : 0};
}

std::vector<double> LoopFlowPlan::InitialValues(double beta) const {
  // c = beta / (4 C_F) of Re tr P / N in all (arXiv:0907.5491), C_F = (N^2 - 1) / 2 N.
  const double casimir = (colours * colours - 1.0) / (2.0 * colours);
  std::vector<double> values(layout.size(), 0.0);
  for (int k = 0; k < classes(); ++k) {
    if (!is_plaquette[k]) continue;
    const int filled = is_continuous() ? 1 : rows();
    for (int r = 0; r < filled; ++r) values[r * classes() + k] = beta / (4 * casimir) / sweeps;
    break;
  }
  return values;
}

std::vector<double> LoopFlowPlan::SumSweeps(absl::Span<const double> parameters, int fewer) const {
  const int per_sweep = sweeps == 0 ? 0 : rows() / sweeps * classes(), group = sweeps / fewer;
  std::vector<double> sum(static_cast<size_t>(fewer) * per_sweep, 0.0);
  for (int s = 0; s < sweeps; ++s) {
    for (int i = 0; i < per_sweep; ++i) sum[s / group * per_sweep + i] += parameters[s * per_sweep + i];
  }
  return sum;
}

void LoopFlowPlan::AddToSweeps(absl::Span<const double> change, int fewer, std::vector<double>* parameters) const {
  const int per_sweep = sweeps == 0 ? 0 : rows() / sweeps * classes(), group = sweeps / fewer;
  for (int s = 0; s < sweeps; ++s) {
    for (int i = 0; i < per_sweep; ++i) {
      (*parameters)[s * per_sweep + i] += change[s / group * per_sweep + i] / group;
    }
  }
}

void LoopFlowTables::Set(absl::Span<const double> parameters) {
  const int classes = plan_.classes(), modes = plan_.rows();
  for (size_t i = 0; i < coefficients_.size(); ++i) {
    const size_t k = i % classes, row = i / classes;
    double c = 0;
    if (mixing_.empty()) {
      c = parameters[i];
    } else {
      for (int m = 0; m < modes; ++m) c += mixing_[row * modes + m] * parameters[m * classes + k];
    }
    coefficients_[i] = c * plan_.class_scale[k];
  }
}

void LoopFlowTables::ToParameters(const double* gradient, int64_t stride, double* out) const {
  const int classes = plan_.classes(), modes = plan_.rows();
  std::fill_n(out, modes * classes, 0.0);
  for (size_t i = 0; i < coefficients_.size(); ++i) {
    const size_t k = i % classes, row = i / classes;
    const double g = plan_.class_scale[k] * gradient[static_cast<int64_t>(i) * stride];
    if (mixing_.empty()) {
      out[i] = g;
    } else {
      for (int m = 0; m < modes; ++m) out[m * classes + k] += mixing_[row * modes + m] * g;
    }
  }
}

}  // namespace haarflow
