#include "core/io/run_attributes.h"

#include <algorithm>
#include <ctime>

#include "absl/strings/str_join.h"
#include "core/action/phi4.h"
#include "core/action/target.h"
#include "core/action/u1_plaquette.h"
#include "core/base/digest.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr char kLinksText[] =
    "U(1) links are angles theta in [-pi, pi), little-endian IEEE 754. Axes [n, mu, ..., y, x]; direction mu = 0 is x "
    "and shifts the last axis, mu = 1 is y, and so on. Plaquette theta_P = theta_mu(x) + theta_nu(x + mu) - "
    "theta_mu(x + nu) - theta_nu(x). ";
constexpr char kLinksDensityText[] =
    " log_q is the density of the flow with respect to the Haar measure dtheta / 2 pi; ";
constexpr char kSunText[] =
    "SU(N) links are matrices, complex numbers of two little-endian IEEE 754 (real part, imaginary part). Axes [n, mu, "
    "..., y, x, row, column]; direction mu = 0 is x and shifts the last lattice axis, mu = 1 is y, and so on. "
    "Plaquette "
    "P = U_mu(x) U_nu(x + mu) U_mu(x + nu)^+ U_nu(x)^+. S = -(beta/N) [(1 - 8 rectangle) sum_P Re Tr P + rectangle "
    "sum_R Re Tr R], R the 1x2 and 2x1 rectangles. log_q is the density of the flow with respect to the Haar measure "
    "of "
    "volume 1; ";
constexpr char kSingleText[] =
    "One SU(N) matrix U, complex: pairs of little-endian IEEE 754 numbers, real and imaginary part. Axes [n, row, "
    "column]. S = -(beta/N) sum_{k = 1..3} c_k Re Tr U^k. log_q is the density of the flow with respect to the Haar "
    "measure of volume 1; ";
constexpr char kScalarText[] =
    "Real scalars phi, little-endian IEEE 754. Axes [n, ..., y, x], of a field of two components [n, component, ..., "
    "y, x]; x is the last axis, time the first of the lattice; periodic. phi^2 is the sum over components. S = sum_x [ "
    "-hop sum_mu phi_x phi_{x+mu} + quadratic phi_x^2 + quartic (phi_x^2)^2 ] with the attributes hop, quadratic, "
    "quartic. log_q is the density of the flow with respect to the Lebesgue measure; ";
constexpr char kWeightText[] =
    "log_weight = -action - log_q. METROPOLIS: row i stands for multiplicity[i] successive chain steps. REWEIGHTED: "
    "rows "
    "are independent, each with weight exp(log_weight).";

constexpr char kForeignText[] =
    "these fields were read from a file of another program: log_weight, log_q and action are not known (NaN).";

std::string ConventionText(const v1::Target& target) {
  if (target.has_sun_wilson()) return kSunText;
  if (target.has_sun_matrix()) return kSingleText;
  if (!target.has_u1_wilson()) return kScalarText;
  const U1Plaquette plaquette = U1PlaquetteOf(target);
  std::string action = "S = -beta sum_P cos theta_P";
  if (plaquette.form == U1Plaquette::Form::kVillain) {
    action = "S = -sum_P log sum_n exp(-(beta/2) (theta_P - 2 pi n)^2)";
  } else if (plaquette.form == U1Plaquette::Form::kManton) {
    action = "S = (beta/2) sum_P theta_P^2, theta_P in [-pi, pi)";
  }
  if (plaquette.theta_imaginary != 0) {
    action += " - theta_imaginary Q, Q = (1/2pi) sum_P theta_P with theta_P in [-pi, pi)";
  }
  return absl::StrCat(kLinksText, action, ".", kLinksDensityText);
}

std::string HexOf(const std::string& bytes) {
  const auto digest = Digest::FromBytes(bytes);
  return digest.ok() ? digest->Hex() : std::string();
}

std::string NowUtc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// What the fields are.
void AppendLattice(const v1::Target& target, std::vector<Attribute>* out) {
  if (target.has_phi4()) {
    out->push_back({"components",
                    static_cast<uint64_t>(Phi4CouplingsOf(target.phi4(), target.lattice().shape_size()).components)});
  } else {
    const uint64_t colours = target.has_sun_matrix() ? target.sun_matrix().colours() : target.sun_wilson().colours();
    out->push_back({"group", colours > 0 ? absl::StrCat("SU(", colours, ")") : std::string("U(1)")});
    if (colours > 0) out->push_back({"colours", colours});
  }
  if (target.has_sun_matrix()) return;
  if (IsGauge(target)) out->push_back({"mu_order", std::string("mu = 0 is x and shifts the last axis")});
  std::vector<uint64_t> shape(target.lattice().shape().begin(), target.lattice().shape().end());
  std::vector<std::string> boundary;
  for (int i = 0; i < target.lattice().shape_size(); ++i) {
    const bool antiperiodic =
        i < target.lattice().boundary_size() && target.lattice().boundary(i) == v1::BOUNDARY_ANTIPERIODIC;
    boundary.push_back(antiperiodic ? "antiperiodic" : "periodic");
  }
  out->push_back({"lattice", std::move(shape)});
  out->push_back({"boundary_conditions", std::move(boundary)});
}

// What they are exact for.
void AppendTheory(const v1::Target& target, std::vector<Attribute>* out) {
  out->push_back({"target", CanonicalTarget(target)});
  out->push_back({"target_description", DescribeTarget(target)});
  if (target.has_phi4()) {
    const Phi4Couplings couplings = Phi4CouplingsOf(target.phi4(), target.lattice().shape_size());
    out->push_back({"theory", std::string("phi4")});
    out->push_back({"hop", couplings.hop});
    out->push_back({"quadratic", couplings.quadratic});
    out->push_back({"quartic", couplings.quartic});
  } else if (target.has_sun_matrix()) {
    out->push_back({"theory", std::string("sun_matrix")});
  } else {
    out->push_back({"theory", target.has_sun_wilson() ? std::string("sun_wilson") : U1TheoryName(target)});
  }
  for (const auto& [name, value] : TheoryParameters(target)) out->push_back({name, value});
}

void AppendStatistics(const v1::ChainStatistics& statistics, std::vector<Attribute>* out) {
  const v1::EnsembleQuality& quality = statistics.quality();
  out->push_back({"proposals", statistics.proposals()});
  out->push_back({"accepted", statistics.accepted()});
  out->push_back({"acceptance", quality.acceptance()});
  out->push_back({"weighted_samples", quality.samples()});
  out->push_back({"ess", quality.ess()});
  out->push_back({"ess_error", quality.ess_error()});
  out->push_back({"max_weight_share", quality.max_weight_share()});
  out->push_back({"longest_rejection_run", quality.longest_rejection_run()});
  out->push_back({"zero_weights", quality.zero_weights()});
  out->push_back({"invalid_weights", quality.invalid_weights()});
  out->push_back({"reliable", quality.reliable()});
  out->push_back({"unreliable_reason", quality.unreliable_reason()});
  out->push_back({"log_z", statistics.log_z()});
  out->push_back({"log_z_error", statistics.log_z_error()});
}

}  // namespace

std::string FieldName(const v1::Target& target) { return IsGauge(target) ? "links" : "field"; }

std::string AxisNames(const v1::Target& target) {
  const int directions = target.lattice().shape_size();
  std::vector<std::string> names = {"t", "z", "y", "x"};
  names.erase(names.begin(), names.end() - std::min<int>(directions, 4));
  if (IsGauge(target)) names.insert(names.begin(), "mu");
  if (IsComplex(target)) names.insert(names.end(), {"row", "column"});
  if (target.phi4().components() == 2) names.insert(names.begin(), "component");
  return absl::StrJoin(names, ",");
}

bool IsComplex(const v1::Target& target) { return target.has_sun_wilson() || target.has_sun_matrix(); }

std::vector<uint64_t> FileShape(const v1::SampleHeader& header) {
  std::vector<uint64_t> shape(header.shape().begin(), header.shape().end());
  if (IsComplex(header.target())) shape.pop_back();
  return shape;
}

std::string CreatorName() { return "haarflow " HAARFLOW_VERSION; }

std::vector<Attribute> HeaderAttributes(const v1::SampleHeader& header) {
  const v1::Target& target = header.target();
  std::vector<Attribute> out;
  out.push_back({"axes", "n," + AxisNames(target)});
  out.push_back({"dataset", FieldName(target)});
  out.push_back({"convention_version", uint64_t{header.convention()}});
  AppendLattice(target, &out);
  out.push_back({"precision", std::string(ScalarBytes(header) == 4 ? "float32" : "float64")});
  out.push_back({"observables", std::vector<std::string>(header.observables().begin(), header.observables().end())});
  if (IsForeign(header)) return out;
  AppendTheory(target, &out);
  out.push_back({"target_digest", HexOf(header.target_digest())});
  out.push_back({"model", header.model()});
  out.push_back({"model_version", header.version()});
  out.push_back({"model_digest", HexOf(header.model_digest())});
  out.push_back({"mode", std::string(IsMetropolis(header) ? "METROPOLIS" : "REWEIGHTED")});
  out.push_back({"seed", header.seed()});
  out.push_back({"first_index", header.next_index()});
  out.push_back({"burn_in", header.burn_in()});
  return out;
}

absl::StatusOr<std::vector<Attribute>> AttributesOf(const PartContents& run, const std::string& fields_sha256_hex) {
  const v1::SampleHeader& header = run.header;
  RETURN_IF_ERROR(ValidateTarget(header.target()));
  std::vector<Attribute> out;
  out.push_back({"format", std::string("haarflow configurations")});
  out.push_back({"format_version", uint64_t{1}});
  out.push_back({"creator", CreatorName()});
  out.push_back({"created", NowUtc()});
  out.push_back({"foreign", IsForeign(header)});
  out.push_back(
      {"convention", absl::StrCat(ConventionText(header.target()), IsForeign(header) ? kForeignText : kWeightText)});
  for (Attribute& attribute : HeaderAttributes(header)) out.push_back(std::move(attribute));
  out.push_back({"configurations", run.configurations});
  out.push_back({"sha256", fields_sha256_hex});
  // What --resume needs to continue a finished file, as the server sent it.
  out.push_back({"header_message", OpaqueBytes{header.SerializeAsString()}});
  if (IsForeign(header)) return out;
  out.push_back({"numerics_class", run.numerics_class});
  out.push_back({"steps", run.steps});
  AppendStatistics(run.statistics, &out);
  out.push_back({"resume_token", OpaqueBytes{run.resume_token}});
  out.push_back({"statistics_message", OpaqueBytes{run.statistics.SerializeAsString()}});
  return out;
}

}  // namespace haarflow
