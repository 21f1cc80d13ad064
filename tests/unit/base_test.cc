// Noise, digests and files against published vectors and their contracts.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/noise.h"
#include "core/base/temporary_name.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

using Block = std::array<uint32_t, 4>;

// The vectors of Random123's kat_vectors for philox4x32-10, reached through our addressing.
TEST(Noise, IsPhilox4x32With10Rounds) {
  const auto philox = [](Block c, uint32_t k0, uint32_t k1) {
    const uint64_t index = static_cast<uint64_t>(c[3] & 0xFFFFFFu) << 32 | c[2];
    const auto purpose = static_cast<NoisePurpose>(c[3] >> 24);
    return NoiseBlock(static_cast<uint64_t>(k1) << 32 | k0, purpose, index, c[1], c[0]);
  };
  EXPECT_EQ(philox({0, 0, 0, 0}, 0, 0), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Noise, EveryPartOfTheAddressChangesTheBlock) {
  std::set<Block> blocks;
  size_t addresses = 0;
  const auto add = [&](uint64_t seed, NoisePurpose purpose, uint64_t index, uint32_t dof, uint32_t step) {
    blocks.insert(NoiseBlock(seed, purpose, index, dof, step));
    ++addresses;
  };
  for (int purpose = 1; purpose <= 8; ++purpose) add(7, static_cast<NoisePurpose>(purpose), 3, 5, 11);
  for (int bit = 0; bit < 56; ++bit) add(7, NoisePurpose::kPrior, uint64_t{1} << bit, 5, 11);
  for (int bit = 0; bit < 32; ++bit) add(7, NoisePurpose::kPrior, 0, uint32_t{1} << bit, 11);
  for (int bit = 0; bit < 32; ++bit) add(7, NoisePurpose::kPrior, 0, 5, uint32_t{1} << bit);
  for (int bit = 0; bit < 64; ++bit) add(uint64_t{1} << bit, NoisePurpose::kPrior, 0, 6, 11);
  add(7, NoisePurpose::kPrior, kMaxSampleIndex, 5, 11);
  EXPECT_EQ(blocks.size(), addresses);
}

TEST(Noise, AnIndexBeyond56BitsNeverReachesThePurpose) {
  const auto high = NoiseBlock(1, NoisePurpose::kPrior, kMaxSampleIndex + 1, 0);
  EXPECT_EQ(high, NoiseBlock(1, NoisePurpose::kPrior, 0, 0));
  EXPECT_EQ(kMaxSampleIndex, 0x00FFFFFFFFFFFFFFull);
}

TEST(Noise, UniformIsInTheHalfOpenUnitIntervalAndUsesTheHighBits) {
  EXPECT_EQ(UnitInterval(0, 0), 0.0);
  EXPECT_EQ(UnitInterval(0xFFFFFFFF, 0xFFFFFFFF), 1.0 - 0x1p-53);
  EXPECT_EQ(UnitInterval(0, 0x80000000), 0.5);
}

TEST(Noise, NormalHasTheMomentsOfAStandardNormal) {
  constexpr int kSamples = 200000;
  double m1 = 0, m2 = 0, m4 = 0;
  for (int i = 0; i < kSamples; ++i) {
    const double x = NormalNoise(42, NoisePurpose::kPrior, i, 0);
    m1 += x / kSamples;
    m2 += x * x / kSamples;
    m4 += x * x * x * x / kSamples;
  }
  EXPECT_NEAR(m1, 0, 4 * std::sqrt(1.0 / kSamples));
  EXPECT_NEAR(m2, 1, 4 * std::sqrt(2.0 / kSamples));
  EXPECT_NEAR(m4, 3, 4 * std::sqrt(96.0 / kSamples));
}

TEST(Digest, MatchesPublishedSha256Vectors) {
  EXPECT_EQ(Sha256Of("").Hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Of("abc").Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 million;
  for (int i = 0; i < 1000; ++i) million.Update(std::string(1000, 'a'));
  EXPECT_EQ(million.Finish().Hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, SurvivesHexAndBytesAndRefusesOtherLengths) {
  const Digest digest = Sha256Of("abc");
  EXPECT_EQ(Digest::FromHex(digest.Hex()).value(), digest);
  EXPECT_EQ(Digest::FromBytes(digest.Bytes()).value(), digest);
  EXPECT_EQ(digest.ShortHex(), "ba7816bf8f01");
  EXPECT_EQ(Digest::FromBytes(digest.Bytes().substr(1)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Digest::FromHex(digest.Hex() + "0").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Digest::FromHex(std::string(64, 'g')).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Crc32c, MatchesPublishedVectorsAndContinues) {
  const std::string digits = "123456789";
  EXPECT_EQ(Crc32c(digits.data(), digits.size()), 0xE3069283u);
  EXPECT_EQ(Crc32c("", 0), 0u);
  EXPECT_EQ(Crc32c(std::string(32, '\0').data(), 32), 0x8A9136AAu);
  for (size_t cut = 0; cut <= digits.size(); ++cut) {
    const uint32_t first = Crc32c(digits.data(), cut);
    EXPECT_EQ(Crc32c(digits.data() + cut, digits.size() - cut, first), 0xE3069283u) << "cut at " << cut;
  }
  // Long enough for every unrolled or table path, at every alignment.
  const std::string long_text(1000, 'x');
  for (size_t cut : {1u, 3u, 8u, 17u, 64u, 255u}) {
    EXPECT_EQ(Crc32c(long_text.data() + cut, long_text.size() - cut, Crc32c(long_text.data(), cut)),
              Crc32c(long_text.data(), long_text.size()));
  }
}

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "haarflow_file_test_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string Path(const std::string& name) const { return (directory_ / name).string(); }
  std::filesystem::path directory_;
};

TEST_F(FileTest, WhatIsWrittenIsReadAndReplacesTheOldContent) {
  const std::string binary("\0\1\n\xff", 4);
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "old and longer").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("f"), binary).ok());
  EXPECT_EQ(ReadFile(Path("f"), 4).value(), binary);
  ASSERT_TRUE(WriteFileAtomically(Path("empty"), "").ok());
  EXPECT_EQ(ReadFile(Path("empty"), 0).value(), "");
}

TEST_F(FileTest, ReadingIsBounded) {
  ASSERT_TRUE(WriteFileAtomically(Path("f"), "12345").ok());
  EXPECT_EQ(ReadFile(Path("f"), 4).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadFile(Path("f"), 5).ok());
}

TEST_F(FileTest, MissingFilesAreNotFoundAndDirectoriesAreRefused) {
  EXPECT_EQ(ReadFile(Path("absent"), 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadFile(directory_.string(), 10).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteFileAtomically(Path("absent/f"), "x").code(), absl::StatusCode::kNotFound);
}

TEST_F(FileTest, AFailedWriteLeavesTheOldContentAndNoTemporary) {
  std::filesystem::create_directory(directory_ / "target");
  std::ofstream(directory_ / "target" / "inside") << "kept";
  EXPECT_FALSE(WriteFileAtomically(Path("target"), "x").ok());  // a file cannot replace a directory
  EXPECT_EQ(ReadFile(Path("target/inside"), 10).value(), "kept");
  size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) entries += entry.path() != "";
  EXPECT_EQ(entries, 1u);
}

// The id of a process that has ended, and whose name is free again as far as can be seen.
pid_t EndedProcess() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  return child;
}

TEST(TemporaryName, WhatAKilledWriterLeftIsRemovedByTheNextOfTheSameFile) {
  const std::string directory = ::testing::TempDir() + "/abandoned";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  const std::string path = directory + "/out.h5", mine = TemporaryNameOf(path);
  EXPECT_NE(mine, TemporaryNameOf(path));
  // As a writer of ours names it, with the number of the process exchanged.
  const std::string own = absl::StrCat(".", ::getpid(), ".");
  const auto of_process = [&](std::string name, pid_t process) {
    const size_t at = name.rfind(own);
    EXPECT_NE(at, std::string::npos) << name;
    return absl::StrCat(name.substr(0, at), ".", process, ".", name.substr(at + own.size()));
  };
  const pid_t gone = EndedProcess();
  const std::string abandoned = of_process(mine, gone);
  const std::vector<std::string> kept = {mine,  // of a living process
                                         of_process(TemporaryNameOf(directory + "/out.h5x"), gone),  // another file's
                                         path + ".tmp.elsewhere.1." + std::to_string(gone) + ".1",   // another host's
                                         abandoned + "x",
                                         path + ".tmp." + std::to_string(gone),
                                         path};
  for (const std::string& name : kept) std::ofstream(name) << "kept";
  std::ofstream(abandoned) << "half";
  ASSERT_TRUE(WriteFileAtomically(path, "whole").ok());
  EXPECT_FALSE(std::filesystem::exists(abandoned));
  for (const std::string& name : kept) EXPECT_TRUE(std::filesystem::exists(name)) << name;
  EXPECT_EQ(*ReadFile(path, 100), "whole");
  std::ofstream(abandoned) << "half";
  RemoveAbandoned(directory + "/absent/out.h5");  // no such directory: nothing happens
  RemoveAbandoned(path);
  EXPECT_FALSE(std::filesystem::exists(abandoned));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace haarflow
