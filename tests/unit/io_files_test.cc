#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/io/configuration_file.h"
#include "core/io/hdf5_file.h"
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
}

// Independent of core/io's own reader: plain HDF5 calls.
template <typename T>
std::vector<T> ReadDataset(const std::string& path, const char* name, hid_t type,
                           std::vector<hsize_t>* shape = nullptr) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  EXPECT_GE(file, 0);
  const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
  EXPECT_GE(dataset, 0) << name;
  const hid_t space = H5Dget_space(dataset);
  std::vector<hsize_t> extents(H5Sget_simple_extent_ndims(space));
  H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  std::vector<T> values(H5Sget_simple_extent_npoints(space));
  EXPECT_GE(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  if (shape != nullptr) *shape = extents;
  H5Sclose(space);
  H5Dclose(dataset);
  H5Fclose(file);
  return values;
}

std::string ReadText(const std::string& path, const char* name) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
  EXPECT_GE(attribute, 0) << name;
  const hid_t type = H5Aget_type(attribute);
  char* text = nullptr;
  EXPECT_GE(H5Aread(attribute, type, &text), 0);
  std::string value(text);
  H5free_memory(text);
  H5Tclose(type);
  H5Aclose(attribute);
  H5Fclose(file);
  return value;
}

std::string AllFields(const FakeRun& fake, uint64_t n) {
  std::string all;
  for (uint64_t k = 0; k < n; ++k) all += fake.Field(k);
  return all;
}

TEST(Hdf5File, HoldsLinksColumnsAndWhatTheyMean) {
  const std::string directory = TestDirectory("hdf5");
  const FakeRun fake((FakeRunOptions()));
  WriteJournal(directory + "/a.h5.part", fake.Stream(25, 10));
  const std::string path = directory + "/a.h5";
  const absl::Status written = WriteConfigurations(directory + "/a.h5.part", path);
  ASSERT_TRUE(written.ok()) << written;
  std::vector<hsize_t> shape;
  const auto links = ReadDataset<double>(path, "links", H5T_NATIVE_DOUBLE, &shape);
  EXPECT_EQ(shape, (std::vector<hsize_t>{25, 2, 4, 6}));
  const std::string expected = AllFields(fake, 25);
  ASSERT_EQ(links.size() * 8, expected.size());
  EXPECT_EQ(std::memcmp(links.data(), expected.data(), expected.size()), 0);
  const auto index = ReadDataset<uint64_t>(path, "index", H5T_NATIVE_UINT64);
  const auto multiplicity = ReadDataset<uint64_t>(path, "multiplicity", H5T_NATIVE_UINT64);
  const auto log_q = ReadDataset<double>(path, "log_q", H5T_NATIVE_DOUBLE);
  const auto plaquette = ReadDataset<double>(path, "observables/plaquette", H5T_NATIVE_DOUBLE);
  for (uint64_t k = 0; k < 25; ++k) {
    EXPECT_EQ(index[k], fake.IndexOf(k));
    EXPECT_EQ(multiplicity[k], fake.MultiplicityOf(k));
    EXPECT_EQ(log_q[k], fake.LogQ(k));
    EXPECT_EQ(plaquette[k], fake.FirstObservable(k));
  }
  EXPECT_EQ(ReadText(path, "axes"), "n,mu,y,x");
  EXPECT_EQ(ReadText(path, "group"), "U(1)");
  EXPECT_EQ(ReadText(path, "sha256"), Sha256Of(expected).Hex());
  EXPECT_EQ(ReadText(path, "target_digest"), Sha256Of(ReadText(path, "target")).Hex());
  // Nothing but the file and the journal is left.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator()), 2);
}

TEST(Hdf5File, MatricesAreComplexNumbersThatH5pyReads) {
  for (const bool f32 : {false, true}) {
    const std::string directory = TestDirectory("hdf5m");
    FakeRunOptions options;
    options.colours = f32 ? 2 : 3;
    options.precision = f32 ? v1::FIELD_PRECISION_FLOAT32 : v1::FIELD_PRECISION_FLOAT64;
    options.observables = {"plaquette", "polyakov_abs"};
    const FakeRun fake(options);
    const std::string path = directory + "/a.h5";
    WriteJournal(path + ".part", fake.Stream(25, 10));
    ASSERT_TRUE(WriteConfigurations(path + ".part", path).ok());
    // The compound that h5py takes for complex128 or complex64: two members, r and i.
    const hid_t number = f32 ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
    const size_t bytes = f32 ? 4 : 8;
    const hid_t complex = H5Tcreate(H5T_COMPOUND, 2 * bytes);
    H5Tinsert(complex, "r", 0, number);
    H5Tinsert(complex, "i", bytes, number);
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, "links", H5P_DEFAULT);
    const hid_t type = H5Dget_type(dataset);
    EXPECT_GT(H5Tequal(type, complex), 0);
    const hid_t space = H5Dget_space(dataset);
    std::vector<hsize_t> shape(H5Sget_simple_extent_ndims(space));
    H5Sget_simple_extent_dims(space, shape.data(), nullptr);
    const hsize_t n = f32 ? 2 : 3;
    EXPECT_EQ(shape, (std::vector<hsize_t>{25, 2, 4, 6, n, n}));
    const std::string expected = AllFields(fake, 25);
    std::string links(expected.size(), '\0');
    ASSERT_EQ(static_cast<size_t>(H5Sget_simple_extent_npoints(space)) * 2 * bytes, expected.size());
    EXPECT_GE(H5Dread(dataset, complex, H5S_ALL, H5S_ALL, H5P_DEFAULT, links.data()), 0);
    EXPECT_EQ(links, expected);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(dataset);
    H5Fclose(file);
    H5Tclose(complex);
    EXPECT_EQ(ReadText(path, "axes"), "n,mu,y,x,row,column");
    EXPECT_EQ(ReadText(path, "group"), f32 ? "SU(2)" : "SU(3)");
    EXPECT_EQ(ReadText(path, "theory"), "sun_wilson");
    EXPECT_THAT(ReadText(path, "convention"), HasSubstr("Haar measure of volume 1"));
    EXPECT_EQ(ReadText(path, "sha256"), Sha256Of(expected).Hex());
    EXPECT_EQ(ReadText(path, "target_digest"), Sha256Of(ReadText(path, "target")).Hex());
    // Back into a journal, and forth: the same bytes.
    ASSERT_TRUE(ReopenConfigurations(path, directory + "/b.h5.part").ok());
    ASSERT_TRUE(WriteConfigurations(directory + "/b.h5.part", directory + "/b.npy").ok());
    const std::string npy = ReadFile(directory + "/b.npy", 1 << 20).value();
    EXPECT_THAT(npy.substr(0, 128), HasSubstr(f32 ? "'descr': '<c8'" : "'descr': '<c16'"));
    EXPECT_THAT(npy.substr(0, 128), HasSubstr(f32 ? "'shape': (25, 2, 4, 6, 2, 2)" : "'shape': (25, 2, 4, 6, 3, 3)"));
    EXPECT_EQ(npy.substr(npy.size() - expected.size()), expected);
  }
}

TEST(Hdf5File, ScalarsAreAField) {
  for (const int components : {1, 2}) {
    const std::string directory = TestDirectory("hdf5s");
    FakeRunOptions options;
    options.scalar_components = components;
    options.observables = {"phi_squared", "energy"};
    const FakeRun fake(options);
    const std::string path = directory + "/a.h5";
    WriteJournal(path + ".part", fake.Stream(25, 10));
    ASSERT_TRUE(WriteConfigurations(path + ".part", path).ok());
    std::vector<hsize_t> shape;
    const auto field = ReadDataset<double>(path, "field", H5T_NATIVE_DOUBLE, &shape);
    EXPECT_EQ(shape, components == 1 ? (std::vector<hsize_t>{25, 4, 6}) : (std::vector<hsize_t>{25, 2, 4, 6}));
    const std::string expected = AllFields(fake, 25);
    ASSERT_EQ(field.size() * 8, expected.size());
    EXPECT_EQ(std::memcmp(field.data(), expected.data(), expected.size()), 0);
    EXPECT_EQ(ReadDataset<double>(path, "observables/phi_squared", H5T_NATIVE_DOUBLE)[7], fake.FirstObservable(7));
    EXPECT_EQ(ReadText(path, "axes"), components == 1 ? "n,y,x" : "n,component,y,x");
    EXPECT_EQ(ReadText(path, "dataset"), "field");
    EXPECT_EQ(ReadText(path, "theory"), "phi4");
    EXPECT_THAT(ReadText(path, "convention"), HasSubstr("Lebesgue"));
    EXPECT_EQ(ReadText(path, "sha256"), Sha256Of(expected).Hex());
    EXPECT_EQ(ReadText(path, "target_digest"), Sha256Of(ReadText(path, "target")).Hex());
    // And back: it can be continued.
    std::filesystem::remove(path + ".part");
    ASSERT_TRUE(ReopenConfigurations(path, path + ".part").ok());
    std::string again;
    const auto run = ReadPart(path + ".part", [&](const SampleRow& row) {
      again.append(row.field.begin(), row.field.end());
      return absl::OkStatus();
    });
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(again, expected);
    EXPECT_EQ(run->resume_token, "k=25");
  }
}

TEST(Hdf5File, Float32AndReweighted) {
  const std::string directory = TestDirectory("hdf5f");
  FakeRunOptions options;
  options.mode = v1::SAMPLE_MODE_REWEIGHTED;
  options.precision = v1::FIELD_PRECISION_FLOAT32;
  const FakeRun fake(options);
  WriteJournal(directory + "/a.hdf5.part", fake.Stream(7, 3));
  ASSERT_TRUE(WriteConfigurations(directory + "/a.hdf5.part", directory + "/a.hdf5").ok());
  const auto links = ReadDataset<float>(directory + "/a.hdf5", "links", H5T_NATIVE_FLOAT);
  const std::string expected = AllFields(fake, 7);
  ASSERT_EQ(links.size() * 4, expected.size());
  EXPECT_EQ(std::memcmp(links.data(), expected.data(), expected.size()), 0);
  EXPECT_EQ(ReadText(directory + "/a.hdf5", "mode"), "REWEIGHTED");
  const auto log_weight = ReadDataset<double>(directory + "/a.hdf5", "log_weight", H5T_NATIVE_DOUBLE);
  EXPECT_EQ(log_weight[2], -fake.Action(2) - fake.LogQ(2));
}

TEST(Hdf5File, ManyChunksOfConfigurations) {
  const std::string directory = TestDirectory("hdf5m");
  FakeRunOptions options;
  options.lattice = {64, 64};  // 64 KiB each: 16 to a chunk
  const FakeRun fake(options);
  WriteJournal(directory + "/a.h5.part", fake.Stream(50, 7));
  ASSERT_TRUE(WriteConfigurations(directory + "/a.h5.part", directory + "/a.h5").ok());
  const auto links = ReadDataset<double>(directory + "/a.h5", "links", H5T_NATIVE_DOUBLE);
  const std::string expected = AllFields(fake, 50);
  ASSERT_EQ(links.size() * 8, expected.size());
  EXPECT_EQ(std::memcmp(links.data(), expected.data(), expected.size()), 0);
}

TEST(Hdf5File, AResumedRunIsTheUnbrokenOne) {
  const std::string directory = TestDirectory("hdf5r");
  const FakeRun fake((FakeRunOptions()));
  const std::string unbroken = directory + "/unbroken.h5";
  WriteJournal(unbroken + ".part", fake.Stream(12, 4));
  ASSERT_TRUE(WriteConfigurations(unbroken + ".part", unbroken).ok());
  // A cut in the middle of configuration 5, whose multiplicity is 3: once 1, then 2.
  auto first = fake.Stream(6, 6);
  first.back() = fake.Summary(6, /*complete=*/false);
  first[1].mutable_chunk()->set_multiplicity(5, 1);
  auto second = std::vector<v1::SampleResponse>(1);
  *second[0].mutable_header() = fake.Header(fake.StepsOf(5, 12) - 1);
  second.push_back(fake.Chunk(5, 12));
  second[1].mutable_chunk()->set_multiplicity(0, 2);
  second.push_back(fake.Summary(12, true));
  first.insert(first.end(), second.begin(), second.end());
  const std::string broken = directory + "/broken.h5";
  WriteJournal(broken + ".part", first);
  ASSERT_TRUE(WriteConfigurations(broken + ".part", broken).ok());
  EXPECT_EQ(ReadText(broken, "sha256"), ReadText(unbroken, "sha256"));
  EXPECT_EQ(ReadDataset<uint64_t>(broken, "multiplicity", H5T_NATIVE_UINT64),
            ReadDataset<uint64_t>(unbroken, "multiplicity", H5T_NATIVE_UINT64));
  EXPECT_EQ(ReadDataset<uint64_t>(broken, "index", H5T_NATIVE_UINT64),
            ReadDataset<uint64_t>(unbroken, "index", H5T_NATIVE_UINT64));
}

TEST(Hdf5File, AFinishedFileCanBeContinued) {
  const std::string directory = TestDirectory("hdf5c");
  const FakeRun fake((FakeRunOptions()));
  const std::string path = directory + "/a.h5";
  WriteJournal(path + ".part", fake.Stream(9, 4));
  ASSERT_TRUE(WriteConfigurations(path + ".part", path).ok());
  std::filesystem::remove(path + ".part");
  ASSERT_TRUE(ReopenConfigurations(path, path + ".part").ok());
  PartContents run;
  {
    const auto writer = PartWriter::Resume(path + ".part", &run);
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_EQ(run.configurations, 9u);
    EXPECT_EQ(run.steps, fake.StepsOf(0, 9));
    EXPECT_EQ(run.resume_token, "k=9");
    v1::SampleResponse header;
    *header.mutable_header() = fake.Header(fake.StepsOf(9, 15));
    ASSERT_TRUE((*writer)->Append(header).ok());
    ASSERT_TRUE((*writer)->Append(fake.Chunk(9, 15)).ok());
    ASSERT_TRUE((*writer)->Append(fake.Summary(15, true)).ok());
  }
  ASSERT_TRUE(WriteConfigurations(path + ".part", path).ok());
  EXPECT_EQ(ReadText(path, "sha256"), Sha256Of(AllFields(fake, 15)).Hex());
}

TEST(Hdf5File, AnAlteredFileIsNotContinued) {
  const std::string directory = TestDirectory("hdf5a");
  const std::string path = directory + "/a.h5";
  const FakeRun fake((FakeRunOptions()));
  WriteJournal(path + ".part", fake.Stream(9, 4));
  ASSERT_TRUE(WriteConfigurations(path + ".part", path).ok());
  std::filesystem::remove(path + ".part");
  std::string bytes = ReadFile(path, 1 << 30).value();
  const size_t at = bytes.find(fake.Field(3));
  ASSERT_NE(at, std::string::npos);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  std::ofstream(path, std::ios::binary) << bytes;
  EXPECT_EQ(ReopenConfigurations(path, path + ".part").code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
  std::ofstream(path, std::ios::binary) << "no HDF5 at all";
  EXPECT_EQ(ReopenConfigurations(path, path + ".part").code(), absl::StatusCode::kDataLoss);
}

TEST(Hdf5File, AFullDiskIsAnErrorAndLeavesNothing) {
  const std::string directory = TestDirectory("hdf5full");
  FakeRunOptions options;
  options.lattice = {64, 64};
  const FakeRun fake(options);
  const std::string path = directory + "/a.h5";
  WriteJournal(path + ".part", fake.Stream(20, 10));
  ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 200000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteConfigurations(path + ".part", path);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator()), 1);
  EXPECT_TRUE(WriteConfigurations(path + ".part", path).ok());  // the journal is as good as before
}

TEST(NpyFile, HoldsLinksTableAndAttributes) {
  const std::string directory = TestDirectory("npy");
  const FakeRun fake((FakeRunOptions()));
  const std::string path = directory + "/a.npy";
  WriteJournal(path + ".part", fake.Stream(300, 64));
  const absl::Status written = WriteConfigurations(path + ".part", path);
  ASSERT_TRUE(written.ok()) << written;
  const auto body = [](const std::string& bytes, std::string* header) {
    EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
    const size_t length = static_cast<unsigned char>(bytes[8]) + 256 * static_cast<unsigned char>(bytes[9]);
    EXPECT_EQ((10 + length) % 64, 0u);
    *header = bytes.substr(10, length);
    return bytes.substr(10 + length);
  };
  std::string header;
  EXPECT_EQ(body(ReadFile(path, 1 << 30).value(), &header), AllFields(fake, 300));
  EXPECT_THAT(header, HasSubstr("'descr': '<f8'"));
  EXPECT_THAT(header, HasSubstr("(300, 2, 4, 6)"));
  const std::string table = body(ReadFile(directory + "/a.table.npy", 1 << 30).value(), &header);
  EXPECT_THAT(header, HasSubstr("('charge_squared', '<f8')"));
  ASSERT_EQ(table.size(), 300u * 7 * 8);
  uint64_t index = 0;
  double last = 0;
  std::memcpy(&index, table.data() + 299 * 56, 8);
  std::memcpy(&last, table.data() + 299 * 56 + 48, 8);
  EXPECT_EQ(index, fake.IndexOf(299));
  EXPECT_EQ(last, 299);
  const std::string json = ReadFile(directory + "/a.json", 1 << 20).value();
  EXPECT_THAT(json, HasSubstr(Sha256Of(AllFields(fake, 300)).Hex()));
  EXPECT_THAT(json, HasSubstr("\"seed\": 81985529216486895"));
}

TEST(ConfigurationFile, KnowsItsExtensions) {
  EXPECT_EQ(*FormatOf("a.h5"), FileFormat::kHdf5);
  EXPECT_EQ(*FormatOf("x/a.hdf5"), FileFormat::kHdf5);
  EXPECT_EQ(*FormatOf("a.npy"), FileFormat::kNpy);
  EXPECT_THAT(std::string(FormatOf("a.txt").status().message()), HasSubstr(".h5, .hdf5 or .npy"));
  EXPECT_FALSE(FormatOf(".h5").ok());
  EXPECT_EQ(*FormatOf("a.lime"), FileFormat::kIldg);
  EXPECT_EQ(*FormatOf("a.ildg"), FileFormat::kIldg);
  EXPECT_EQ(*FormatOf("a.nersc"), FileFormat::kNersc);
}

TEST(ConfigurationFile, AMissingDirectoryIsNamed) {
  const std::string directory = TestDirectory("missing");
  WriteJournal(directory + "/p.part", FakeRun((FakeRunOptions())).Stream(3, 3));
  for (const char* name : {"/no/such/a.h5", "/no/such/a.npy"}) {
    const absl::Status status = WriteConfigurations(directory + "/p.part", directory + name);
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace haarflow
