// The trainer under mpirun: the same model, bit for bit, from one process and from several; a rank that is killed ends
// the attempt, and the next one goes on from the last state; jobs of a server.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/reference/loop_specs.h"
#include "tests/reference/test_specs.h"
#include "tests/service/jobs_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string Mpirun() {
  std::stringstream path(std::getenv("PATH"));
  for (std::string folder; std::getline(path, folder, ':');) {
    if (::access((folder + "/mpirun").c_str(), X_OK) == 0) return folder + "/mpirun";
  }
  return "";
}

class RanksTest : public JobsTest {
 protected:
  void SetUp() override {
    mpirun_ = Mpirun();
    if (mpirun_.empty()) GTEST_SKIP() << "no mpirun in the PATH (Debian: openmpi-bin)";
    const char* bin = std::getenv("HAARFLOW_BIN_DIR");
    bin_ = bin != nullptr ? bin : HAARFLOW_BIN_DIR;
    if (!fs::exists(bin_ + "/../lib/libhaarflow_mpi.so")) GTEST_SKIP() << "built without MPI (HAARFLOW_MPI)";
  }
  // `ranks` processes of one thread each on this machine; 0: a process by itself.
  std::unique_ptr<ChildProcess> Start(int ranks, std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--threads", "1"});
    if (ranks == 0) return std::make_unique<ChildProcess>("haarflow-trainer", arguments);
    // No network, no binding to cores that others use as well.
    std::vector<std::string> launch = {"-n",
                                       std::to_string(ranks),
                                       "--oversubscribe",
                                       "--bind-to",
                                       "none",
                                       "--mca",
                                       "btl",
                                       "self,vader",
                                       "--mca",
                                       "pml",
                                       "ob1",
                                       "--mca",
                                       "plm",
                                       "isolated",
                                       bin_ + "/haarflow-trainer"};
    if (::geteuid() == 0) launch.insert(launch.begin(), "--allow-run-as-root");
    launch.insert(launch.end(), arguments.begin(), arguments.end());
    // Open MPI itself leaks: of no interest to an AddressSanitizer build.
    return std::make_unique<ChildProcess>(
        mpirun_, launch,
        std::vector<std::string>{"OMPI_MCA_rmaps_base_oversubscribe=1", "ASAN_OPTIONS=detect_leaks=0"});
  }
  std::vector<std::string> Train(const std::string& text, const std::string& store) const {
    std::ofstream(store_.path("spec.txtpb")) << text;
    return {"train", store_.path("spec.txtpb"), "--store", store_.path(store)};
  }
  // "published NAME/1  sha256:..." and the quality: everything but times.
  static std::string Published(ChildProcess* trainer) {
    EXPECT_EQ(trainer->Wait(), 0) << trainer->output();
    const std::string output = trainer->output();
    const size_t begin = output.find("published "), end = output.find("fresh samples", begin);
    EXPECT_NE(begin, std::string::npos) << output;
    return begin == std::string::npos ? "" : output.substr(begin, end - begin);
  }
  // The process of a rank: a child of mpirun that was told its number.
  static pid_t ProcessOf(const ChildProcess& mpirun, int rank) {
    const std::string wanted = absl::StrCat("OMPI_COMM_WORLD_RANK=", rank);
    const std::string parent = absl::StrCat("PPid:\t", mpirun.pid(), "\n");
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const auto contents = [&](const char* name) {
        std::ifstream file(entry.path() / name);
        return std::string(std::istreambuf_iterator<char>(file), {});
      };
      if (contents("status").find(parent) == std::string::npos) continue;
      if (contents("environ").find(wanted + '\0') != std::string::npos) return std::stoi(entry.path().filename());
    }
    ADD_FAILURE() << "no rank " << rank;
    return 0;
  }

  std::string mpirun_, bin_;
};

std::string U1(int steps) {
  SpecOptions options;
  options.float64 = false;
  options.training = absl::StrCat(
      "training { seed: 3 phases { steps: ", steps,
      " batch: 80 learning_rate: 2e-3 schedule: LEARNING_RATE_SCHEDULE_COSINE final_learning_rate_factor: 0.1 } }");
  return SpecText(options);
}

TEST_F(RanksTest, OneModelFromAnyNumberOfRanks) {
  ScalarOptions scalar;
  scalar.more =
      "training { seed: 3 phases { steps: 30 batch: 48 learning_rate: 0.01 kinetic_penalty: 1e-3 integration_steps: 5 "
      "estimator: GRADIENT_ESTIMATOR_PATH } }";
  const std::string loops =
      LoopSpec(2, "shape: [4, 4]", 1.2, 1, kLoopClasses2d, "phases { steps: 2 batch: 112 gauss_newton {} }");
  int number = 0;
  for (const std::string& text : {U1(30), ScalarSpecText(scalar), loops}) {
    const auto alone = Start(0, Train(text, absl::StrCat("store", number++)));
    const std::string one = Published(alone.get());
    EXPECT_THAT(one, HasSubstr("sha256:"));
    for (const int ranks : {1, 2, 3}) {
      const auto many = Start(ranks, Train(text, absl::StrCat("store", number++)));
      EXPECT_EQ(Published(many.get()), one) << many->output();
      const std::string said = absl::StrCat(ranks, " ranks, in each 1 threads");
      EXPECT_EQ(many->output().find(said) != std::string::npos, ranks > 1) << many->output();
    }
  }
}

TEST_F(RanksTest, ALostRankEndsTheAttemptAndTheNextGoesOn) {
  const std::string text = U1(400);
  const auto unbroken = Start(0, Train(text, "unbroken"));
  const std::string one = Published(unbroken.get());
  for (const int lost : {1, 0}) {
    auto command = Train(text, absl::StrCat("lost", lost));
    command.insert(command.end(), {"--save-seconds", "0"});
    const auto broken = Start(2, command);
    const std::string state = store_.path(absl::StrCat("lost", lost, "/.training-test.safetensors"));
    // A state of the middle.
    for (int i = 0; i < 1200 && !fs::exists(state); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ASSERT_TRUE(fs::exists(state)) << broken->output();
    ::kill(ProcessOf(*broken, lost), SIGKILL);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_NE(broken->Wait(), 0);
    // mpirun allows the rest a second. Nobody waits for a timeout of minutes.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
    EXPECT_THAT(broken->output(), Not(HasSubstr("published")));
    ASSERT_TRUE(fs::exists(state));
    // Two ranks, then three: who had computed what does not matter.
    const auto again = Start(2 + lost, command);
    EXPECT_EQ(Published(again.get()), one);
    EXPECT_THAT(again->output(), HasSubstr("resuming after step"));
  }
}

TEST_F(RanksTest, ToldToStopAllStop) {
  auto command = Train(U1(100000), "stopped");
  const auto trainer = Start(2, command);
  ASSERT_TRUE(trainer->WaitForOutput("2 ranks")) << trainer->output();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  trainer->Signal(SIGUSR1);  // mpirun passes it on
  EXPECT_EQ(trainer->Wait(), 130) << trainer->output();
  EXPECT_THAT(trainer->output(), HasSubstr("the same command resumes"));
  EXPECT_TRUE(fs::exists(store_.path("stopped/.training-test.safetensors")));
}

TEST_F(RanksTest, WhatRankZeroRefusesEndsAll) {
  const auto trainer = Start(3, {"train", store_.path("nowhere.txtpb"), "--store", store_.path("none")});
  EXPECT_EQ(trainer->Wait(), 1) << trainer->output();
  EXPECT_THAT(trainer->output(), HasSubstr("nowhere.txtpb"));
}

TEST_F(RanksTest, ALostRanksJobIsResumedByTheNextAttempt) {
  PublishModel(1024);  // a job of seconds, of which a rank is lost after its first state
  StartServer({"--job-lease-seconds", "1"});
  const std::string id = Retune(Request("k", 2.5, 0.93, 60)).job_id();
  const std::vector<std::string> work = {"work", "--server", address_, "--state-seconds", "0", "--once"};
  {
    const auto first = Start(2, work);
    ASSERT_TRUE(first->WaitForOutput("state uploaded")) << first->output();
    ::kill(ProcessOf(*first, 1), SIGKILL);
    EXPECT_NE(first->Wait(), 0);
  }
  const auto second = Start(2, work);
  const v1::Job job = WatchToTheEnd(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.error() << second->output();
  EXPECT_EQ(job.attempt(), 2);
  EXPECT_EQ(second->Wait(), 0) << second->output();
  EXPECT_THAT(second->output(), HasSubstr("training resumed"));
  EXPECT_THAT(second->output(), HasSubstr("version published"));
}

}  // namespace
}  // namespace haarflow::testing
