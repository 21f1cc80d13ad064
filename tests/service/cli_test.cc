// The binary `haarflow` as a user runs it.
#include <signal.h>

#include "core/io/part_file.h"
#include "tests/service/cli_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;

const grpc::Status kBroken(grpc::StatusCode::INTERNAL, "the machine room is on fire");

TEST_F(CliTest, ListsModels) {
  const Outcome text = Haarflow("models");
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("0.8123(21)"));
  EXPECT_THAT(text.out, HasSubstr("U(1) Wilson, beta = 2"));
  const Json json = Json::parse(Haarflow("--json models").out);
  EXPECT_EQ(json["models"][0]["name"], "fake");
  EXPECT_EQ(json["models"][0]["card"]["quality"]["ess"], 0.8123);
  EXPECT_EQ(Haarflow("model fake --spec").out, "name: \"fake\"\n");
  EXPECT_EQ(Json::parse(Haarflow("model fake --json").out)["manifest"]["made"], "up");
}

TEST_F(CliTest, SamplesIntoAFile) {
  const Outcome outcome = Haarflow("sample fake -n 100 -o a.h5");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("plaquette"));
  EXPECT_THAT(outcome.out, HasSubstr("charge_squared"));
  EXPECT_THAT(outcome.out, HasSubstr("no: made up"));
  EXPECT_TRUE(Exists("a.h5"));
  EXPECT_FALSE(Exists("a.h5.part"));
  EXPECT_EQ(outcome.err, "");  // no bar where there is no terminal
}

TEST_F(CliTest, OneJsonDocument) {
  const Outcome outcome =
      Haarflow("--json sample fake -n 100 --seed 7 --observables plaquette --require-reliable -o a.npy");
  EXPECT_EQ(outcome.exit_code, 7);
  const Json json = Json::parse(outcome.out);
  EXPECT_EQ(json["run"]["seed"], 7);
  EXPECT_EQ(json["steps"], 100);
  EXPECT_EQ(json["observables"][0]["observable"], "plaquette");
  EXPECT_EQ(json["statistics"]["quality"]["reliable"], false);
  EXPECT_EQ(json["files"].size(), 3u);
  for (const auto& file : json["files"]) EXPECT_TRUE(Exists(file));
}

TEST_F(CliTest, RefusesToOverwrite) {
  std::ofstream(Path("a.h5")) << "precious";
  const Outcome outcome = Haarflow("sample fake -n 100 -o a.h5");
  EXPECT_EQ(outcome.exit_code, 6);
  EXPECT_THAT(outcome.err, HasSubstr("--force"));
  EXPECT_EQ(Slurp(Path("a.h5")), "precious");
  EXPECT_EQ(service_.sample_calls(), 0);
  EXPECT_EQ(Haarflow("sample fake -n 100 -o a.h5 --force").exit_code, 0);
  EXPECT_NE(Slurp(Path("a.h5")), "precious");
}

TEST_F(CliTest, UsageIsExplained) {
  for (const char* arguments :
       {"", "nonsense", "sample fake -n 10", "sample fake -o a.h5", "sample fake -n 10 -o a.txt",
        "sample fake -n 0 -o a.h5", "sample fake -n -5 -o a.h5", "sample fake -n 10 -o a.h5 --mode other",
        "sample fake -n 10 --observables plaquette --resume", "sample fake -n 10 -o a.h5 --resume --force",
        "--server nowhere models", "logz fake --error -1", "sample fake -n 10 -o a.h5 --set beta",
        "sample fake -n 10 -o a.h5 --set beta=x", "logz fake --set m2=1", "thermo fake --scan beta=1:2",
        "thermo fake --scan beta=1:2:1", "thermo fake --scan beta=1:1:9", "thermo fake --scan m2=1:2:6"}) {
    const Outcome outcome = Haarflow(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments << "\n" << outcome.err;
    EXPECT_EQ(outcome.out, "") << arguments;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << arguments << "\n" << outcome.err;
  }
  const Json json = Json::parse(Haarflow("--json sample fake").out);
  EXPECT_EQ(json["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_THAT(Haarflow("--help").out, HasSubstr("Exit codes"));
}

TEST_F(CliTest, AServerThatIsDownIsThree) {
  address_ = "127.0.0.1:1";
  for (const char* arguments :
       {"models", "model x", "sample fake -n 10 -o a.h5", "logz fake", "measure fake plaquette", "healthcheck"}) {
    const Outcome outcome = Haarflow(arguments);
    EXPECT_EQ(outcome.exit_code, 3) << arguments;
    EXPECT_THAT(outcome.err, HasSubstr("127.0.0.1:1")) << arguments;
  }
  EXPECT_FALSE(Exists("a.h5.part"));
  EXPECT_EQ(Json::parse(Haarflow("models --json").out)["error"]["code"], "UNAVAILABLE");
}

TEST_F(CliTest, ARefusalIsFourWithTheServersWords) {
  const Outcome outcome = Haarflow("sample other -n 10 -o a.h5");
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.err, ::testing::MatchesRegex("haarflow: no model other; there is: fake \\(trace [0-9a-f]+\\)\n"));
  EXPECT_FALSE(Exists("a.h5.part"));
}

TEST_F(CliTest, CorruptDataIsFiveAndWhatWasGoodIsKept) {
  service_.SetTroubles({{.after_chunks = 2, .corrupt = true}});
  const Outcome outcome = Haarflow("sample fake -n 100 -o a.h5");
  EXPECT_EQ(outcome.exit_code, 5);
  EXPECT_THAT(outcome.err, HasSubstr("--resume"));
  EXPECT_EQ(Haarflow("sample fake -n 100 -o a.h5 --resume").exit_code, 0);
}

TEST_F(CliTest, ABrokenRunIsResumedToTheUnbrokenOne) {
  ASSERT_EQ(Haarflow("--json sample fake -n 100 -o whole.npy").exit_code, 0);
  service_.SetTroubles({{.after_chunks = 4, .end = kBroken}});
  const Outcome broken = Haarflow("sample fake -n 100 -o a.npy");
  EXPECT_EQ(broken.exit_code, 4);
  EXPECT_THAT(broken.err, HasSubstr("on fire"));
  EXPECT_THAT(broken.err, HasSubstr("a.npy.part keeps"));
  EXPECT_EQ(Haarflow("sample fake -n 100 -o a.npy").exit_code, 6);  // not without saying which
  EXPECT_EQ(Haarflow("sample fake -n 100 -o a.npy --resume --seed 99").exit_code, 2);
  ASSERT_EQ(Haarflow("sample fake -o a.npy --resume").exit_code, 0);  // -n is known
  EXPECT_EQ(Slurp(Path("a.npy")), Slurp(Path("whole.npy")));
  EXPECT_EQ(Slurp(Path("a.table.npy")), Slurp(Path("whole.table.npy")));
}

TEST_F(CliTest, AFinishedFileIsExtended) {
  ASSERT_EQ(Haarflow("sample fake -n 51 -o a.h5").exit_code, 0);  // ends where a configuration does
  const uint64_t steps = service_.run().StepsOf(0, 26);
  ASSERT_EQ(steps, 51u);
  const Outcome outcome = Haarflow("--json sample fake -n 100 -o a.h5 --resume");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err << outcome.out;
  EXPECT_EQ(Json::parse(outcome.out)["steps"], 100);
  EXPECT_EQ(service_.requests().back().count(), 49u);
}

TEST_F(CliTest, ControlCKeepsWhatCame) {
  service_.SetTroubles({{.after_chunks = 3, .hang = true}});
  const pid_t pid = Start("sample fake -n 100 -o a.h5");
  for (int i = 0; i < 2000; ++i, ::usleep(5000)) {  // until they are in the journal, not merely sent
    const auto run = ReadPart(Path("a.h5.part"));
    if (run.ok() && run->configurations == 15) break;
  }
  ::kill(pid, SIGINT);
  const Outcome outcome = Wait(pid);
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_THAT(outcome.err, HasSubstr("interrupted; a.h5.part keeps"));
  EXPECT_THAT(outcome.err, HasSubstr("--resume"));
  EXPECT_EQ(Haarflow("sample fake -n 100 -o a.h5 --resume").exit_code, 0);
}

TEST_F(CliTest, AKilledClientResumes) {
  ASSERT_EQ(Haarflow("sample fake -n 100 -o whole.npy").exit_code, 0);
  const int before = service_.chunks_sent();
  service_.SetTroubles({{.after_chunks = 6, .hang = true}});
  const pid_t pid = Start("sample fake -n 100 -o a.npy");
  AwaitChunks(before + 6);
  ::kill(pid, SIGKILL);
  EXPECT_EQ(Wait(pid).exit_code, -1);
  ASSERT_EQ(Haarflow("sample fake -n 100 -o a.npy --resume").exit_code, 0);
  EXPECT_EQ(Slurp(Path("a.npy")), Slurp(Path("whole.npy")));
  EXPECT_EQ(Slurp(Path("a.table.npy")), Slurp(Path("whole.table.npy")));
}

TEST_F(CliTest, AFullDiskIsSixAndCanBeResumed) {
  // 512-byte blocks: room for the journal of some chunks only.
  const std::string limited = absl::StrCat("cd ", directory_, " && ulimit -f 20 && exec env HAARFLOW_SERVER=", address_,
                                           " ", binary_, " sample fake -n 200 -o a.h5 >out.txt 2>err.txt");
  const Outcome outcome = Finished(std::system(limited.c_str()));
  EXPECT_EQ(outcome.exit_code, 6) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("a.h5.part"));
  EXPECT_THAT(outcome.err, HasSubstr("--resume"));
  EXPECT_EQ(Haarflow("sample fake -n 200 -o a.h5 --resume").exit_code, 0);
}

TEST_F(CliTest, AMissingDirectoryIsSix) { EXPECT_EQ(Haarflow("sample fake -n 10 -o no/such/a.h5").exit_code, 6); }

TEST_F(CliTest, ObservablesAloneCarryNoFields) {
  const Outcome outcome = Haarflow("--json sample fake -n 100 --mode reweighted --observables plaquette");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(service_.requests().back().omit_fields());
  EXPECT_EQ(Json::parse(outcome.out)["observables"].size(), 1u);
}

TEST_F(CliTest, AnotherCouplingIsAskedForAsATarget) {
  ASSERT_EQ(Haarflow("sample fake -n 10 -o a.h5 --set beta=2.5 --burn-in 3 --float32").exit_code, 0);
  const v1::SampleRequest request = service_.requests().back();
  EXPECT_EQ(request.target().u1_wilson().beta(), 2.5);
  EXPECT_EQ(request.burn_in(), 3u);
  EXPECT_EQ(request.precision(), v1::FIELD_PRECISION_FLOAT32);
}

TEST_F(CliTest, MeasuresAndEstimates) {
  const Outcome measure = Haarflow("measure fake plaquette");
  EXPECT_EQ(measure.exit_code, 0) << measure.err;
  EXPECT_THAT(measure.out, HasSubstr("0.69781(12)"));
  EXPECT_THAT(measure.out, HasSubstr("+0.31"));
  EXPECT_EQ(Haarflow("measure fake plaquette --require-reliable").exit_code, 7);
  const Outcome log_z = Haarflow("logz fake --error 0.005 --require-reliable");
  EXPECT_EQ(log_z.exit_code, 0) << log_z.err;
  EXPECT_THAT(log_z.out, HasSubstr("52.7301(42)"));
  EXPECT_EQ(Json::parse(Haarflow("logz fake --json").out)["log_z"]["value"], 52.7301);
  EXPECT_EQ(Haarflow("healthcheck").exit_code, 0);
  EXPECT_EQ(Haarflow("healthcheck --model nobody").exit_code, 4);
}

}  // namespace
}  // namespace haarflow::testing
