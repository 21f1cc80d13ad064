// The store: what is published is what is loaded; what is damaged or half-published is never believed.
#include "core/model/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "absl/strings/str_replace.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/model/publish_lock.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr char kSpec[] = R"pb(
  # comments are stored, too: the digest is over these bytes
  name: "m"
  spec_version: 1
  target {
    lattice { shape: 4 shape: 4 }
    u1_wilson { beta: 1.5 }
  }
  prior { uniform {} }
)pb";

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "haarflow-store-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    auto store = ModelStore::Create(root_ + "/store");
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::make_unique<ModelStore>(*std::move(store));
  }
  void TearDown() override { fs::remove_all(root_); }

  static TensorMap Weights(double value) {
    TensorMap weights;
    weights["w"] = Tensor::FromDoubles(Tensor::Type::kFloat32, {2}, {value, 2});
    return weights;
  }
  static v1::ModelCard Card() {
    v1::ModelCard card;
    card.mutable_quality()->set_ess(0.1 + 0.2);
    card.mutable_quality()->set_samples(uint64_t{1} << 60);
    card.set_log_z(std::nan(""));
    card.set_lineage("scratch \"quoted\"\n\xc3\xa9");
    return card;
  }
  Manifest MustPublish(double value, bool champion = true) {
    auto manifest = store_->Publish(kSpec, Weights(value), Card(), champion);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    return manifest.ok() ? *manifest : Manifest{};
  }
  std::string Path(const std::string& relative) const { return store_->directory() + "/" + relative; }
  static std::string Slurp(const std::string& path) { return *ReadFile(path, 1 << 20); }
  static void Spill(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  std::string root_;
  std::unique_ptr<ModelStore> store_;
};

TEST_F(StoreTest, WhatIsPublishedIsWhatIsLoaded) {
  const Manifest manifest = MustPublish(1);
  EXPECT_EQ(manifest.version, 1);
  const auto loaded = store_->Load("m", 1);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->spec_text, kSpec);
  EXPECT_EQ(loaded->spec.target().u1_wilson().beta(), 1.5);
  EXPECT_EQ(*loaded->weights.at("w").ToDoubles(), (std::vector<double>{1, 2}));
  EXPECT_EQ(loaded->manifest.digest, manifest.digest);
  EXPECT_EQ(loaded->manifest.target, CanonicalTarget(loaded->spec.target()));
  EXPECT_EQ(loaded->manifest.card.quality().ess(), 0.1 + 0.2);
  EXPECT_EQ(loaded->manifest.card.quality().samples(), uint64_t{1} << 60);
  EXPECT_TRUE(std::isnan(loaded->manifest.card.log_z()));
  EXPECT_EQ(loaded->manifest.card.lineage(), Card().lineage());
  EXPECT_EQ(loaded->manifest_json, Slurp(Path("m/1/manifest.json")));
  EXPECT_THAT(*store_->ListModels(), ElementsAre("m"));
}

TEST_F(StoreTest, TheDigestIsOverLengthsAndBytesOfSpecAndWeights) {
  const Manifest manifest = MustPublish(1);
  const std::string spec = Slurp(Path("m/1/spec.txtpb")), weights = Slurp(Path("m/1/weights.safetensors"));
  const auto prefixed = [](const std::string& s) {
    const uint64_t n = s.size();
    return std::string(reinterpret_cast<const char*>(&n), 8) + s;
  };
  EXPECT_EQ(manifest.digest, Sha256Of(prefixed(spec) + prefixed(weights)));
  EXPECT_EQ(ModelDigest("ab", "c").Hex(), Sha256Of(prefixed("ab") + prefixed("c")).Hex());
  EXPECT_NE(ModelDigest("ab", "c"), ModelDigest("a", "bc"));
}

TEST_F(StoreTest, OnlyTheThreeFilesAndTheIndexAreLeft) {
  MustPublish(1);
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(store_->directory())) {
    names.push_back(fs::relative(entry.path(), store_->directory()).string());
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("m", "m/index.json", "m/1", "m/1/spec.txtpb",
                                                     "m/1/weights.safetensors", "m/1/manifest.json"));
}

TEST_F(StoreTest, VersionsCountUpAndTheChampionMovesOnlyWhenAsked) {
  const Digest first = MustPublish(1).digest;
  const Digest second = MustPublish(2, /*champion=*/false).digest;
  EXPECT_EQ(store_->LoadChampion("m")->manifest.digest, first);
  EXPECT_EQ(store_->LoadByReference("m/2")->manifest.digest, second);
  EXPECT_EQ(store_->LoadByReference("m")->manifest.digest, first);
  ASSERT_TRUE(store_->SetAlias("m", "champion", 2).ok());
  EXPECT_EQ(store_->LoadChampion("m")->manifest.digest, second);
  const auto index = store_->ReadIndex("m");
  EXPECT_EQ(index->generation, 3);
  EXPECT_EQ(index->next_version(), 3);
  EXPECT_TRUE(absl::IsNotFound(store_->SetAlias("m", "champion", 3)));
  EXPECT_FALSE(store_->SetAlias("m", "../x", 1).ok());
}

TEST_F(StoreTest, AbsenceIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(ModelStore::Open(root_ + "/nowhere").status()));
  EXPECT_TRUE(absl::IsNotFound(store_->ReadIndex("m").status()));
  EXPECT_TRUE(absl::IsNotFound(store_->LoadChampion("m").status()));
  MustPublish(1, /*champion=*/false);
  EXPECT_THAT(store_->LoadChampion("m").status().message(), HasSubstr("has no champion"));
  EXPECT_TRUE(absl::IsNotFound(store_->Load("m", 2).status()));
}

TEST_F(StoreTest, NamesCannotLeaveTheStore) {
  for (const char* name : {"../m", "..", ".", "", "/etc", "m/../m", ".lock"}) {
    EXPECT_EQ(store_->ReadIndex(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(store_->Load(name, 1).status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_FALSE(store_->LoadByReference(name).ok()) << name;
    EXPECT_FALSE(store_->SetAlias(name, "champion", 1).ok()) << name;
    const std::string spec =
        absl::StrCat("name: \"", name,
                     "\" spec_version: 1 target { lattice { shape: 4 shape: 4 } u1_wilson {} } prior { uniform {} }");
    EXPECT_EQ(store_->Publish(spec, {}, {}, true).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST_F(StoreTest, AnAlteredByteInAnyFileIsDataLoss) {
  MustPublish(1);
  std::mt19937_64 random(1);
  for (const char* file : {"m/1/spec.txtpb", "m/1/weights.safetensors", "m/1/manifest.json", "m/index.json"}) {
    const std::string good = Slurp(Path(file));
    for (int round = 0; round < 60; ++round) {
      std::string bad = good;
      bad[round == 0 ? 0 : round == 1 ? bad.size() - 1 : random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
      Spill(Path(file), bad);
      const auto loaded = store_->LoadChampion("m");
      ASSERT_EQ(loaded.status().code(), absl::StatusCode::kDataLoss) << file;
      EXPECT_THAT(loaded.status().message(), HasSubstr(fs::path(file).filename().string()));
    }
    Spill(Path(file), good);
    ASSERT_TRUE(store_->LoadChampion("m").ok());
  }
}

TEST_F(StoreTest, CutGrownAndMissingFilesAreDataLoss) {
  MustPublish(1);
  for (const char* file : {"m/1/spec.txtpb", "m/1/weights.safetensors", "m/1/manifest.json", "m/index.json"}) {
    const std::string good = Slurp(Path(file));
    for (const std::string& bad :
         {std::string(), good.substr(0, good.size() / 2), good.substr(0, good.size() - 1), good + "\n"}) {
      Spill(Path(file), bad);
      EXPECT_EQ(store_->LoadChampion("m").status().code(), absl::StatusCode::kDataLoss) << file;
    }
    fs::remove(Path(file));
    const auto code = store_->LoadChampion("m").status().code();
    EXPECT_EQ(code, std::string(file) == "m/index.json" ? absl::StatusCode::kNotFound : absl::StatusCode::kDataLoss)
        << file;
    Spill(Path(file), good);
  }
}

TEST_F(StoreTest, AVersionThatTheIndexNamesButIsNotThereIsDataLoss) {
  MustPublish(1);
  MustPublish(2);
  fs::remove_all(Path("m/2"));
  EXPECT_EQ(store_->LoadChampion("m").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(store_->Load("m", 1).ok());
}

TEST_F(StoreTest, AnotherGoodVersionInItsPlaceIsDataLoss) {
  MustPublish(1);
  MustPublish(2);
  fs::remove_all(Path("m/2"));
  fs::copy(Path("m/1"), Path("m/2"), fs::copy_options::recursive);
  EXPECT_THAT(store_->Load("m", 2).status().message(), HasSubstr("it describes 'm'/1"));
  EXPECT_EQ(store_->Load("m", 2).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(StoreTest, APublicationCutBeforeTheRenameLeavesNoTrace) {
  MustPublish(1);
  const std::string temporary = absl::StrCat("m/.publish-", ::getpid(), "-0");
  fs::create_directory(Path(temporary));
  fs::copy(Path("m/1/spec.txtpb"), Path(temporary + "/spec.txtpb"));
  EXPECT_EQ(MustPublish(2).version, 2);
  EXPECT_TRUE(store_->LoadChampion("m").ok());
  EXPECT_FALSE(fs::exists(Path(temporary)));  // nobody else writes under the lock
}

TEST_F(StoreTest, APublicationCutBetweenRenameAndIndexIsNeitherBelievedNorOverwritten) {
  MustPublish(1);
  const std::string old_index = Slurp(Path("m/index.json"));
  MustPublish(2);
  Spill(Path("m/index.json"), old_index);  // as if the crash came before the index was replaced
  const std::string left_over = Slurp(Path("m/2/manifest.json"));
  EXPECT_TRUE(absl::IsNotFound(store_->Load("m", 2).status()));
  EXPECT_EQ(store_->LoadChampion("m")->manifest.version, 1);
  EXPECT_EQ(MustPublish(3).version, 3);
  EXPECT_EQ(store_->LoadChampion("m")->manifest.version, 3);
  EXPECT_EQ(Slurp(Path("m/2/manifest.json")), left_over);
}

TEST_F(StoreTest, AFirstPublicationCutBeforeTheIndexIsSkipped) {
  fs::create_directories(Path("m/1"));
  EXPECT_THAT(*store_->ListModels(), ElementsAre());
  EXPECT_EQ(MustPublish(1).version, 2);
}

TEST_F(StoreTest, ACutIndexReplacementLeavesTheOldIndex) {
  MustPublish(1);
  Spill(Path(absl::StrCat("m/index.json.tmp.", ::getpid())), "{ half");
  EXPECT_TRUE(store_->LoadChampion("m").ok());
  EXPECT_EQ(MustPublish(2).version, 2);
}

TEST_F(StoreTest, ALockLeftByACrashIsNamedWithItsRemedy) {
  MustPublish(1);
  Spill(Path("m/.lock"), "pid 4242 on nodeA\n");
  const auto refused = store_->Publish(kSpec, Weights(2), Card(), true);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(refused.status().message(), HasSubstr("m/.lock is held by pid 4242 on nodeA"));
  EXPECT_THAT(refused.status().message(), HasSubstr("remove it"));
  EXPECT_TRUE(store_->LoadChampion("m").ok());  // readers do not care
  fs::remove(Path("m/.lock"));
  EXPECT_EQ(MustPublish(2).version, 2);
}

// A process of this host that is gone: its lock is taken over. One that lives, or may live elsewhere: never.
TEST_F(StoreTest, ALockIsTakenOverOnlyFromAHolderThatIsCertainlyGone) {
  MustPublish(1);
  const std::string lock = Path("m/.lock");
  std::string left;
  for (const bool dead : {false, true}) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const auto held = PublishLock::Take(lock);
      (void)!::write(ends[1], held.ok() ? "y" : "n", 1);
      ::pause();
    }
    char taken = 0;
    ASSERT_EQ(::read(ends[0], &taken, 1), 1);
    ASSERT_EQ(taken, 'y');
    left = Slurp(lock);
    if (!dead) {
      EXPECT_EQ(PublishLock::Take(lock).status().code(), absl::StatusCode::kUnavailable);
      EXPECT_EQ(Slurp(lock), left);
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    if (dead) {
      EXPECT_TRUE(PublishLock::Take(lock).ok());
    } else {
      fs::remove(lock);
    }
  }
  EXPECT_FALSE(fs::exists(lock));
  // The same words from another boot, and without them.
  for (const std::string& other :
       {absl::StrReplaceAll(left, {{"-", "0"}}), left.substr(0, left.find('\n') + 1), std::string()}) {
    Spill(lock, other);
    EXPECT_EQ(PublishLock::Take(lock).status().code(), absl::StatusCode::kUnavailable) << other;
    EXPECT_EQ(Slurp(lock), other);
  }
  // The holder's number belongs to another process now: this one, which began at another time.
  const size_t second = left.find("process ");
  const std::string scope = left.substr(left.find(' ', left.find(' ', second + 8) + 1));
  Spill(lock, absl::StrCat("pid 1 on here\nprocess ", ::getpid(), " 1", scope));
  EXPECT_TRUE(PublishLock::Take(lock).ok());
  EXPECT_EQ(MustPublish(2).version, 2);
}

TEST_F(StoreTest, APublicationNamesItsJobAndItsAliasesInOneIndex) {
  MustPublish(1);
  Publication publication{.aliases = {"candidate"}, .job = "job-1", .attempt = 2, .fence = 7};
  const auto manifest = store_->Publish(kSpec, Weights(2), Card(), publication);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  const auto index = store_->ReadIndex("m");
  EXPECT_EQ(index->generation, 2);
  EXPECT_EQ(index->aliases.at("champion"), 1);
  EXPECT_EQ(index->aliases.at("candidate"), 2);
  const auto stored = store_->Load("m", 2);
  EXPECT_EQ(stored->manifest.job, "job-1");
  EXPECT_EQ(stored->manifest.attempt, 2);
  EXPECT_EQ(stored->manifest.fence, 7);
  publication.aliases = {"../x"};
  EXPECT_EQ(store_->Publish(kSpec, Weights(3), Card(), publication).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(StoreTest, ADamagedIndexStopsPublicationAndIsNotReplaced) {
  MustPublish(1);
  Spill(Path("m/index.json"), "{}");
  EXPECT_EQ(store_->Publish(kSpec, Weights(2), Card(), true).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Slurp(Path("m/index.json")), "{}");
  EXPECT_FALSE(fs::exists(Path("m/.lock")));
}

TEST_F(StoreTest, ARefusedSpecOrCardPublishesNothing) {
  EXPECT_EQ(store_->Publish("name: \"m\"", {}, {}, true).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(fs::exists(Path("m")));
  v1::ModelCard card;
  card.set_device("\xff");
  const auto refused = store_->Publish(kSpec, {}, card, true);
  EXPECT_FALSE(refused.ok());
  EXPECT_TRUE(absl::IsNotFound(store_->ReadIndex("m").status()));
  EXPECT_EQ(MustPublish(1).version, 1);
}

TEST_F(StoreTest, ConcurrentPublishersNeverLoseAVersion) {
  std::atomic<int> published{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5;) {
        const auto manifest = store_->Publish(kSpec, Weights(t * 10 + i), Card(), true);
        if (manifest.ok())
          ++published, ++i;
        else if (!absl::IsUnavailable(manifest.status())) {
          ADD_FAILURE() << manifest.status();
          return;
        } else
          std::this_thread::yield();
      }
    });
  }
  // A reader sees a whole model at every moment.
  while (published < 20 && !HasFailure()) {
    const auto champion = store_->LoadChampion("m");
    EXPECT_TRUE(champion.ok() || absl::IsNotFound(champion.status())) << champion.status();
  }
  for (auto& thread : threads) thread.join();
  const auto index = store_->ReadIndex("m");
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(index->versions.size(), 20);
  EXPECT_EQ(index->generation, 20);
  for (const auto& [version, digest] : index->versions) EXPECT_EQ(store_->Load("m", version)->manifest.digest, digest);
}

// The real thing: a process that publishes without end is killed at any moment, again and again.
TEST_F(StoreTest, AKilledPublisherNeverLeavesAHalfModelThatIsBelieved) {
  std::mt19937_64 random(3);
  uint64_t generation = MustPublish(0).version;
  for (int round = 0; round < 40; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int i = 1;; ++i) (void)store_->Publish(kSpec, Weights(i), Card(), true);
    }
    ::usleep(static_cast<useconds_t>(random() % 15000));  // where it dies is meant to be arbitrary
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto index = store_->ReadIndex("m");
    ASSERT_TRUE(index.ok()) << index.status();
    EXPECT_GE(index->generation, generation);
    generation = index->generation;
    EXPECT_EQ(index->aliases.at("champion"), index->versions.rbegin()->first);
    for (const auto& [version, digest] : index->versions) ASSERT_TRUE(store_->Load("m", version).ok()) << version;
  }
  EXPECT_GE(MustPublish(1).version, generation + 1);
}

// --------------------------------------------------------------------------------------------- manifest and index text

// What a sealed file says may still be wrong: the seal stops accidents, the checks stop the rest.
std::string Resealed(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  const size_t seal = text.size() - 68;
  text.replace(seal, 64, std::string(64, '0'));
  return text.replace(seal, 64, Sha256Of(text).Hex());
}

TEST(IndexTextTest, RoundTrip) {
  ModelIndex index;
  index.generation = 12;
  for (uint64_t v : {1, 2, 10}) index.versions[v] = Sha256Of(absl::StrCat(v));
  index.aliases = {{"champion", 10}, {"candidate", 2}};
  const std::string text = FormatIndex(index, "m");
  const auto read = ParseIndex(text, "m");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->generation, 12);
  EXPECT_EQ(read->versions, index.versions);
  EXPECT_EQ(read->aliases, index.aliases);
  EXPECT_EQ(FormatIndex(*read, "m"), text);
}

TEST(IndexTextTest, WellSealedNonsenseIsRefusedByName) {
  ModelIndex index;
  index.generation = 3;
  index.versions[1] = Sha256Of("x");
  index.aliases["champion"] = 1;
  const std::string good = FormatIndex(index, "m");
  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"\"format\": 1", "\"format\": 2", "format is 2"},
      {"\"format\": 1", "\"format\": 1.0", "format is not an unsigned integer"},
      {"\"generation\": 3", "\"generation\": -3", "generation is not"},
      {"\"generation\": 3", "\"generation\": 18446744073709551615", "generation is 18446744073709551615"},
      {"\"generation\": 3", "\"generation\": 3, \"generation\": 4", "'generation' is there twice"},
      {"\"generation\": 3", "\"generation\": 3, \"future\": 4", "unknown member 'future'"},
      {"\"generation\": 3,", "", "generation is missing"},
      {"\"model\": \"m\"", "\"model\": \"n\"", "index of 'n'"},
      {"\"1\": \"", "\"01\": \"", "'01', not a version"},
      {"\"1\": \"", "\"0\": \"", "'0', not a version"},
      {"\"1\": \"", "\"1\": \"z", "not a SHA-256"},
      {"\"champion\": 1", "\"champion\": 2", "aliases.champion is 2"},
      {"\"champion\": 1", "\"champion\": \"1\"", "champion is not an unsigned"},
      {"\"champion\": 1", "\"../x\": 1", "not an alias"},
      {"\"champion\": 1", "\"champion\": [[[[[[[[[]]]]]]]]]", "nested too deeply"},
      {"{", "[", "not JSON"},
  };
  for (const auto& c : cases) {
    const auto read = ParseIndex(Resealed(good, c.from, c.to), "m");
    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << c.to;
    EXPECT_THAT(read.status().message(), HasSubstr(c.message)) << c.to;
  }
}

TEST(ManifestTextTest, RoundTripAndWellSealedNonsense) {
  Manifest manifest;
  manifest.model = "m";
  manifest.version = 3;
  manifest.job = "job-1";
  manifest.fence = UINT64_MAX;
  manifest.spec_bytes = 10;
  const std::string good = *FormatManifest(manifest);
  const auto read = ParseManifest(good);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->fence, UINT64_MAX);
  EXPECT_EQ(read->job, "job-1");
  EXPECT_EQ(*FormatManifest(*read), good);

  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"\"version\": 3", "\"version\": 0", "version is 0"},
      {"\"bytes\": 10", "\"bytes\": 4194305", "files.spec.txtpb.bytes is 4194305"},
      {"\"bytes\": 10", "\"bytes\": null", "files.spec.txtpb.bytes is not"},
      {"\"log_z\"", "\"log_zz\"", "card: "},
      {"\"training_steps\": \"0\"", "\"training_steps\": \"-1\"", "card: "},
      {"\"card\": {", "\"cards\": {", "unknown member 'cards'"},
  };
  for (const auto& c : cases) {
    const auto bad = ParseManifest(Resealed(good, c.from, c.to));
    EXPECT_EQ(bad.status().code(), absl::StatusCode::kDataLoss) << c.to;
    EXPECT_THAT(bad.status().message(), HasSubstr(c.message)) << c.to;
  }
}

}  // namespace
}  // namespace haarflow
