// Runs as ILDG and NERSC files, and from every format to every other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_replace.h"
#include "core/base/file.h"
#include "core/io/configuration_file.h"
#include "core/io/gauge_run.h"
#include "tests/unit/io_fake_run.h"

namespace haarflow {
namespace {

using testing::FakeRun;
using testing::FakeRunOptions;
using ::testing::HasSubstr;
using testing::TestDirectory;

constexpr uint64_t kRows = 7;

FakeRunOptions Options() {
  FakeRunOptions options;
  options.colours = 3;
  options.lattice = {5, 4, 3, 2};
  options.observables = {"plaquette", "charge"};
  return options;
}

std::string Journal(const std::string& directory, const FakeRun& fake, uint64_t rows = kRows) {
  std::string path = directory + "/run.part";
  const auto writer = PartWriter::Create(path, /*overwrite=*/true);
  EXPECT_TRUE(writer.ok()) << writer.status();
  for (const auto& message : fake.Stream(rows, 3)) EXPECT_TRUE((*writer)->Append(message).ok());
  return path;
}

struct Row {
  uint64_t index;
  uint64_t multiplicity;
  double log_weight;
  double log_q;
  double action;
  std::vector<double> observables;
  std::string field;
  friend bool operator==(const Row&, const Row&) = default;
};

std::vector<Row> Read(const std::vector<std::string>& paths, PartContents* run = nullptr) {
  std::vector<Row> rows;
  const auto read = ReadConfigurations(paths, [&](const SampleRow& row) {
    rows.push_back({row.index,
                    row.multiplicity,
                    row.log_weight,
                    row.log_q,
                    row.action,
                    {row.observables.begin(), row.observables.end()},
                    std::string(row.field.begin(), row.field.end())});
    return absl::OkStatus();
  });
  EXPECT_TRUE(read.ok()) << read.status();
  if (read.ok() && run != nullptr) *run = *read;
  return rows;
}

std::vector<Row> Expected(const FakeRun& fake, uint64_t rows = kRows) {
  std::vector<Row> expected;
  for (uint64_t k = 0; k < rows; ++k) {
    expected.push_back({fake.IndexOf(k),
                        fake.MultiplicityOf(k),
                        -fake.Action(k) - fake.LogQ(k),
                        fake.LogQ(k),
                        fake.Action(k),
                        {fake.FirstObservable(k), static_cast<double>(k)},
                        fake.Field(k)});
  }
  return expected;
}

void Convert(const std::vector<std::string>& from, const std::string& to, const WriteOptions& options = {}) {
  const auto run = ConvertConfigurations(from, to, options);
  ASSERT_TRUE(run.ok()) << run.status();
}

std::string Slurp(const std::string& path) { return ReadFile(path, 1 << 30).value(); }
void Spill(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
void Replace(const std::string& path, const std::string& from, const std::string& to) {
  const std::string text = Slurp(path);
  ASSERT_NE(text.find(from), std::string::npos) << from;
  Spill(path, absl::StrReplaceAll(text, {{from, to}}));
}
absl::Status StatusOf(const std::string& path) {
  return ReadConfigurations({path}, [](const SampleRow&) { return absl::OkStatus(); }).status();
}
size_t FilesIn(const std::string& directory) {
  return std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator());
}

TEST(GaugeRun, EveryFormatToEveryOtherAndNothingIsLost) {
  for (const bool weighted : {false, true}) {
    const std::string directory = TestDirectory("all");
    FakeRunOptions options = Options();
    if (weighted) options.mode = v1::SAMPLE_MODE_REWEIGHTED;
    if (weighted) options.precision = v1::FIELD_PRECISION_FLOAT32;
    const FakeRun fake(options);
    const std::string part = Journal(directory, fake);
    std::string from = directory + "/a.h5";
    ASSERT_TRUE(WriteConfigurations(part, from).ok());
    for (const char* name : {"b.lime", "c.npy", "d.nersc", "e.ildg", "f.h5", "g.nersc", "h.npy", "i.hdf5"}) {
      const std::string to = directory + "/" + name;
      Convert({from}, to);
      PartContents run;
      EXPECT_EQ(Read({to}, &run), Expected(fake)) << name;
      EXPECT_EQ(run.resume_token, "k=7") << name;
      EXPECT_EQ(run.statistics.SerializeAsString(), fake.Statistics(kRows).SerializeAsString()) << name;
      EXPECT_EQ(run.header.SerializeAsString(), fake.Header(fake.StepsOf(0, kRows)).SerializeAsString()) << name;
      from = to;
    }
  }
}

TEST(GaugeRun, AnyFinishedFileCanBeContinued) {
  const std::string directory = TestDirectory("continue");
  const FakeRun fake(Options());
  const std::string part = Journal(directory, fake);
  for (const char* name : {"a.lime", "a.nersc", "a.npy", "a.h5"}) {
    const std::string path = directory + "/" + name;
    ASSERT_TRUE(WriteConfigurations(part, path).ok());
    ASSERT_TRUE(ReopenConfigurations(path, path + ".part").ok());
    PartContents run;
    {
      const auto writer = PartWriter::Resume(path + ".part", &run);
      ASSERT_TRUE(writer.ok()) << writer.status();
      EXPECT_EQ(run.resume_token, "k=7");
      v1::SampleResponse header;
      *header.mutable_header() = fake.Header(fake.StepsOf(kRows, 9));
      ASSERT_TRUE((*writer)->Append(header).ok());
      ASSERT_TRUE((*writer)->Append(fake.Chunk(kRows, 9)).ok());
      ASSERT_TRUE((*writer)->Append(fake.Summary(9, true)).ok());
    }
    ASSERT_TRUE(WriteConfigurations(path + ".part", path).ok());
    EXPECT_EQ(Read({path}, &run), Expected(fake, 9)) << name;
    EXPECT_EQ(run.resume_token, "k=9") << name;
  }
}

TEST(GaugeRun, FilesOfOneRunJoinAgain) {
  const std::string directory = TestDirectory("join");
  const FakeRun fake(Options());
  ASSERT_TRUE(WriteConfigurations(Journal(directory, fake), directory + "/a.nersc").ok());
  std::vector<std::string> files;
  for (uint64_t k = 0; k < kRows; ++k) files.push_back(GaugeFileOf(directory + "/a.nersc", fake.IndexOf(k)));
  EXPECT_EQ(files[1], directory + "/a.00000013.nersc");
  Convert(files, directory + "/b.lime");
  PartContents run;
  EXPECT_EQ(Read({directory + "/b.lime"}, &run), Expected(fake));
  EXPECT_EQ(run.resume_token, "");  // it was given parts: nobody said that they were all
  EXPECT_EQ(ReopenConfigurations(files[0], directory + "/b.part").code(), absl::StatusCode::kDataLoss);
  std::swap(files[0], files[1]);
  EXPECT_EQ(ReadConfigurations(files, nullptr).status().code(), absl::StatusCode::kDataLoss);
}

TEST(GaugeRun, OneConfigurationIsOneFileOfThatName) {
  const std::string directory = TestDirectory("one");
  const FakeRun fake(Options());
  const std::string part = Journal(directory, fake, 1);
  ASSERT_TRUE(WriteConfigurations(part, directory + "/a.lime").ok());
  ASSERT_TRUE(WriteConfigurations(part, directory + "/a.nersc").ok());
  EXPECT_EQ(FilesIn(directory), 4u);  // the journal, a.lime, a.nersc, a.nersc.json
  for (const char* name : {"/a.lime", "/a.nersc"}) {
    PartContents run;
    EXPECT_EQ(Read({directory + name}, &run), Expected(fake, 1));
    EXPECT_EQ(run.resume_token, "k=1");
  }
}

TEST(GaugeRun, ANewRunReplacesAllOfTheOld) {
  const std::string directory = TestDirectory("replace");
  const FakeRun fake(Options());
  const std::string path = directory + "/a.nersc";
  ASSERT_TRUE(WriteConfigurations(Journal(directory, fake), path).ok());
  EXPECT_EQ(FilesIn(directory), 2 + 2 * kRows);
  ASSERT_TRUE(WriteConfigurations(Journal(directory, fake, 3), path).ok());
  EXPECT_EQ(FilesIn(directory), 2 + 2 * 3u);
  EXPECT_EQ(Read({path}), Expected(fake, 3));
  ASSERT_TRUE(WriteConfigurations(Journal(directory, fake, 1), path).ok());
  EXPECT_EQ(FilesIn(directory), 3u);
  EXPECT_EQ(Read({path}), Expected(fake, 1));
}

TEST(GaugeRun, TwoRowsAreTheSameFieldToRounding) {
  const std::string directory = TestDirectory("rows");
  const FakeRun fake(Options());
  const std::string part = Journal(directory, fake);
  ASSERT_TRUE(WriteConfigurations(part, directory + "/a.nersc", {.nersc_rows = 2}).ok());
  Convert({directory + "/a.nersc"}, directory + "/b.h5");
  for (const char* name : {"/a.nersc", "/b.h5"}) {
    const std::vector<Row> rows = Read({directory + name});
    ASSERT_EQ(rows.size(), kRows);
    for (uint64_t k = 0; k < kRows; ++k) {
      std::vector<double> read(rows[k].field.size() / 8);
      std::vector<double> drawn(read.size());
      std::memcpy(read.data(), rows[k].field.data(), rows[k].field.size());
      std::memcpy(drawn.data(), fake.Field(k).data(), rows[k].field.size());
      for (size_t i = 0; i < read.size(); ++i) {
        if (i % 18 < 12) {
          ASSERT_EQ(read[i], drawn[i]);
        } else {
          ASSERT_NEAR(read[i], drawn[i], 1e-14);
        }
      }
    }
  }
}

TEST(GaugeRun, AlteredRecordsAreFound) {
  const std::string directory = TestDirectory("records");
  const FakeRun fake(Options());
  const std::string part = Journal(directory, fake, 2);
  const std::string path = directory + "/a.nersc";
  const std::string sidecar = GaugeFileOf(path, fake.IndexOf(1)) + ".json";
  const std::string seed = "\"seed\": 81985529216486895";
  for (const auto& [file, from, to] :
       {std::tuple(sidecar, seed, std::string("\"seed\": 81985529216486894")),
        std::tuple(sidecar, std::string("\"model\": \"fake\""), std::string("\"model\": \"other\"")),
        std::tuple(sidecar, std::string("\"index\": 13"), std::string("\"index\": 14")),
        std::tuple(sidecar, std::string("\"lattice\": [\n    5"), std::string("\"lattice\": [\n    6")),
        std::tuple(path + ".json", seed, std::string("\"seed\": 1")),
        std::tuple(path + ".json", std::string("\"index\": [\n    10,\n    13"),
                   std::string("\"index\": [\n    10"))}) {
    ASSERT_TRUE(WriteConfigurations(part, path).ok());
    EXPECT_TRUE(StatusOf(path).ok());
    Replace(file, from, to);
    EXPECT_EQ(StatusOf(path).code(), absl::StatusCode::kDataLoss) << from << StatusOf(path);
  }
  // A field beside another's record.
  ASSERT_TRUE(WriteConfigurations(part, path).ok());
  std::filesystem::copy_file(GaugeFileOf(path, fake.IndexOf(0)), GaugeFileOf(path, fake.IndexOf(1)),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(std::string(StatusOf(path).message()), HasSubstr("SHA-256"));
  // Without its record it is somebody's field: no part of the run.
  ASSERT_TRUE(WriteConfigurations(part, path).ok());
  std::filesystem::remove(sidecar);
  EXPECT_EQ(StatusOf(path).code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove(GaugeFileOf(path, fake.IndexOf(1)));
  EXPECT_EQ(StatusOf(path).code(), absl::StatusCode::kNotFound);
}

TEST(GaugeRun, ForeignFieldsGoFromFormatToFormat) {
  const std::string directory = TestDirectory("foreign");
  const FakeRun fake(Options());
  ASSERT_TRUE(WriteConfigurations(Journal(directory, fake), directory + "/a.nersc").ok());
  std::vector<std::string> files;
  for (uint64_t k = 0; k < kRows; ++k) {
    files.push_back(directory + "/conf." + std::to_string(k));  // named as people do
    std::filesystem::rename(GaugeFileOf(directory + "/a.nersc", fake.IndexOf(k)), files[k]);
  }
  for (const char* name : {"b.lime", "c.h5", "d.npy", "e.nersc"}) {
    const std::string to = directory + "/" + name;
    Convert(files, to);
    PartContents run;
    const std::vector<Row> rows = Read({to}, &run);
    EXPECT_TRUE(IsForeign(run.header)) << name;
    ASSERT_EQ(rows.size(), kRows);
    for (uint64_t k = 0; k < kRows; ++k) {
      EXPECT_EQ(rows[k].index, k);
      EXPECT_EQ(rows[k].field, fake.Field(k));
      EXPECT_NEAR(rows[k].observables[0], fake.FirstObservable(k), 1e-13);
      EXPECT_TRUE(std::isnan(rows[k].log_q));
    }
    files = {to};
  }
}

TEST(GaugeRun, OtherFieldsAreRefused) {
  const std::string directory = TestDirectory("others");
  for (const int colours : {0, 2, 3}) {
    FakeRunOptions options;
    options.colours = colours;
    if (colours == 2) options.lattice = {2, 2, 2, 2};
    const std::string part = Journal(directory, FakeRun(options));
    const absl::Status status = WriteConfigurations(part, directory + "/a.lime");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(".h5"));
  }
}

TEST(GaugeRun, AFullDiskLeavesTheOldFile) {
  const std::string directory = TestDirectory("full");
  const FakeRun fake(Options());
  ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  for (const char* name : {"a.lime", "a.nersc", "a.npy", "a.h5"}) {
    const std::string path = directory + "/" + name;
    ASSERT_TRUE(WriteConfigurations(Journal(directory, fake, 3), path).ok());
    const std::string part = Journal(directory, fake);
    const size_t files = FilesIn(directory);
    struct rlimit small = before;
    small.rlim_cur = 50000;  // less than one field
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const absl::Status status = WriteConfigurations(part, path);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(FilesIn(directory), files) << name;
    EXPECT_EQ(Read({path}), Expected(fake, 3)) << name;
  }
}

// A process that writes one file again and again is killed at any time: what is there then is whole, or nothing is.
TEST(GaugeRun, AKillLeavesAWholeRunOrNone) {
  const FakeRun fake(Options());
  for (const char* name : {"a.lime", "a.nersc", "a.npy", "a.h5"}) {
    const std::string directory = TestDirectory("kill");
    const std::string path = directory + "/" + name;
    const std::string part = Journal(directory, fake);
    int whole = 0;
    for (int round = 0; round < 6; ++round) {
      const pid_t child = ::fork();
      if (child == 0) {
        while (WriteConfigurations(part, path).ok()) {
        }
        ::_exit(1);
      }
      ::usleep(20000 + 15000 * round);
      ::kill(child, SIGKILL);
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status));
      const absl::Status read = StatusOf(path);
      EXPECT_TRUE(read.ok() || absl::IsNotFound(read)) << name << ": " << read;
      if (!read.ok()) continue;
      ++whole;
      EXPECT_EQ(Read({path}), Expected(fake));
    }
    RecordProperty(name, whole);
    EXPECT_TRUE(WriteConfigurations(part, path).ok());
    EXPECT_EQ(Read({path}), Expected(fake));
  }
}

TEST(NpyReader, WhatContradictsItselfIsRefused) {
  const std::string directory = TestDirectory("npyread");
  const FakeRun fake(Options());
  const std::string path = directory + "/a.npy";
  const std::string part = Journal(directory, fake);
  const auto spoilt = [&](const std::string& file, const auto& spoil) {
    EXPECT_TRUE(WriteConfigurations(part, path).ok());
    std::string bytes = Slurp(file);
    spoil(&bytes);
    Spill(file, bytes);
    return StatusOf(path).code();
  };
  const std::string table = directory + "/a.table.npy";
  const auto loss = absl::StatusCode::kDataLoss;
  EXPECT_EQ(spoilt(path, [](std::string* b) { b->back() ^= 1; }), loss);
  EXPECT_EQ(spoilt(path, [](std::string* b) { b->pop_back(); }), loss);
  EXPECT_EQ(spoilt(path, [](std::string* b) { (*b)[8] = '\xFF', (*b)[9] = '\xFF'; }), loss);
  EXPECT_EQ(spoilt(path, [](std::string* b) { b->replace(b->find("(7,"), 3, "(8,"); }), loss);
  EXPECT_EQ(spoilt(path, [](std::string* b) { b->replace(b->find("(7,"), 5, "(1e9,"); }), loss);
  EXPECT_EQ(spoilt(path, [](std::string* b) { b->replace(b->find("False"), 5, "True "); }), loss);
  EXPECT_EQ(spoilt(path, [](std::string* b) { b->replace(b->find("<c16"), 4, "|O16"); }), loss);
  EXPECT_EQ(spoilt(path, [](std::string* b) { b->resize(5); }), loss);
  EXPECT_EQ(spoilt(table, [](std::string* b) { b->resize(b->size() - 56); }), loss);
  EXPECT_EQ(spoilt(directory + "/a.json", [](std::string* b) { b->resize(b->size() / 2); }), loss);
  EXPECT_EQ(spoilt(directory + "/a.json",
                   [](std::string* b) {
                     *b = absl::StrReplaceAll(*b, {{"\"beta\": 5", "\"beta\": 6"}});
                   }),
            loss);
  EXPECT_EQ(spoilt(path, [](std::string*) {}), absl::StatusCode::kOk);
}

}  // namespace
}  // namespace haarflow
