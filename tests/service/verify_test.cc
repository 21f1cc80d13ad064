// `haarflow verify` and `convert` with real models: what was altered is found, whatever the checksums say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/io/configuration_file.h"
#include "core/io/gauge_run.h"
#include "tests/service/server_process.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kSu3[] = "su3-4x4x4x4-b1";

// A real server on a store with a small U(1) model and the bundled SU(3) one; files are drawn once for all tests.
class VerifyTest : public ::testing::Test {
 protected:
  struct Outcome {
    int exit_code = -1;
    std::string out;
    std::string err;
  };
  struct World {
    TestStore store;
    std::unique_ptr<Process> server;
    std::string address;
  };

  static void SetUpTestSuite() {
    world_ = new World;
    world_->store.Publish("small", 4, 0.3);
    std::filesystem::copy(std::string(HAARFLOW_MODELS) + "/" + kSu3, world_->store.directory() + "/" + kSu3,
                          std::filesystem::copy_options::recursive);
    world_->address = "unix:" + world_->store.path("socket");
    world_->server = std::make_unique<Process>(std::vector<std::string>{
        "--store", world_->store.directory(), "--listen", world_->address, "--device", "cpu:1"});
    ASSERT_TRUE(world_->server->WaitForOutput("INFO serving")) << world_->server->output();
    ASSERT_EQ(Haarflow("sample small -n 300 --seed 5 --burn-in 20 -o chain.h5").exit_code, 0);
    ASSERT_EQ(Haarflow("sample small -n 100 --seed 6 --mode reweighted --float32 -o weighted.npy").exit_code, 0);
    const Outcome su3 = Haarflow(std::string("sample ") + kSu3 + " -n 6 --seed 7 --burn-in 2 -o su3.lime");
    ASSERT_EQ(su3.exit_code, 0) << su3.err;
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }

  static Outcome Haarflow(const std::string& arguments) {
    const std::string command = absl::StrCat("cd ", Path(""), " && ", Binary("haarflow"), " --server ", world_->address,
                                             " ", arguments, " >out.txt 2>err.txt </dev/null");
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(Path("out.txt"), 1 << 24).value(),
            ReadFile(Path("err.txt"), 1 << 24).value()};
  }
  static std::string Path(const std::string& name) { return world_->store.path(name); }

  // The messages of a file, altered, and written again with every checksum right.
  using Alter = std::function<void(v1::SampleResponse* header, v1::SampleChunk* rows, v1::SampleResponse* summary)>;
  static void Plant(const std::string& from, const std::string& to, const Alter& alter) {
    v1::SampleResponse header;
    v1::SampleResponse rows;
    v1::SampleResponse summary;
    v1::SampleChunk* chunk = rows.mutable_chunk();
    const auto run = ReadConfigurations({Path(from)}, [&](const SampleRow& row) {
      while (chunk->observables_size() < row.observables.size()) chunk->add_observables();
      chunk->add_index(row.index);
      chunk->add_multiplicity(row.multiplicity);
      chunk->add_log_weight(row.log_weight);
      chunk->add_log_q(row.log_q);
      chunk->add_action(row.action);
      for (size_t k = 0; k < row.observables.size(); ++k) {
        chunk->mutable_observables(static_cast<int>(k))->add_value(row.observables[k]);
      }
      chunk->mutable_payload()->append(row.field.begin(), row.field.end());
      return absl::OkStatus();
    });
    ASSERT_TRUE(run.ok()) << run.status();
    *header.mutable_header() = run->header;
    if (!IsMetropolis(run->header)) chunk->clear_multiplicity();
    *summary.mutable_summary()->mutable_statistics() = run->statistics;
    summary.mutable_summary()->set_resume_token(run->resume_token);
    alter(&header, chunk, &summary);
    chunk->set_payload_total(chunk->payload().size());
    chunk->set_crc32c(Crc32c(chunk->payload().data(), chunk->payload().size()));
    const auto journal = PartWriter::Create(Path(to + ".part"), /*overwrite=*/true);
    ASSERT_TRUE(journal.ok());
    for (const auto* message : {&header, &rows, &summary}) ASSERT_TRUE((*journal)->Append(*message).ok());
    const absl::Status written = WriteConfigurations(Path(to + ".part"), Path(to));
    ASSERT_TRUE(written.ok()) << written;
  }
  static void ExpectFound(const std::string& file, const std::string& what) {
    for (const std::string store : {" --store store", ""}) {
      const Outcome outcome = Haarflow("verify " + file + store);
      EXPECT_NE(outcome.exit_code, 0) << what;
      EXPECT_THAT(outcome.err, HasSubstr(what));
      EXPECT_EQ(outcome.out, "");
    }
  }

  static World* world_;
};
VerifyTest::World* VerifyTest::world_ = nullptr;

TEST_F(VerifyTest, WhatWasDrawnIsDrawnAgainHereAndByTheServer) {
  for (const std::string file : {"chain.h5", "weighted.npy", "su3.lime"}) {
    for (const std::string store : {" --store store", ""}) {
      const Outcome outcome = Haarflow("--json verify " + file + store);
      ASSERT_EQ(outcome.exit_code, 0) << file << outcome.err;
      const Json json = Json::parse(outcome.out);
      EXPECT_EQ(json["equal"], true);
      EXPECT_EQ(json["bit_for_bit"], true);
      EXPECT_EQ(json["whole_run"], true);
      EXPECT_GE(json["proposals"], json["configurations"]);
    }
  }
  EXPECT_THAT(Haarflow("verify chain.h5 --store store").out, HasSubstr("equal bit for bit"));
}

TEST_F(VerifyTest, AResumedRunIsOneRun) {
  ASSERT_EQ(Haarflow("sample small -n 50 --seed 8 --burn-in 7 -o longer.npy").exit_code, 0);
  ASSERT_EQ(Haarflow("sample small -n 170 -o longer.npy --resume").exit_code, 0);
  const Outcome outcome = Haarflow("--json verify longer.npy --store store");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  ASSERT_EQ(Haarflow("sample small -n 170 --seed 8 --burn-in 7 -o unbroken.npy").exit_code, 0);
  EXPECT_EQ(ReadFile(Path("longer.npy"), 1 << 24).value(), ReadFile(Path("unbroken.npy"), 1 << 24).value());
}

TEST_F(VerifyTest, EveryAlterationOfAChainIsFound) {
  const auto found = [](const std::string& what, const Alter& alter) {
    Plant("chain.h5", "altered.h5", alter);
    ExpectFound("altered.h5", what);
  };
  found("links[mu 1, y 2, x 3]", [](auto*, auto* rows, auto*) {
    const size_t at = 20 * 256 + ((1 * 4 + 2) * 4 + 3) * 8;  // the last bit of one angle
    (*rows->mutable_payload())[at] ^= 1;
  });
  found("log_q", [](auto*, auto* rows, auto*) { rows->set_log_q(9, std::nextafter(rows->log_q(9), 1)); });
  found("action", [](auto*, auto* rows, auto*) { rows->set_action(9, rows->action(9) + 1e-12); });
  found("log_weight", [](auto*, auto* rows, auto*) { rows->set_log_weight(9, rows->log_weight(9) + 1e-12); });
  found("plaquette", [](auto*, auto* rows, auto*) {
    rows->mutable_observables(0)->set_value(9, rows->observables(0).value(9) + 1e-12);
  });
  found("multiplicity is", [](auto*, auto* rows, auto*) { rows->set_multiplicity(30, rows->multiplicity(30) + 1); });
  found("multiplicity is", [](auto*, auto* rows, auto*) {
    const int last = rows->multiplicity_size() - 1;
    rows->set_multiplicity(last, rows->multiplicity(last) + 100000);
  });
  found("accepted",
        [](auto*, auto*, auto* summary) { summary->mutable_summary()->mutable_statistics()->set_accepted(1); });
  found("log_z", [](auto*, auto*, auto* summary) { summary->mutable_summary()->mutable_statistics()->set_log_z(1); });
  found("links[", [](auto* header, auto*, auto*) { header->mutable_header()->set_seed(6); });
  found("digest", [](auto* header, auto*, auto*) { (*header->mutable_header()->mutable_model_digest())[3] ^= 1; });
  found("target_digest",
        [](auto* header, auto*, auto*) { (*header->mutable_header()->mutable_target_digest())[3] ^= 1; });
  found("target_digest", [](auto* header, auto*, auto*) {
    header->mutable_header()->mutable_target()->mutable_u1_wilson()->set_beta(0.4);
  });
  found("in the chain", [](auto* header, auto*, auto*) { header->mutable_header()->set_burn_in(uint64_t{1} << 50); });
  found("the chain's next", [](auto*, auto* rows, auto*) {  // a configuration left out
    const auto drop = [](auto* column) { column->erase(column->begin() + 40); };
    drop(rows->mutable_index());
    drop(rows->mutable_multiplicity());
    drop(rows->mutable_log_weight());
    drop(rows->mutable_log_q());
    drop(rows->mutable_action());
    for (auto& column : *rows->mutable_observables()) drop(column.mutable_value());
    rows->mutable_payload()->erase(40 * 256, 256);
  });
  Plant("chain.h5", "same.h5", [](auto*, auto*, auto*) {});
  EXPECT_EQ(Haarflow("verify same.h5 --store store").exit_code, 0);
}

TEST_F(VerifyTest, AWeightedRunMayLackNoProposal) {
  Plant("weighted.npy", "lacking.h5", [](auto*, auto* rows, auto*) {
    const auto drop = [](auto* column) { column->erase(column->begin() + 40); };
    drop(rows->mutable_index());
    drop(rows->mutable_log_weight());
    drop(rows->mutable_log_q());
    drop(rows->mutable_action());
    for (auto& column : *rows->mutable_observables()) drop(column.mutable_value());
    rows->mutable_payload()->erase(40 * 128, 128);
  });
  ExpectFound("lacking.h5", "configuration 40 is missing");
  Plant("weighted.npy", "altered.npy", [](auto*, auto* rows, auto*) { (*rows->mutable_payload())[7 * 128] ^= 1; });
  ExpectFound("altered.npy", "configuration 7: links[mu 0, y 0, x 0]");
}

TEST_F(VerifyTest, GaugeFilesAreVerifiedInEveryFormat) {
  ASSERT_EQ(Haarflow("convert su3.lime full.nersc").exit_code, 0);
  ASSERT_EQ(Haarflow("convert full.nersc rows.nersc --nersc-rows 2").exit_code, 0);
  ASSERT_EQ(Haarflow("convert rows.nersc rows.h5").exit_code, 0);
  ASSERT_EQ(Haarflow("convert full.nersc back.npy").exit_code, 0);
  for (const std::string file : {"full.nersc", "rows.nersc", "rows.h5", "back.npy"}) {
    const Outcome outcome = Haarflow("--json verify " + file + " --store store");
    ASSERT_EQ(outcome.exit_code, 0) << file << ": " << outcome.err;
    const Json json = Json::parse(outcome.out);
    EXPECT_EQ(json["bit_for_bit"], true);
    EXPECT_EQ(json["third_rows_rebuilt"], file.substr(0, 4) == "rows") << file;
  }
  // One file of the run, with an altered link and checksums that agree with it.
  std::vector<uint64_t> indices;
  ASSERT_TRUE(ReadConfigurations({Path("su3.lime")}, [&](const SampleRow& row) {
                indices.push_back(row.index);
                return absl::OkStatus();
              }).ok());
  const std::string one = std::filesystem::path(GaugeFileOf("su3.lime", indices[1])).string();
  EXPECT_THAT(Haarflow("verify " + one + " --store store").out, HasSubstr("a part of its run"));
  Plant(one, "one.lime", [](auto*, auto* rows, auto*) { (*rows->mutable_payload())[144 * 5] ^= 1; });
  ExpectFound("one.lime", "links[mu 0, t 0, z 0, y 1, x 1, row 0, column 0, real part]");
  // And with checksums that do not.
  std::string bytes = ReadFile(Path(one), 1 << 24).value();
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(Path("broken.lime"), std::ios::binary) << bytes;
  const Outcome broken = Haarflow("verify broken.lime --store store");
  EXPECT_EQ(broken.exit_code, 5);
  EXPECT_THAT(broken.err, HasSubstr("scidac-checksum"));
}

TEST_F(VerifyTest, FieldsOfOthersGetActionAndLogQ) {
  ASSERT_EQ(Haarflow("convert su3.lime theirs.nersc").exit_code, 0);
  std::vector<SampleRow> rows;
  ASSERT_TRUE(ReadConfigurations({Path("su3.lime")}, [&](const SampleRow& row) {
                rows.push_back(row);
                return absl::OkStatus();
              }).ok());
  const std::string file = GaugeFileOf("theirs.nersc", rows[0].index);
  std::filesystem::rename(Path(file), Path("ckpoint_lat.4000"));  // without its record
  EXPECT_THAT(Haarflow("verify ckpoint_lat.4000").out, HasSubstr("of another program"));
  const Outcome outcome = Haarflow(std::string("--json verify ckpoint_lat.4000 --store store --model ") + kSu3);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json weighed = Json::parse(outcome.out)["configurations"][0];
  EXPECT_NEAR(weighed["log_q"], rows[0].log_q, 1e-8);
  EXPECT_NEAR(weighed["action"], rows[0].action, 1e-9);
  EXPECT_NEAR(weighed["log_weight"], rows[0].log_weight, 1e-8);
  // At another coupling the action is another one, log q that of the model.
  const Outcome other =
      Haarflow(std::string("--json verify ckpoint_lat.4000 --store store --set beta=2 --model ") + kSu3);
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_NEAR(Json::parse(other.out)["configurations"][0]["action"], 2 * rows[0].action, 1e-9);
  EXPECT_EQ(Haarflow("verify ckpoint_lat.4000 --store store --model small").exit_code, 4);
  EXPECT_EQ(Haarflow("verify ckpoint_lat.4000 --model small").exit_code, 2);
}

TEST_F(VerifyTest, ConvertSaysWhatItCannotDo) {
  EXPECT_EQ(Haarflow("convert chain.h5").exit_code, 2);
  EXPECT_EQ(Haarflow("convert chain.h5 a.txt").exit_code, 2);
  EXPECT_EQ(Haarflow("convert chain.h5 chain.h5 --force").exit_code, 2);
  EXPECT_EQ(Haarflow("convert chain.h5 weighted.npy").exit_code, 6);
  EXPECT_EQ(Haarflow("convert missing.h5 a.npy").exit_code, 6);
  EXPECT_THAT(Haarflow("convert chain.h5 a.lime").err, HasSubstr("SU(3)"));
  EXPECT_THAT(Haarflow("sample small -n 10 -o a.lime").err, HasSubstr("SU(3)"));
  EXPECT_FALSE(std::filesystem::exists(Path("a.lime.part")));
}

}  // namespace
}  // namespace haarflow::testing
