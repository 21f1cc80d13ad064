// Specs and targets: what is refused says which field, and a target's name never changes by accident.
#include "core/model/spec.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace haarflow {
namespace {

using ::testing::HasSubstr;

constexpr char kGood[] = R"pb(
  name: "u1-test"
  spec_version: 1
  target {
    lattice { shape: 8 shape: 16 }
    u1_wilson { beta: 2 }
  }
  prior { uniform {} }
  layers {
    u1_coupling_stack {
      layers: 4
      masks {
        direction: 0
        plane: 1
        sublattices { offset: 0 offset: 0 stride: 4 stride: 1 }
      }
      masks {
        direction: 1
        plane: 0
        sublattices { offset: 0 offset: 1 stride: 1 stride: 4 }
        sublattices { offset: 0 offset: 3 stride: 2 stride: 4 }
      }
      features { width: 1 height: 1 }
      features { width: 2 height: 1 }
      network {
        hidden: 8
        hidden: 8
        kernel: 3
        kernel: 3
        kernel: 1
        activation: ACTIVATION_SILU
        precision: PRECISION_FLOAT32
      }
      map { spline { bins: 8 } }
    }
  }
  training {
    seed: 7
    phases {
      steps: 100
      batch: 64
      learning_rate: 1e-3
      schedule: LEARNING_RATE_SCHEDULE_COSINE
      final_learning_rate_factor: 0.1
    }
    evaluation_samples: 8192
    start_from: "other/3"
  }
)pb";

v1::ModelSpec Good() {
  v1::ModelSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kGood, &spec));
  return spec;
}

v1::Target MakeTarget(double beta, const std::vector<uint32_t>& shape) {
  v1::Target target;
  for (uint32_t extent : shape) target.mutable_lattice()->add_shape(extent);
  target.mutable_u1_wilson()->set_beta(beta);
  return target;
}

TEST(ParseSpecTest, AGoodSpecParses) {
  const auto spec = ParseSpec(kGood);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name(), "u1-test");
  EXPECT_EQ(LatticeOf(spec->target())->ToString(), "8x16");
}

TEST(ParseSpecTest, ThePriorAloneIsAModel) {
  v1::ModelSpec spec = Good();
  spec.clear_layers();
  spec.clear_training();
  EXPECT_TRUE(ValidateSpec(spec).ok());
}

TEST(ParseSpecTest, ErrorsHaveLineAndColumn) {
  const auto unknown = ParseSpec("name: \"a\"\n  colour: 3\n");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(unknown.status().message(), HasSubstr("line 2:"));
  EXPECT_THAT(unknown.status().message(), HasSubstr("colour"));
  EXPECT_THAT(ParseSpec("name: \"a\"\nname: \"b\"\n").status().message(), HasSubstr("line 2:"));
  EXPECT_THAT(ParseSpec("spec_version: -1").status().message(), HasSubstr("line 1:"));
  EXPECT_THAT(ParseSpec("layers {").status().message(), HasSubstr("line 1:"));
}

TEST(ParseSpecTest, TextOverTheLimitIsNotEvenParsed) {
  const auto spec = ParseSpec(std::string(kMaxSpecBytes + 1, '#'));
  EXPECT_THAT(spec.status().message(), HasSubstr("more than the limit"));
}

TEST(ParseSpecTest, DeepNestingIsRefused) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "layers {";
  EXPECT_FALSE(ParseSpec(text).ok());
}

struct Refusal {
  const char* message;  // names the field
  std::function<void(v1::ModelSpec*)> damage;
};

v1::U1CouplingStack* Stack(v1::ModelSpec* spec) { return spec->mutable_layers(0)->mutable_u1_coupling_stack(); }
v1::LinkMask* Mask(v1::ModelSpec* spec) { return Stack(spec)->mutable_masks(1); }
v1::Network* Net(v1::ModelSpec* spec) { return Stack(spec)->mutable_network(); }
v1::TrainingPhase* Phase(v1::ModelSpec* spec) { return spec->mutable_training()->mutable_phases(0); }
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void ExpectRefusals(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    v1::ModelSpec spec = Good();
    refusal.damage(&spec);
    const absl::Status status = ValidateSpec(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << refusal.message;
    EXPECT_THAT(status.message(), HasSubstr(refusal.message));
  }
}

TEST(ValidateSpecTest, HeadAndTargetAreChecked) {
  using S = v1::ModelSpec;
  ExpectRefusals({
      {"name: ", [](S* s) { s->set_name("../x"); }},
      {"spec_version is 2", [](S* s) { s->set_spec_version(2); }},
      {"spec_version is 0", [](S* s) { s->clear_spec_version(); }},
      {"target is missing", [](S* s) { s->clear_target(); }},
      {"target.lattice is missing", [](S* s) { s->mutable_target()->clear_lattice(); }},
      {"target.lattice.shape[1] is 1;", [](S* s) { s->mutable_target()->mutable_lattice()->set_shape(1, 1); }},
      {"lattice.shape[0] is 4294967295",
       [](S* s) { s->mutable_target()->mutable_lattice()->set_shape(0, UINT32_MAX); }},
      {"shape has 5 extents",
       [](S* s) {
         for (int i = 0; i < 3; ++i) s->mutable_target()->mutable_lattice()->add_shape(2);
       }},
      {"target.lattice.boundary has 1 entries for 2",
       [](S* s) { s->mutable_target()->mutable_lattice()->add_boundary(v1::BOUNDARY_PERIODIC); }},
      {"target.lattice.boundary[1] is BOUNDARY_ANTIPERIODIC",
       [](S* s) {
         s->mutable_target()->mutable_lattice()->add_boundary(v1::BOUNDARY_PERIODIC);
         s->mutable_target()->mutable_lattice()->add_boundary(v1::BOUNDARY_ANTIPERIODIC);
       }},
      {"target.theory is not set", [](S* s) { s->mutable_target()->clear_u1_wilson(); }},
      {"target.u1_wilson.beta is nan", [](S* s) { s->mutable_target()->mutable_u1_wilson()->set_beta(kNan); }},
      {"target.u1_wilson.beta is -1001", [](S* s) { s->mutable_target()->mutable_u1_wilson()->set_beta(-1001); }},
      {"prior.kind", [](S* s) { s->clear_prior(); }},
      {"description", [](S* s) { s->set_description("\xff"); }},
      {"description", [](S* s) { s->set_description(std::string(70000, 'x')); }},
  });
}

TEST(ValidateSpecTest, MasksAreChecked) {
  using S = v1::ModelSpec;
  ExpectRefusals({
      {"layers[0].u1_coupling_stack.masks has 0 entries", [](S* s) { Stack(s)->clear_masks(); }},
      {"layers[0].u1_coupling_stack.masks[1].direction is 2", [](S* s) { Mask(s)->set_direction(2); }},
      {"masks[1].plane is 7", [](S* s) { Mask(s)->set_plane(7); }},
      {"masks[1].plane is 1, the same", [](S* s) { Mask(s)->set_plane(1); }},
      {"masks[1].sublattices has 0", [](S* s) { Mask(s)->clear_sublattices(); }},
      {"masks[1].sublattices[0] has 3 offsets", [](S* s) { Mask(s)->mutable_sublattices(0)->add_offset(0); }},
      {"masks[1].sublattices[0].stride[0] is 3, which does not divide the extent 8",
       [](S* s) { Mask(s)->mutable_sublattices(0)->set_stride(0, 3); }},
      {"masks[1].sublattices[0].stride[1] is 0", [](S* s) { Mask(s)->mutable_sublattices(0)->set_stride(1, 0); }},
      {"masks[1].sublattices[1].offset[1] is 4", [](S* s) { Mask(s)->mutable_sublattices(1)->set_offset(1, 4); }},
      {"masks[1].sublattices[1] shares sites with sublattices[0]",
       [](S* s) { Mask(s)->mutable_sublattices(1)->set_offset(1, 1); }},
      {"masks[1].sublattices[1] shares sites with sublattices[0]",  // 1 mod 2 holds 3 mod 4
       [](S* s) { Mask(s)->mutable_sublattices(0)->set_stride(1, 2); }},
      {"sublattices has 300",
       [](S* s) {
         while (Mask(s)->sublattices_size() < 300) Mask(s)->add_sublattices();
       }},
  });
}

TEST(ValidateSpecTest, LayersAreChecked) {
  using S = v1::ModelSpec;
  ExpectRefusals({
      {"layers[1].kind", [](S* s) { s->add_layers(); }},
      {"u1_coupling_stack.layers is 0", [](S* s) { Stack(s)->set_layers(0); }},
      {"u1_coupling_stack.layers is 1025", [](S* s) { Stack(s)->set_layers(1025); }},
      {"layers[4] brings the total to 4100",
       [](S* s) {
         Stack(s)->set_layers(820);
         for (int i = 0; i < 4; ++i) *s->add_layers() = s->layers(0);
       }},
      {"active_loop.width is 0", [](S* s) { Stack(s)->mutable_active_loop()->set_height(1); }},
      {"active_loop.height is 9",
       [](S* s) {
         Stack(s)->mutable_active_loop()->set_width(1);
         Stack(s)->mutable_active_loop()->set_height(9);
       }},
      {"features has 0", [](S* s) { Stack(s)->clear_features(); }},
      {"features has 17",
       [](S* s) {
         while (Stack(s)->features_size() < 17) Stack(s)->add_features();
       }},
      {"features[1].width is 9", [](S* s) { Stack(s)->mutable_features(1)->set_width(9); }},
      {"features[0].height is 0", [](S* s) { Stack(s)->mutable_features(0)->clear_height(); }},
      {"network is missing", [](S* s) { Stack(s)->clear_network(); }},
      {"network.hidden[1] is 0", [](S* s) { Net(s)->set_hidden(1, 0); }},
      {"network.hidden[0] is 257", [](S* s) { Net(s)->set_hidden(0, 257); }},
      {"network.hidden has 9",
       [](S* s) {
         while (Net(s)->hidden_size() < 9) Net(s)->add_hidden(1);
       }},
      {"network.kernel has 4", [](S* s) { Net(s)->add_kernel(1); }},
      {"network.kernel[2] is 2; it must be odd", [](S* s) { Net(s)->set_kernel(2, 2); }},
      {"network.kernel[0] is 33", [](S* s) { Net(s)->set_kernel(0, 33); }},
      {"network.activation is 0", [](S* s) { Net(s)->clear_activation(); }},
      {"network.activation is 99", [](S* s) { Net(s)->set_activation(static_cast<v1::Activation>(99)); }},
      {"network.precision is 0", [](S* s) { Net(s)->clear_precision(); }},
      {"network.precision is 9", [](S* s) { Net(s)->set_precision(static_cast<v1::Precision>(9)); }},
      {"map.kind", [](S* s) { Stack(s)->clear_map(); }},
      {"features[0].windings is 17", [](S* s) { Stack(s)->mutable_features(0)->set_windings(17); }},
      {"active_loop.windings is set",
       [](S* s) {
         Stack(s)->mutable_active_loop()->set_width(1);
         Stack(s)->mutable_active_loop()->set_height(1);
         Stack(s)->mutable_active_loop()->set_windings(2);
       }},
      {"map.spline.bins is 1", [](S* s) { Stack(s)->mutable_map()->mutable_spline()->set_bins(1); }},
      {"map.moebius.components is 17", [](S* s) { Stack(s)->mutable_map()->mutable_moebius()->set_components(17); }},
      {"map.non_compact_projection.components is 0",
       [](S* s) { Stack(s)->mutable_map()->mutable_non_compact_projection(); }},
  });
}

TEST(ValidateSpecTest, ALinearNetworkNeedsNoActivation) {
  v1::ModelSpec spec = Good();
  Net(&spec)->clear_hidden();
  Net(&spec)->clear_kernel();
  Net(&spec)->add_kernel(3);
  Net(&spec)->clear_activation();
  EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
}

TEST(ValidateSpecTest, TrainingIsChecked) {
  using S = v1::ModelSpec;
  ExpectRefusals({
      {"training.phases[0].steps is 0", [](S* s) { Phase(s)->set_steps(0); }},
      {"training.phases[0].batch is 1000001", [](S* s) { Phase(s)->set_batch(1000001); }},
      {"training.phases[0].learning_rate is inf", [](S* s) { Phase(s)->set_learning_rate(kInfinity); }},
      {"training.phases[0].learning_rate is 0", [](S* s) { Phase(s)->clear_learning_rate(); }},
      {"phases[0].final_learning_rate_factor is 0", [](S* s) { Phase(s)->clear_final_learning_rate_factor(); }},
      {"phases[0].final_learning_rate_factor is nan", [](S* s) { Phase(s)->set_final_learning_rate_factor(kNan); }},
      {"phases[0].final_learning_rate_factor is 0.1", [](S* s) { Phase(s)->clear_schedule(); }},
      {"phases[0].schedule is 77", [](S* s) { Phase(s)->set_schedule(static_cast<v1::LearningRateSchedule>(77)); }},
      {"phases[0].estimator is 5", [](S* s) { Phase(s)->set_estimator(static_cast<v1::GradientEstimator>(5)); }},
      {"phases[0].clip_norm is -1", [](S* s) { Phase(s)->set_clip_norm(-1); }},
      {"phases[0].adam_beta1 is 1", [](S* s) { Phase(s)->set_adam_beta1(1); }},
      {"phases[0].adam_beta2 is nan", [](S* s) { Phase(s)->set_adam_beta2(kNan); }},
      {"phases[0].warmup_steps is 101", [](S* s) { Phase(s)->set_warmup_steps(101); }},
      {"training.evaluation_samples is 8191", [](S* s) { s->mutable_training()->set_evaluation_samples(8191); }},
      {"training.start_from", [](S* s) { s->mutable_training()->set_start_from("a/../b"); }},
  });
}

TEST(ValidateSpecTest, UnknownFieldsOfANewerHaarflowAreRefused) {
  v1::ModelSpec spec = Good();
  auto* mask = Mask(&spec);
  mask->GetReflection()->MutableUnknownFields(mask)->AddVarint(99, 1);
  v1::ModelSpec received;
  ASSERT_TRUE(received.ParseFromString(spec.SerializeAsString()));
  EXPECT_THAT(ValidateSpec(received).message(),
              HasSubstr("spec.layers[0].u1_coupling_stack.masks[1] has the unknown field number 99"));

  v1::Target target = MakeTarget(1, {4, 4});
  target.GetReflection()->MutableUnknownFields(&target)->AddVarint(3, 1);
  EXPECT_THAT(ValidateTarget(target).message(), HasSubstr("target has the unknown field number 3"));
}

TEST(ValidateSpecTest, DescriptionsAreUtf8) {
  v1::ModelSpec spec = Good();
  for (const char* good :
       {"", "plain\n", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x98\x80", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"}) {
    spec.set_description(good);
    EXPECT_TRUE(ValidateSpec(spec).ok()) << good;
  }
  // A lone continuation, cut short, overlong (three ways), a surrogate, beyond U+10FFFF, a byte that is never used.
  for (const char* bad : {"\x80", "a\xc3", "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xed\xa0\x80",
                          "\xf4\x90\x80\x80", "\xfe", "\xe4\xb8z"}) {
    spec.set_description(bad);
    EXPECT_THAT(ValidateSpec(spec).message(), HasSubstr("description must be UTF-8")) << bad;
  }
}

TEST(ModelNameTest, OnlySafePathComponentsPass) {
  for (const char* good : {"a", "0", "u1-8x8-beta2.0_v3", "a..b"}) EXPECT_TRUE(ValidateModelName(good).ok()) << good;
  const std::string bad[] = {"",           ".",
                             "..",         ".hidden",
                             "../a",       "a/b",
                             "A",          "a b",
                             "a\n",        std::string("a\0b", 3),
                             "-a",         "_a",
                             "index.json", std::string(65, 'a'),
                             "\xc3\xa9"};
  for (const std::string& name : bad) EXPECT_FALSE(ValidateModelName(name).ok()) << name;
  EXPECT_TRUE(ValidateModelName(std::string(64, 'a')).ok());
}

TEST(ModelNameTest, References) {
  EXPECT_EQ(ParseModelReference("abc")->version, 0);
  EXPECT_EQ(ParseModelReference("abc/12")->version, 12);
  EXPECT_EQ(ParseModelReference("abc/12")->name, "abc");
  for (const char* bad :
       {"", "/1", "abc/", "abc/0", "abc/01", "abc/-1", "abc/1/2", "abc/99999999999999999999", "abc/x"}) {
    EXPECT_FALSE(ParseModelReference(bad).ok()) << bad;
  }
}

TEST(CanonicalTargetTest, IsTheTextThatTheDigestIsTakenOver) {
  const v1::Target target = MakeTarget(2, {16, 16});
  EXPECT_EQ(CanonicalTarget(target), "haarflow target 1\nu1_wilson beta=2\nlattice 16x16 periodic\n");
  // printf 'haarflow target 1\nu1_wilson beta=2\nlattice 16x16 periodic\n' | sha256sum
  EXPECT_EQ(TargetDigest(target).Hex(), "b74225329c69dcae199a9db47f514c26537c0241cb7a4d4c3c45d77e9df877d3");
  EXPECT_EQ(DescribeTarget(target), "U(1) Wilson, beta = 2, 16x16");
}

TEST(CanonicalTargetTest, NumbersReadBackExactly) {
  const double values[] = {0.1, 1.0 / 3, -7.25, 1e-300, 5e-324, 999.9999999999999, 2.0 + 0x1p-51};
  for (double beta : values) {
    const std::string text = CanonicalTarget(MakeTarget(beta, {8, 4}));
    const size_t begin = text.find("beta=") + 5;
    EXPECT_EQ(std::strtod(text.c_str() + begin, nullptr), beta) << text;
  }
}

TEST(CanonicalTargetTest, OneDensityHasOneText) {
  v1::Target explicit_boundary = MakeTarget(1.5, {4, 8});
  for (int i = 0; i < 2; ++i) explicit_boundary.mutable_lattice()->add_boundary(v1::BOUNDARY_PERIODIC);
  EXPECT_EQ(TargetDigest(explicit_boundary), TargetDigest(MakeTarget(1.5, {4, 8})));
  EXPECT_EQ(TargetDigest(MakeTarget(-0.0, {4, 8})), TargetDigest(MakeTarget(0, {4, 8})));
  EXPECT_NE(TargetDigest(MakeTarget(1.5, {8, 4})), TargetDigest(MakeTarget(1.5, {4, 8})));
  EXPECT_NE(TargetDigest(MakeTarget(1.5, {4, 8})), TargetDigest(MakeTarget(std::nextafter(1.5, 2), {4, 8})));
}

}  // namespace
}  // namespace haarflow
