#include "core/action/target.h"

#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_join.h"
#include "core/action/phi4.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr double kMaxAbsBeta = 1000;
constexpr double kMaxAbsTheta = 100;
constexpr double kLeastVillainBeta = 1e-3;
constexpr double kMaxPhi4Number = 1e6;
constexpr double kMaxAbsRectangle = 10;
constexpr double kMaxAbsPower = 10;
constexpr int64_t kMaxFieldBytes = int64_t{1} << 34;  // of one configuration, as core/io takes them

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckBoundary(const v1::Lattice& lattice) {
  if (lattice.boundary_size() != 0 && lattice.boundary_size() != lattice.shape_size()) {
    return Bad("target.lattice.boundary has ", lattice.boundary_size(), " entries for ", lattice.shape_size(),
               " directions; give one per direction, or none for periodic");
  }
  for (int i = 0; i < lattice.boundary_size(); ++i) {
    if (lattice.boundary(i) == v1::BOUNDARY_PERIODIC) continue;
    const std::string& name = v1::Boundary_Name(lattice.boundary(i));
    return Bad("target.lattice.boundary[", i, "] is ",
               name.empty() ? absl::StrCat(static_cast<int>(lattice.boundary(i))) : name,
               "; gauge links and scalars are periodic: use BOUNDARY_PERIODIC");
  }
  return absl::OkStatus();
}

absl::Status CheckNumber(const std::string& path, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value <= high) return absl::OkStatus();
  return Bad(path, " is ", value, "; it must be in [", low, ", ", high, "]");
}

absl::Status CheckPhi4(const v1::Phi4Action& action, const Lattice& lattice) {
  const std::string path = "target.phi4";
  if (action.components() > 2) return Bad(path, ".components is ", action.components(), "; 1 and 2 are supported");
  switch (action.form_case()) {
    case v1::Phi4Action::kMass:
      RETURN_IF_ERROR(CheckNumber(path + ".mass.m2", action.mass().m2(), -kMaxPhi4Number, kMaxPhi4Number));
      RETURN_IF_ERROR(CheckNumber(path + ".mass.lambda", action.mass().lambda(), 0, kMaxPhi4Number));
      RETURN_IF_ERROR(CheckNumber(path + ".mass.normalisation", action.mass().normalisation(), 0, kMaxPhi4Number));
      break;
    case v1::Phi4Action::kHopping:
      RETURN_IF_ERROR(CheckNumber(path + ".hopping.kappa", action.hopping().kappa(), -kMaxPhi4Number, kMaxPhi4Number));
      RETURN_IF_ERROR(CheckNumber(path + ".hopping.lambda", action.hopping().lambda(), 0, kMaxPhi4Number));
      break;
    case v1::Phi4Action::FORM_NOT_SET:
      return Bad(path, ".form is not set; for example phi4 { mass { m2: -4 lambda: 8 } }");
  }
  return CheckPhi4Couplings(path, lattice.dims(), Phi4CouplingsOf(action, lattice.dims()));
}

absl::Status CheckU1(const v1::U1WilsonAction& action, const Lattice& lattice) {
  if (lattice.dims() < 2) return Bad("target.lattice.shape has 1 extent; gauge theories need 2 to 4");
  const double beta = action.beta();
  if (!(std::isfinite(beta) && std::abs(beta) <= kMaxAbsBeta)) {
    return Bad("target.u1_wilson.beta is ", beta, "; it must be finite with |beta| <= ", kMaxAbsBeta);
  }
  switch (action.form()) {
    case v1::U1_ACTION_FORM_UNSPECIFIED:
    case v1::U1_ACTION_FORM_WILSON:
      break;
    case v1::U1_ACTION_FORM_VILLAIN:
      if (!(beta >= kLeastVillainBeta)) {
        return Bad("target.u1_wilson.beta is ", beta, "; Villain's action takes ", kLeastVillainBeta, "..",
                   kMaxAbsBeta);
      }
      break;
    case v1::U1_ACTION_FORM_MANTON:
      if (!(beta >= 0)) return Bad("target.u1_wilson.beta is ", beta, "; Manton's action takes 0..", kMaxAbsBeta);
      break;
    default:
      return Bad("target.u1_wilson.form is ", static_cast<int>(action.form()), ", which is not a U1ActionForm");
  }
  const double theta = action.theta_imaginary();
  if (theta != 0 && lattice.dims() != 2) {
    return Bad("target.u1_wilson.theta_imaginary is ", theta,
               "; the theta term is for two dimensions, the lattice has ", lattice.dims(), ": leave it out");
  }
  return CheckNumber("target.u1_wilson.theta_imaginary", theta, -kMaxAbsTheta, kMaxAbsTheta);
}

absl::Status CheckSun(const v1::SunWilsonAction& action, const Lattice& lattice) {
  if (lattice.dims() < 2) return Bad("target.lattice.shape has 1 extent; gauge theories need 2 to 4");
  const int64_t colours = action.colours();
  if (colours != 2 && colours != 3) {
    return Bad("target.sun_wilson.colours is ", colours, "; SU(2) and SU(3) are supported: give 2 or 3");
  }
  const int64_t link_bytes = colours * colours * 2 * static_cast<int64_t>(sizeof(double));
  if (lattice.links() > kMaxFieldBytes / link_bytes) {
    return Bad("target.lattice.shape ", lattice.ToString(), ": one SU(", colours, ") configuration would have ",
               lattice.links() * link_bytes, " bytes, more than 2^34; take a smaller lattice");
  }
  const std::string path = "target.sun_wilson";
  RETURN_IF_ERROR(CheckNumber(path + ".beta", action.beta(), -kMaxAbsBeta, kMaxAbsBeta));
  return CheckNumber(path + ".rectangle", action.rectangle(), -kMaxAbsRectangle, kMaxAbsRectangle);
}

absl::Status CheckSunMatrix(const v1::Target& target) {
  const v1::SunMatrixAction& action = target.sun_matrix();
  if (target.has_lattice()) return Bad("target.lattice is set; sun_matrix is a single matrix: leave the lattice out");
  if (action.colours() != 2 && action.colours() != 3) {
    return Bad("target.sun_matrix.colours is ", action.colours(), "; SU(2) and SU(3) are supported: give 2 or 3");
  }
  const std::string path = "target.sun_matrix";
  RETURN_IF_ERROR(CheckNumber(path + ".beta", action.beta(), -kMaxAbsBeta, kMaxAbsBeta));
  RETURN_IF_ERROR(CheckNumber(path + ".c1", action.c1(), -kMaxAbsPower, kMaxAbsPower));
  RETURN_IF_ERROR(CheckNumber(path + ".c2", action.c2(), -kMaxAbsPower, kMaxAbsPower));
  return CheckNumber(path + ".c3", action.c3(), -kMaxAbsPower, kMaxAbsPower);
}

// The shortest decimal that reads back as the same double; one zero.
std::string ShortestDouble(double value) {
  if (value == 0) return "0";
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, result.ptr);
}

std::string ShapeText(const v1::Lattice& lattice) { return absl::StrJoin(lattice.shape(), "x"); }

// Real numbers are parameters; the number of colours is not: another one is another theory, with other fields.
bool IsParameter(const google::protobuf::FieldDescriptor& field) {
  return field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE;
}

// A number that other lattices of the same theory do not have.
bool IsElsewhere(const std::string& name, const v1::Target& target) {
  return name == "theta_imaginary" && target.lattice().shape_size() != 2;
}

// "wilson", "villain", "manton".
std::string U1FormName(const v1::Target& target) {
  switch (target.u1_wilson().form()) {
    case v1::U1_ACTION_FORM_VILLAIN:
      return "villain";
    case v1::U1_ACTION_FORM_MANTON:
      return "manton";
    default:
      return "wilson";
  }
}

// The message that holds the theory's numbers.
const google::protobuf::Message* ParameterMessage(const v1::Target& target) {
  if (target.has_u1_wilson()) return &target.u1_wilson();
  if (target.has_sun_wilson()) return &target.sun_wilson();
  if (target.has_sun_matrix()) return &target.sun_matrix();
  if (target.phi4().has_mass()) return &target.phi4().mass();
  if (target.phi4().has_hopping()) return &target.phi4().hopping();
  return nullptr;
}
google::protobuf::Message* MutableParameterMessage(v1::Target* target) {
  if (target->has_u1_wilson()) return target->mutable_u1_wilson();
  if (target->has_sun_wilson()) return target->mutable_sun_wilson();
  if (target->has_sun_matrix()) return target->mutable_sun_matrix();
  if (target->phi4().has_mass()) return target->mutable_phi4()->mutable_mass();
  if (target->phi4().has_hopping()) return target->mutable_phi4()->mutable_hopping();
  return nullptr;
}

}  // namespace

// A field this build does not know may change what the map or the target is, so it is never dropped silently.
absl::Status CheckNoUnknownFields(const google::protobuf::Message& message, const std::string& path) {
  const auto* reflection = message.GetReflection();
  const auto& unknown = reflection->GetUnknownFields(message);
  if (!unknown.empty()) {
    return Bad(path, " has the unknown field number ", unknown.field(0).number(),
               "; it was written by a newer haarflow: upgrade this one, or leave the field out");
  }
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      RETURN_IF_ERROR(
          CheckNoUnknownFields(reflection->GetMessage(message, field), absl::StrCat(path, ".", field->name())));
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      RETURN_IF_ERROR(CheckNoUnknownFields(reflection->GetRepeatedMessage(message, field, i),
                                           absl::StrCat(path, ".", field->name(), "[", i, "]")));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Lattice> LatticeOf(const v1::Target& target) {
  if (target.has_sun_matrix()) return Lattice::Point();
  // Bounded before it is copied.
  if (target.lattice().shape_size() > 4) {
    return Bad("lattice.shape has ", target.lattice().shape_size(), " extents; 1 to 4 are supported");
  }
  return Lattice::Create(std::vector<int64_t>(target.lattice().shape().begin(), target.lattice().shape().end()));
}

absl::Status ValidateTarget(const v1::Target& target) {
  RETURN_IF_ERROR(CheckNoUnknownFields(target, "target"));
  if (target.has_sun_matrix()) return CheckSunMatrix(target);
  if (!target.has_lattice()) return Bad("target.lattice is missing; for example lattice { shape: 16 shape: 16 }");
  const absl::StatusOr<Lattice> lattice = LatticeOf(target);
  if (!lattice.ok()) return Bad("target.", lattice.status().message());
  RETURN_IF_ERROR(CheckBoundary(target.lattice()));
  if (target.has_u1_wilson()) return CheckU1(target.u1_wilson(), *lattice);
  if (target.has_sun_wilson()) return CheckSun(target.sun_wilson(), *lattice);
  if (target.has_phi4()) return CheckPhi4(target.phi4(), *lattice);
  return Bad(
      "target.theory is not set; for example u1_wilson { beta: 2 }, sun_wilson { colours: 3 beta: 6 } or phi4 { mass { "
      "m2: -4 lambda: 8 } }");
}

std::string CanonicalTarget(const v1::Target& target) {
  std::string theory;
  if (target.has_sun_matrix()) {
    const auto [b1, b2, b3] = ActionNumbers(target);
    return absl::StrCat("haarflow target 1\nsun_matrix colours=", target.sun_matrix().colours(),
                        " b1=", ShortestDouble(b1), " b2=", ShortestDouble(b2), " b3=", ShortestDouble(b3), "\n");
  }
  if (target.has_phi4()) {
    const Phi4Couplings c = Phi4CouplingsOf(target.phi4(), target.lattice().shape_size());
    theory = absl::StrCat("phi4 components=", c.components, " hop=", ShortestDouble(c.hop),
                          " quadratic=", ShortestDouble(c.quadratic), " quartic=", ShortestDouble(c.quartic));
  } else if (target.has_sun_wilson()) {
    const v1::SunWilsonAction& action = target.sun_wilson();
    theory = absl::StrCat("sun_wilson colours=", action.colours(), " beta=", ShortestDouble(action.beta()),
                          " rectangle=", ShortestDouble(action.rectangle()));
  } else {
    const v1::U1WilsonAction& action = target.u1_wilson();
    theory = absl::StrCat(U1TheoryName(target), " beta=", ShortestDouble(action.beta()));
    if (action.theta_imaginary() != 0) {
      absl::StrAppend(&theory, " theta_imaginary=", ShortestDouble(action.theta_imaginary()));
    }
  }
  return absl::StrCat("haarflow target 1\n", theory, "\nlattice ", ShapeText(target.lattice()), " periodic\n");
}

Digest TargetDigest(const v1::Target& target) { return Sha256Of(CanonicalTarget(target)); }

std::string DescribeTheory(const v1::Target& target) {
  std::string form = U1FormName(target);
  form[0] = static_cast<char>(form[0] - 'a' + 'A');
  std::string text = absl::StrCat("U(1) ", form);
  if (target.has_phi4()) text = target.phi4().components() == 2 ? "O(2) phi^4" : "phi^4";
  if (target.has_sun_wilson()) text = absl::StrCat("SU(", target.sun_wilson().colours(), ") Wilson");
  if (target.has_sun_matrix()) text = absl::StrCat("single SU(", target.sun_matrix().colours(), ") matrix");
  for (const auto& [name, value] : TheoryParameters(target)) {
    if (IsUsual(name, value)) continue;
    absl::StrAppend(&text, ", ", name, " = ", ShortestDouble(value));
  }
  return text;
}

std::string DescribeTarget(const v1::Target& target) {
  if (target.has_sun_matrix()) return DescribeTheory(target);
  return absl::StrCat(DescribeTheory(target), ", ", ShapeText(target.lattice()));
}

std::string U1TheoryName(const v1::Target& target) { return absl::StrCat("u1_", U1FormName(target)); }

bool IsGauge(const v1::Target& target) { return target.has_u1_wilson() || target.has_sun_wilson(); }

uint32_t FieldConvention(const v1::Target& target) {
  if (target.has_sun_wilson() || target.has_sun_matrix()) return 3;
  return target.has_u1_wilson() ? 1 : 2;
}

std::vector<int64_t> FieldShape(const v1::Target& target) {
  if (target.has_sun_matrix()) {
    const int64_t colours = target.sun_matrix().colours();
    return {colours, colours, 2};
  }
  std::vector<int64_t> shape(target.lattice().shape().begin(), target.lattice().shape().end());
  if (IsGauge(target)) shape.insert(shape.begin(), target.lattice().shape_size());
  if (target.has_sun_wilson()) {
    const int64_t colours = target.sun_wilson().colours();
    shape.insert(shape.end(), {colours, colours, 2});
  }
  if (target.phi4().components() == 2) shape.insert(shape.begin(), 2);
  return shape;
}

int64_t FieldSize(const v1::Target& target) {
  int64_t size = 1;
  for (int64_t extent : FieldShape(target)) size *= extent;
  return size;
}

bool SameFields(const v1::Target& a, const v1::Target& b) {
  return a.theory_case() == b.theory_case() && a.lattice().shape_size() == b.lattice().shape_size() &&
         FieldShape(a) == FieldShape(b);
}

std::array<double, 3> ActionNumbers(const v1::Target& target) {
  if (target.has_u1_wilson()) return {target.u1_wilson().beta(), 0, 0};
  if (target.has_sun_wilson()) return {target.sun_wilson().beta(), target.sun_wilson().rectangle(), 0};
  if (target.has_sun_matrix()) {
    const v1::SunMatrixAction& action = target.sun_matrix();
    return {action.beta() * action.c1(), action.beta() * action.c2(), action.beta() * action.c3()};
  }
  const Phi4Couplings c = Phi4CouplingsOf(target.phi4(), target.lattice().shape_size());
  return {c.hop, c.quadratic, c.quartic};
}

std::vector<std::pair<std::string, double>> TheoryParameters(const v1::Target& target) {
  std::vector<std::pair<std::string, double>> parameters;
  const google::protobuf::Message* message = ParameterMessage(target);
  if (message == nullptr) return parameters;
  const auto* descriptor = message->GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = descriptor->field(i);
    if (!IsParameter(*field) || IsElsewhere(field->name(), target)) continue;
    parameters.emplace_back(field->name(), message->GetReflection()->GetDouble(*message, field));
  }
  return parameters;
}

bool IsUsual(const std::string& name, double value) {
  if (name == "normalisation") return value == 0 || value == 1;
  return value == 0 && (name == "rectangle" || name == "theta_imaginary");
}

bool SameForm(const v1::Target& a, const v1::Target& b) {
  const auto left = TheoryParameters(a), right = TheoryParameters(b);
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first; }) &&
         U1FormName(a) == U1FormName(b);
}

absl::Status SetTheoryParameter(const std::string& name, double value, v1::Target* target) {
  std::vector<std::string> known;
  for (const auto& [parameter, present] : TheoryParameters(*target)) known.push_back(parameter);
  google::protobuf::Message* message = MutableParameterMessage(target);
  const auto* field = message == nullptr ? nullptr : message->GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || !IsParameter(*field) || IsElsewhere(name, *target)) {
    return Bad("the theory has no parameter '", name.substr(0, 40), "'; it has ",
               known.empty() ? "none" : absl::StrJoin(known, ", "));
  }
  message->GetReflection()->SetDouble(message, field, value);
  return absl::OkStatus();
}

}  // namespace haarflow
