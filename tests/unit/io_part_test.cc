#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/io/part_file.h"
#include "tests/unit/io_fake_run.h"

namespace haarflow {
namespace {

using testing::FakeRun;
using testing::FakeRunOptions;
using ::testing::HasSubstr;
using testing::TestDirectory;

void WriteJournal(const std::string& path, const std::vector<v1::SampleResponse>& stream) {
  const auto writer = PartWriter::Create(path, /*overwrite=*/true);
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (const auto& message : stream) ASSERT_TRUE((*writer)->Append(message).ok());
  ASSERT_TRUE((*writer)->Sync().ok());
}

std::string Slurp(const std::string& path) { return ReadFile(path, 1 << 30).value(); }
void Spill(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// Small enough to be cut at every byte: 2x2 links.
FakeRun Small() {
  FakeRunOptions options;
  options.lattice = {2, 2};
  return FakeRun(options);
}

TEST(PartFile, HoldsWhatWasReceived) {
  const std::string path = TestDirectory("holds") + "/a.part";
  const FakeRun fake((FakeRunOptions()));
  WriteJournal(path, fake.Stream(25, 10));
  std::vector<uint64_t> indices;
  const auto run = ReadPart(path, [&](const SampleRow& row) {
    const uint64_t k = indices.size();
    EXPECT_EQ(std::string(row.field.begin(), row.field.end()), fake.Field(k));
    EXPECT_EQ(row.multiplicity, fake.MultiplicityOf(k));
    EXPECT_EQ(row.observables[1], static_cast<double>(k));
    indices.push_back(row.index);
    return absl::OkStatus();
  });
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(indices.size(), 25u);
  EXPECT_EQ(run->configurations, 25u);
  EXPECT_EQ(run->steps, fake.StepsOf(0, 25));
  EXPECT_EQ(run->resume_token, "k=25");
  EXPECT_TRUE(run->complete);
  EXPECT_FALSE(run->torn);
}

TEST(PartFile, TornAtAnyByteContinuesFromTheLastCompleteRecord) {
  const std::string directory = TestDirectory("torn");
  const FakeRun fake = Small();
  const auto stream = fake.Stream(4, 1);
  const std::string whole_path = directory + "/whole.part";
  std::vector<uint64_t> end_of_record;
  {
    const auto writer = PartWriter::Create(whole_path, false);
    ASSERT_TRUE(writer.ok());
    for (const auto& message : stream) {
      ASSERT_TRUE((*writer)->Append(message).ok());
      end_of_record.push_back(std::filesystem::file_size(whole_path));
    }
  }
  const std::string whole = Slurp(whole_path);
  const std::string path = directory + "/cut.part";
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    Spill(path, whole.substr(0, cut));
    size_t records = 0;
    while (records < end_of_record.size() && end_of_record[records] <= cut) ++records;
    PartContents run;
    const auto writer = PartWriter::Resume(path, &run);
    ASSERT_TRUE(writer.ok()) << "cut at " << cut << ": " << writer.status();
    const uint64_t chunks = records == 0 ? 0 : std::min<uint64_t>(records - 1, 4);
    EXPECT_EQ(run.configurations, chunks) << "cut at " << cut;
    EXPECT_EQ(run.resume_token, chunks == 0 ? "" : "k=" + std::to_string(chunks)) << "cut at " << cut;
    EXPECT_EQ(run.complete, cut == whole.size());
    // What follows makes the journal that was never cut.
    for (size_t i = records; i < stream.size(); ++i) ASSERT_TRUE((*writer)->Append(stream[i]).ok());
    EXPECT_EQ(Slurp(path), whole) << "cut at " << cut;
  }
}

TEST(PartFile, AnyFlippedBitEndsTheJournalThere) {
  const std::string path = TestDirectory("flip") + "/a.part";
  const FakeRun fake = Small();
  WriteJournal(path, fake.Stream(3, 1));
  const std::string whole = Slurp(path);
  for (size_t at = 8; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    Spill(path, bytes);
    const auto run = ReadPart(path);
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_TRUE(run->torn) << "byte " << at;
    EXPECT_LE(run->valid_bytes, at);
  }
}

TEST(PartFile, ForeignFilesAreRefused) {
  const std::string path = TestDirectory("foreign") + "/a.part";
  Spill(path, "something else altogether");
  EXPECT_EQ(ReadPart(path).status().code(), absl::StatusCode::kDataLoss);
  PartContents run;
  EXPECT_EQ(PartWriter::Resume(path, &run).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Slurp(path), "something else altogether");  // untouched
  EXPECT_EQ(PartWriter::Create(path, false).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadPart(path + "x").status().code(), absl::StatusCode::kNotFound);
}

TEST(PartFile, TwoWritersAreOneTooMany) {
  const std::string path = TestDirectory("two") + "/a.part";
  const auto first = PartWriter::Create(path, false);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE((*first)->Append(Small().Stream(1, 1)[0]).ok());
  EXPECT_EQ(PartWriter::Create(path, true).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(ReadPart(path)->has_header);
}

TEST(PartFile, AFullDiskKeepsWhatFitted) {
  const std::string path = TestDirectory("full") + "/a.part";
  const FakeRun fake = Small();
  const auto stream = fake.Stream(50, 1);
  ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 3000;
  const auto writer = PartWriter::Create(path, false);
  ASSERT_TRUE(writer.ok());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  size_t written = 0;
  absl::Status status;
  while (written < stream.size() && status.ok()) {
    status = (*writer)->Append(stream[written]);
    if (status.ok()) ++written;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  EXPECT_GT(written, 2u);
  auto run = ReadPart(path);
  ASSERT_TRUE(run.ok());
  EXPECT_FALSE(run->torn);
  EXPECT_EQ(run->configurations, written - 1);
  // There is room again: the same writer goes on.
  for (; written < stream.size(); ++written) ASSERT_TRUE((*writer)->Append(stream[written]).ok());
  run = ReadPart(path);
  ASSERT_TRUE(run.ok());
  EXPECT_TRUE(run->complete);
  EXPECT_EQ(run->configurations, 50u);
}

// ------------------------------------------------------------------------------------------------------ the assembler

absl::Status AddAll(const std::vector<v1::SampleResponse>& stream) {
  SampleAssembler assembler(/*keep_fields=*/true);
  for (const auto& message : stream) {
    if (const absl::Status status = assembler.Add(message); !status.ok()) return status;
  }
  return absl::OkStatus();
}

TEST(SampleAssembler, RefusesWhatContradictsItself) {
  const FakeRun fake((FakeRunOptions()));
  const auto good = fake.Stream(6, 3);
  ASSERT_TRUE(AddAll(good).ok()) << AddAll(good);
  const auto refused = [&](const std::string& what, const auto& spoil) {
    auto stream = good;
    spoil(&stream);
    EXPECT_EQ(AddAll(stream).code(), absl::StatusCode::kDataLoss) << what << ": " << AddAll(stream);
  };
  refused("no header", [](auto* s) { s->erase(s->begin()); });
  refused("altered payload", [](auto* s) { (*(*s)[1].mutable_chunk()->mutable_payload())[5] ^= 1; });
  refused("short payload", [](auto* s) {
    v1::SampleChunk* chunk = (*s)[1].mutable_chunk();
    chunk->mutable_payload()->pop_back();
    chunk->set_crc32c(Crc32c(chunk->payload().data(), chunk->payload().size()));
  });
  refused("wrong total", [](auto* s) { (*s)[1].mutable_chunk()->set_payload_total(7); });
  refused("wrong offset", [](auto* s) { (*s)[1].mutable_chunk()->set_payload_offset(8); });
  refused("missing column", [](auto* s) { (*s)[1].mutable_chunk()->clear_log_q(); });
  refused("short observable",
          [](auto* s) { (*s)[1].mutable_chunk()->mutable_observables(0)->mutable_value()->RemoveLast(); });
  refused("zero multiplicity", [](auto* s) { (*s)[1].mutable_chunk()->set_multiplicity(0, 0); });
  refused("order", [](auto* s) { std::swap((*s)[1], (*s)[2]); });
  refused("repetition", [](auto* s) { s->insert(s->begin() + 1, (*s)[1]); });
  refused("huge index", [](auto* s) { (*s)[2].mutable_chunk()->set_index(2, uint64_t{1} << 60); });
  refused("after the end", [](auto* s) { s->push_back((*s)[1]); });
  refused("another seed", [&](auto* s) {
    (*s).insert(s->begin() + 2, (*s)[0]);
    (*s)[2].mutable_header()->set_seed(1);
  });
  refused("shape", [](auto* s) { (*s)[0].mutable_header()->set_shape(2, 5); });
  refused("absurd size", [](auto* s) { (*s)[0].mutable_header()->set_configuration_bytes(uint64_t{1} << 62); });
  refused("empty message", [](auto* s) { (*s)[1].Clear(); });
}

TEST(SampleAssembler, ScalarsHaveTheirOwnShape) {
  for (const int components : {1, 2}) {
    FakeRunOptions options;
    options.scalar_components = components;
    const auto good = FakeRun(options).Stream(6, 3);
    EXPECT_TRUE(AddAll(good).ok()) << AddAll(good);
    auto other = good;
    other[0].mutable_header()->mutable_shape()->Add(2);
    EXPECT_EQ(AddAll(other).code(), absl::StatusCode::kDataLoss);
    other = good;
    other[0].mutable_header()->mutable_target()->mutable_phi4()->set_components(static_cast<uint32_t>(3 - components));
    EXPECT_EQ(AddAll(other).code(), absl::StatusCode::kDataLoss);
    other = good;
    other[0].mutable_header()->mutable_target()->clear_theory();
    EXPECT_EQ(AddAll(other).code(), absl::StatusCode::kDataLoss);
  }
}

TEST(SampleAssembler, JoinsSplitConfigurationsAndForgetsUnfinishedOnes) {
  const FakeRun fake((FakeRunOptions()));
  const auto whole = fake.Chunk(0, 1);
  const auto part = [&](size_t offset, size_t size) {
    auto message = whole;
    v1::SampleChunk* chunk = message.mutable_chunk();
    chunk->set_payload(whole.chunk().payload().substr(offset, size));
    chunk->set_payload_offset(offset);
    chunk->set_crc32c(Crc32c(chunk->payload().data(), chunk->payload().size()));
    if (offset + size < whole.chunk().payload().size()) chunk->clear_resume_token();
    return message;
  };
  v1::SampleResponse header;
  *header.mutable_header() = fake.Header(1);
  const size_t bytes = fake.configuration_bytes();
  SampleAssembler assembler(/*keep_fields=*/true);
  std::vector<std::string> fields;
  const RowVisitor visit = [&](const SampleRow& row) {
    fields.emplace_back(row.field.begin(), row.field.end());
    return absl::OkStatus();
  };
  ASSERT_TRUE(assembler.Add(header, visit).ok());
  ASSERT_TRUE(assembler.Add(part(0, 100), visit).ok());
  EXPECT_TRUE(assembler.configuration_open());
  ASSERT_TRUE(assembler.Add(header, visit).ok());  // the connection broke here
  EXPECT_FALSE(assembler.configuration_open());
  ASSERT_TRUE(assembler.Add(part(0, 200), visit).ok());
  ASSERT_TRUE(assembler.Add(part(200, bytes - 200), visit).ok());
  EXPECT_EQ(fields, std::vector<std::string>{fake.Field(0)});
  EXPECT_EQ(assembler.resume_token(), "k=1");
  EXPECT_EQ(assembler.steps(), fake.MultiplicityOf(0));
}

TEST(SampleAssembler, AnotherConventionIsAnUpdateNotAGuess) {
  v1::SampleResponse header;
  *header.mutable_header() = FakeRun((FakeRunOptions())).Header(1);
  header.mutable_header()->set_convention(4);
  EXPECT_EQ(AddAll({header}).code(), absl::StatusCode::kFailedPrecondition);
  header.mutable_header()->set_convention(2);  // known, but not of links
  EXPECT_EQ(AddAll({header}).code(), absl::StatusCode::kDataLoss);
}

TEST(RowBlock, JoinsAStateThatACutSplit) {
  RowBlock block(0, 0);
  SampleRow row;
  row.index = 4;
  row.multiplicity = 2;
  block.Add(row);
  row.multiplicity = 3;
  block.Add(row);
  row.index = 9;
  block.Add(row);
  EXPECT_EQ(block.index, (std::vector<uint64_t>{4, 9}));
  EXPECT_EQ(block.multiplicity, (std::vector<uint64_t>{5, 3}));
}

}  // namespace
}  // namespace haarflow
