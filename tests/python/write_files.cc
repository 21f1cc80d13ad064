// Writes one run in every format, for check_files.py and check_gauge_files.py to read: write_files DIRECTORY.
#include <cstdio>
#include <string>

#include "core/base/status.h"
#include "core/io/configuration_file.h"
#include "tests/unit/io_fake_run.h"

namespace haarflow {
namespace {

absl::Status Write(const testing::FakeRunOptions& options, const std::string& path, uint64_t rows = 300,
                   const WriteOptions& write = {}) {
  const testing::FakeRun fake(options);
  {
    ASSIGN_OR_RETURN(const auto part, PartWriter::Create(PartPathOf(path), /*overwrite=*/true));
    for (const auto& message : fake.Stream(rows, 64)) RETURN_IF_ERROR(part->Append(message));
  }
  return WriteConfigurations(PartPathOf(path), path, write);
}

// SU(3) on a lattice of unequal extents, in the formats of gauge fields.
absl::Status WriteGauge(const std::string& directory) {
  testing::FakeRunOptions options;
  options.colours = 3;
  options.lattice = {5, 4, 3, 2};
  constexpr uint64_t kRows = 3;
  for (const char* name : {"/gauge.npy", "/gauge.lime", "/gauge.nersc"}) {
    RETURN_IF_ERROR(Write(options, directory + name, kRows));
  }
  return Write(options, directory + "/rows.nersc", kRows, {.nersc_rows = 2});
}

absl::Status WriteAll(const std::string& directory) {
  testing::FakeRunOptions options;
  options.observables = {"plaquette", "charge_squared"};
  RETURN_IF_ERROR(Write(options, directory + "/chain.h5"));
  RETURN_IF_ERROR(Write(options, directory + "/chain.npy"));
  options.mode = v1::SAMPLE_MODE_REWEIGHTED;
  options.precision = v1::FIELD_PRECISION_FLOAT32;
  RETURN_IF_ERROR(Write(options, directory + "/weighted.hdf5"));
  RETURN_IF_ERROR(Write(options, directory + "/weighted.npy"));
  options = testing::FakeRunOptions();
  options.observables = {"phi_squared"};
  options.scalar_components = 1;
  RETURN_IF_ERROR(Write(options, directory + "/scalar.h5"));
  RETURN_IF_ERROR(Write(options, directory + "/scalar.npy"));
  options.scalar_components = 2;
  options.precision = v1::FIELD_PRECISION_FLOAT32;
  RETURN_IF_ERROR(Write(options, directory + "/pair.h5"));
  options = testing::FakeRunOptions();
  options.observables = {"plaquette"};
  options.colours = 3;
  options.lattice = {2, 3, 4, 3};
  RETURN_IF_ERROR(Write(options, directory + "/su3.h5"));
  RETURN_IF_ERROR(Write(options, directory + "/su3.npy"));
  options.colours = 2;
  options.lattice = {4, 6};
  options.mode = v1::SAMPLE_MODE_REWEIGHTED;
  options.precision = v1::FIELD_PRECISION_FLOAT32;
  RETURN_IF_ERROR(Write(options, directory + "/su2.h5"));
  RETURN_IF_ERROR(Write(options, directory + "/su2.npy"));
  return WriteGauge(directory);
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const absl::Status status = haarflow::WriteAll(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
