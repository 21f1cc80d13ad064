// The model manager against real stores, in one process: swaps, refusals, the canary, aliases.
#include "server/registry/model_manager.h"

#include <filesystem>
#include <fstream>
#include <new>
#include <stdexcept>

#include "core/base/file.h"
#include "tests/service/fake_sampler.h"
#include "tests/service/model_manager_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

TEST_F(ModelManagerTest, ANewChampionIsServedAndTheOldOneDestroyedWhenNobodyHoldsIt) {
  store_.Publish("m", 4, 0.3);
  Start();
  EXPECT_EQ(Served("m"), 1);
  auto held = registry_.Resolve({.model = "m"});
  ASSERT_TRUE(held.ok());
  const Manifest second = store_.Publish("m", 4, 0.31);
  EXPECT_EQ(Served("m"), 1) << "nothing is watched faster than the poll";
  const auto result = Sync();
  EXPECT_EQ(result.swaps, 1);
  EXPECT_EQ(result.generation, 2);
  EXPECT_EQ(Served("m"), 2);
  EXPECT_EQ(registry_.Current("m")->digest(), second.digest);
  const v1::ModelInfo info = Info("m");
  ASSERT_EQ(info.versions_size(), 2);
  EXPECT_EQ(info.versions(0).state(), v1::MODEL_STATE_RETIRING);
  EXPECT_THAT(info.versions(0).aliases(), ElementsAre("previous"));
  EXPECT_EQ(info.versions(1).state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(events_.Count(ModelEvent::kDestroyed), 0);
  held = absl::CancelledError();
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kDestroyed));
  EXPECT_EQ(Info("m").versions(0).state(), v1::MODEL_STATE_UNLOADED);
  EXPECT_EQ(Sync().swaps, 0);
}

TEST_F(ModelManagerTest, ThePollFindsWhatNobodyAnnounced) {
  options_.poll = std::chrono::milliseconds(1);
  store_.Publish("m", 4, 0.3);
  Start();
  store_.Publish("m", 4, 0.31);
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kServing, 2));
  EXPECT_EQ(Served("m"), 2);
  store_.Publish("new", 4, 0.3);
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kServing, 3));
  EXPECT_EQ(Served("new"), 1);
}

TEST_F(ModelManagerTest, BrokenPublicationsAreNeverServedAndTheOldVersionGoesOn) {
  store_.Publish("m", 4, 0.3);
  Start();
  const std::string model = store_.directory() + "/m/";
  const auto flip = [](const std::string& file) {
    std::string bytes = *ReadFile(file, 1 << 20);
    bytes[bytes.size() / 2] ^= 1;
    std::ofstream(file, std::ios::binary) << bytes;
  };
  const std::vector<std::pair<std::string, std::function<void(const std::string&)>>> faults = {
      {"bit flip in the weights", [&](const std::string& v) { flip(v + "weights.safetensors"); }},
      {"bit flip in the spec", [&](const std::string& v) { flip(v + "spec.txtpb"); }},
      {"bit flip in the manifest", [&](const std::string& v) { flip(v + "manifest.json"); }},
      {"truncated weights", [&](const std::string& v) { fs::resize_file(v + "weights.safetensors", 5); }},
      {"truncated manifest", [&](const std::string& v) { fs::resize_file(v + "manifest.json", 40); }},
      {"weights not there yet", [&](const std::string& v) { fs::remove(v + "weights.safetensors"); }},
      {"nothing there yet", [&](const std::string& v) { fs::remove_all(v); }},
      {"another version's files", [&](const std::string& v) {
         fs::copy(model + "1", v, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
       }}};
  uint64_t version = 1;
  for (const auto& [what, inflict] : faults) {
    store_.Publish("m", 4, 0.3 + 0.001 * static_cast<double>(++version));
    inflict(model + std::to_string(version) + "/");
    EXPECT_EQ(Sync().refusals, 1) << what;
    EXPECT_EQ(Served("m"), 1) << what;
    const v1::ModelInfo info = Info("m");
    EXPECT_EQ(info.state(), v1::MODEL_STATE_READY);
    EXPECT_THAT(info.state_reason(), HasSubstr("version 1 goes on")) << what;
    const v1::ModelVersion& shown = info.versions(static_cast<int>(version) - 1);
    EXPECT_EQ(shown.state(), v1::MODEL_STATE_REFUSED) << what;
    EXPECT_FALSE(shown.state_reason().empty());
    EXPECT_TRUE(registry_.Resolve({.model = "m"}).ok());
  }
  // An index that is damaged or half-written.
  const std::string index = model + "index.json";
  const std::string whole = *ReadFile(index, 1 << 20);
  for (const std::string& bytes : {whole.substr(0, whole.size() / 2), std::string(), whole + "x"}) {
    std::ofstream(index, std::ios::binary) << bytes;
    EXPECT_EQ(Sync().refusals, 1);
    EXPECT_EQ(Served("m"), 1);
    EXPECT_THAT(Info("m").state_reason(), HasSubstr("index.json"));
  }
  std::ofstream(index, std::ios::binary) << whole;
  // A whole one ends the trouble.
  store_.Publish("m", 4, 0.4);
  EXPECT_EQ(Sync().swaps, 1);
  EXPECT_EQ(Served("m"), version + 1);
  EXPECT_EQ(Info("m").state_reason(), "");
}

TEST_F(ModelManagerTest, ARefusedVersionIsTriedAgainWhenAskedAndWhenItsTimeComes) {
  store_.Publish("m", 4, 0.3);
  options_.first_retry = options_.last_retry = std::chrono::milliseconds(1);
  Start();
  store_.Publish("m", 4, 0.31);
  const std::string file = store_.directory() + "/m/2/weights.safetensors";
  const std::string whole = *ReadFile(file, 1 << 20);
  store_.Alter("m/2/weights.safetensors");
  EXPECT_EQ(Sync().refusals, 1);
  EXPECT_EQ(Sync().refusals, 1);
  std::ofstream(file, std::ios::binary) << whole;
  EXPECT_EQ(Sync().swaps, 1);
  EXPECT_EQ(Served("m"), 2);
}

TEST_F(ModelManagerTest, TheCanaryRefusesAModelThatIsWorseThanItsCard) {
  store_.Publish("m", 4, 1.0);
  Start();
  // A uniform prior at this coupling has an ESS of about 0.13, and says so, or does not.
  store_.Publish("m", 4, 0.9, Promising(0.9));
  EXPECT_EQ(Sync().refusals, 1);
  EXPECT_EQ(Served("m"), 1);
  EXPECT_THAT(Info("m").versions(1).state_reason(), HasSubstr("sigma below"));
  store_.Publish("m", 4, 0.3, Promising(0.45));
  EXPECT_EQ(Sync().swaps, 1) << Info("m").state_reason();
  EXPECT_EQ(Served("m"), 3);
}

TEST(Canary, AnExceptionOfTheSamplerIsAFailedCheckWithItsReason) {
  FakeSampler sampler({2, 2}, FakeSampler::Normal(0.1));
  EXPECT_TRUE(CanaryCheck(sampler, v1::ModelCard(), 1, CanaryOptions()).ok());
  sampler.BeforeDraw([]() -> absl::Status { throw std::runtime_error("the kernel module is gone"); });
  absl::Status checked = CanaryCheck(sampler, v1::ModelCard(), 1, CanaryOptions());
  EXPECT_EQ(checked.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(checked.message()),
              ::testing::HasSubstr("the canary check failed: the kernel module is gone"));
  sampler.BeforeDraw([]() -> absl::Status { throw std::bad_alloc(); });
  checked = CanaryCheck(sampler, v1::ModelCard(), 1, CanaryOptions());
  EXPECT_EQ(checked.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ModelManagerTest, PromotionIsCheckedBeforeTheIndexIsWritten) {
  store_.Publish("m", 4, 0.3);
  store_.Publish("m", 4, 0.31, {}, /*make_champion=*/false);
  store_.Publish("m", 4, 0.9, Promising(0.9), /*make_champion=*/false);
  Start();
  EXPECT_EQ(Served("m"), 1);
  EXPECT_EQ(SetAlias("m", "champion", 3).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.Open().ReadIndex("m")->aliases.at("champion"), 1);
  EXPECT_EQ(Served("m"), 1);
  const auto promoted = SetAlias("m", "champion", 2);
  ASSERT_TRUE(promoted.ok()) << promoted.status();
  EXPECT_EQ(promoted->version(), 2);
  EXPECT_EQ(Served("m"), 2);
  EXPECT_EQ(Rollback("m")->version(), 1);
  EXPECT_EQ(Rollback("m")->version(), 2) << "a second rollback undoes the first";
  EXPECT_EQ(SetAlias("m", "candidate", 3)->version(), 2) << "a candidate serves nobody";
  EXPECT_EQ(SetAlias("m", "pinned", 1)->version(), 1);
  EXPECT_EQ(Info("m").pinned_version(), 1);
  EXPECT_EQ(SetAlias("m", "champion", 1)->version(), 1);
  EXPECT_EQ(SetAlias("m", "champion", 2)->version(), 1) << "pinned";
  EXPECT_EQ(SetAlias("m", "pinned", 0)->version(), 2);
  EXPECT_EQ(SetAlias("m", "champion", 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SetAlias("m", "champion", 9).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SetAlias("nobody", "champion", 1).status().code(), absl::StatusCode::kNotFound);
  store_.Publish("once", 4, 0.3);
  Sync();
  EXPECT_EQ(Rollback("once").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ModelManagerTest, ASamplerWritesNothing) {
  store_.Publish("m", 4, 0.3);
  store_.Publish("m", 4, 0.31);
  options_.writable = false;
  Start();
  EXPECT_EQ(SetAlias("m", "champion", 1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Rollback("m").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.Open().ReadIndex("m")->generation, 2);
  ASSERT_TRUE(store_.Open().SetAlias("m", "champion", 1).ok());
  EXPECT_EQ(Sync().swaps, 1) << "it follows who writes";
  EXPECT_EQ(Served("m"), 1);
}

}  // namespace
}  // namespace haarflow::testing
