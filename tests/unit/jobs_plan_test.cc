// From a wish to a job, the gate, and files in chunks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/model/spec.h"
#include "server/jobs/file_chunk.h"
#include "server/jobs/publication.h"
#include "server/jobs/retune_plan.h"
#include "server/jobs/upload.h"

namespace haarflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ------------------------------------------------------------------------------------------------------------- plan

RetuneCandidate Candidate(const std::string& name, uint64_t version, int extent, double lambda, double ess,
                          const std::string& more = "") {
  RetuneCandidate c;
  c.manifest.model = name;
  c.manifest.version = version;
  c.manifest.card.mutable_quality()->set_ess(ess);
  c.spec = ParseSpec(absl::StrCat(
                         "name: \"", name, "\" spec_version: 1 target { lattice { shape: [", extent, ", ", extent,
                         "] } phi4 { mass { m2: -4 lambda: ", lambda, " } } } prior { free_field { m2: 1 } } ",
                         "layers { scalar_continuous_flow { frequencies: 2 max_frequency: 2 time_modes: 2 } } ", more))
               .value();
  c.champion = true;
  return c;
}

v1::RetuneRequest Wish(double lambda, int extent = 8, double ess = 0.9) {
  v1::RetuneRequest request;
  request.set_idempotency_key("k");
  *request.mutable_target() = Candidate("x", 1, extent, lambda, 0).spec.target();
  request.set_requested_ess(ess);
  return request;
}

TEST(RetunePlan, TheNearestVersionOnTheSameLatticeIsTheStart) {
  const std::vector<RetuneCandidate> all = {Candidate("a", 1, 8, 6, 0.9), Candidate("b", 2, 8, 5, 0.8),
                                            Candidate("b", 3, 8, 5, 0.85), Candidate("c", 1, 16, 5.5, 0.99)};
  const auto start = [&](const v1::RetuneRequest& request) {
    const auto plan = PlanRetune(all, request);
    return plan.ok() ? absl::StrCat(plan->start_model, "/", plan->start_version) : plan.status().ToString();
  };
  EXPECT_EQ(start(Wish(5.9)), "a/1");
  EXPECT_EQ(start(Wish(5.4)), "b/3");  // the better of equals
  EXPECT_EQ(start(Wish(5.4, 16)), "c/1");
  EXPECT_EQ(start(Wish(5.4, 32)), "c/1");
  EXPECT_EQ(PlanRetune(all, Wish(5.4))->publish_model, "phi4-8x8-m2-4-lambda5.4");
  EXPECT_EQ(PlanRetune(all, Wish(5.4))->request.budget_seconds(), kDefaultBudgetSeconds);
}

TEST(RetunePlan, WhatIsServedAlreadyOrCannotBeReachedIsRefusedWithTheReason) {
  const std::vector<RetuneCandidate> all = {Candidate("a", 1, 8, 6, 0.9)};
  v1::RetuneRequest same = Wish(6, 8, 0.85);
  same.set_model("a");
  EXPECT_THAT(std::string(PlanRetune(all, same).status().message()), HasSubstr("with ESS 0.9000 already"));
  same.set_requested_ess(0.95);
  EXPECT_EQ(PlanRetune(all, same)->publish_model, "a");
  v1::RetuneRequest hopping = Wish(6);
  hopping.mutable_target()->mutable_phi4()->mutable_hopping()->set_kappa(0.2);
  EXPECT_THAT(std::string(PlanRetune(all, hopping).status().message()),
              HasSubstr("a/1 gives its action in another form"));
  v1::RetuneRequest gauge = Wish(6);
  gauge.mutable_target()->mutable_u1_wilson()->set_beta(1);
  EXPECT_THAT(std::string(PlanRetune(all, gauge).status().message()), HasSubstr("a/1 has other fields"));
  EXPECT_EQ(PlanRetune({}, Wish(6)).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(RetunePlan, AConditionalModelIsAsNearAsItsInterval) {
  const std::vector<RetuneCandidate> all = {
      Candidate("near", 1, 8, 7, 0.9),
      Candidate("interval", 1, 8, 6, 0.9, "conditioning { parameter: \"lambda\" low: 5 high: 8 degree: 2 }")};
  const auto plan = PlanRetune(all, Wish(7.1));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->start_model, "interval");
  EXPECT_TRUE(RetunedSpec(all[1].spec, "n", Wish(7.1).target())->conditioning().empty());
}

TEST(RetunePlan, NamesAreMadeOfTargets) {
  v1::Target target = Wish(5.4).target();
  EXPECT_EQ(NameOfTarget(target), "phi4-8x8-m2-4-lambda5.4");
  target.mutable_sun_wilson()->set_colours(3);
  target.mutable_sun_wilson()->set_beta(5.5);
  EXPECT_EQ(NameOfTarget(target), "su3-8x8-beta5.5");
  target.mutable_sun_wilson()->set_rectangle(-0.331);
  EXPECT_TRUE(ValidateModelName(NameOfTarget(target)).ok()) << NameOfTarget(target);
  target.mutable_u1_wilson()->set_beta(1e30);
  EXPECT_TRUE(ValidateModelName(NameOfTarget(target)).ok()) << NameOfTarget(target);
}

// ------------------------------------------------------------------------------------------------------------- gate

TEST(Gate, ByTable) {
  struct Row {
    double ess, error, asked, champion;
    const char* reason;
    const char* verdict;
  };
  const v1::RetuneRequest wish = Wish(6);
  for (const Row& row :
       {Row{0.9, 0.01, 0.9, 0, "", ""}, Row{0.8999, 0.01, 0.9, 0, "", "of 0.9000 asked for"},
        Row{0.95, 0.01, 0.9, 0, "a mode is missed", "not reliable: a mode"},
        Row{0.8, 0.01, 0.9, 0, "a mode is missed", "of 0.9000 asked for; not reliable: a mode"},
        Row{0.95, 0.01, 0.9, 0.99, "", "the champion, version 7, is better"}, Row{0.95, 0.01, 0.9, 0.96, "", ""}}) {
    v1::RetuneRequest request = wish;
    request.set_requested_ess(row.asked);
    v1::ModelCard card;
    card.mutable_quality()->set_ess(row.ess);
    card.mutable_quality()->set_ess_error(row.error);
    card.set_unreliable_reason(row.reason);
    StoredModel champion;
    const RetuneCandidate c = Candidate("a", 7, 8, 6, row.champion);
    champion.spec = c.spec;
    champion.manifest = c.manifest;
    const Verdict verdict = Judge(request, card, row.champion > 0 ? &champion : nullptr);
    EXPECT_EQ(verdict.promote, std::string(row.verdict).empty());
    EXPECT_THAT(verdict.reason, HasSubstr(row.verdict));
    // A champion of another target is no rival.
    champion.spec.mutable_target()->mutable_phi4()->mutable_mass()->set_lambda(5);
    if (row.champion > 0) {
      EXPECT_TRUE(Judge(request, card, &champion).promote);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------- uploads

TEST(Upload, FilesComeWholeAndInOrderAndMemoryIsGivenBack) {
  UploadBudget budget(2 * kMaxUploadChunk);
  const std::string large(kMaxUploadChunk + 5, 'x');
  {
    UploadAssembler files({{"a", 10}, {"empty", 0}, {"b", 1 << 20}}, &budget);
    EXPECT_TRUE(files.Add(ChunkAt("a", "hello", 0)).ok());
    EXPECT_TRUE(files.Add(ChunkAt("empty", "", 0)).ok());
    EXPECT_EQ(files.Finish().status().code(), absl::StatusCode::kInvalidArgument);
    for (uint64_t at = 0; at < large.size();) {
      const v1::FileChunk chunk = ChunkAt("b", large, at);
      ASSERT_TRUE(files.Add(chunk).ok());
      at += chunk.payload().size();
    }
    EXPECT_THAT(files.Finish().value(), ElementsAre("hello", "", large));
    EXPECT_FALSE(budget.Take(kMaxUploadChunk));
  }
  EXPECT_TRUE(budget.Take(2 * kMaxUploadChunk));
}

TEST(Upload, OtherUploadsMayHaveTheMemory) {
  UploadBudget budget(4);
  UploadAssembler files({{"a", 10}}, &budget);
  EXPECT_EQ(files.Add(ChunkAt("a", "hello", 0)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(budget.Take(4));
}

}  // namespace
}  // namespace haarflow
