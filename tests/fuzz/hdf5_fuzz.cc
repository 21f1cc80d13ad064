// HDF5 files of configurations: the input stands in for an attribute or a column of a good file, as one of six types
// and of any small shape, written by the library itself so that our reader gets to see it.
//
// With $HAARFLOW_FUZZ_RAW set, inputs are also whole files, and patches of a good file's bytes. What they find is
// mostly libhdf5's own, which believes lengths in files: 1.10.8 dies in H5HG_read() of a global heap (texts of variable
// length) with one byte altered, after 7,000 inputs. A reader in its process cannot prevent that: read HDF5 files of
// strangers in a process that may die, or have them as npy.
#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/action/target.h"
#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/io/hdf5_file.h"

namespace {

constexpr const char* kAttributes[] = {"format",       "format_version",     "foreign",  "header_message", "sha256",
                                       "resume_token", "statistics_message", "lattice",  "seed",           "model",
                                       "observables",  "configurations",     "precision"};
constexpr const char* kColumns[] = {"index",  "multiplicity",          "log_weight", "log_q",
                                    "action", "observables/plaquette", "links"};

std::string Path() {
  static const std::string* const path = new std::string("/tmp/haarflow-fuzz-" + std::to_string(::getpid()) + ".h5");
  return *path;
}

haarflow::PartContents Run() {
  haarflow::PartContents run;
  haarflow::v1::SampleHeader& header = run.header;
  header.mutable_target()->mutable_lattice()->add_shape(2);
  header.mutable_target()->mutable_lattice()->add_shape(2);
  header.mutable_target()->mutable_u1_wilson()->set_beta(1);
  header.set_model("fuzz");
  header.set_model_digest(std::string(32, 'm'));
  header.set_target_digest(haarflow::TargetDigest(header.target()).Bytes());
  header.set_mode(haarflow::v1::SAMPLE_MODE_METROPOLIS);
  header.set_convention(haarflow::FieldConvention(header.target()));
  header.add_observables("plaquette");
  for (const int64_t extent : haarflow::FieldShape(header.target())) header.add_shape(static_cast<uint64_t>(extent));
  header.set_configuration_bytes(static_cast<uint64_t>(haarflow::FieldSize(header.target())) * sizeof(double));
  run.has_header = run.complete = true;
  run.numerics_class = "fuzz";
  run.configurations = run.steps = 3;
  run.resume_token = "token";
  return run;
}

// A good file of three configurations.
const std::string& GoodFile() {
  static const std::string* const bytes = [] {
    const haarflow::PartContents run = Run();
    const std::string field(run.header.configuration_bytes(), '\0');
    const double plaquette = 1;
    const auto rows = [&](const haarflow::RowVisitor& visit) {
      for (uint64_t k = 0; k < 3; ++k) {
        const absl::Status status = visit({.index = k,
                                           .multiplicity = 1,
                                           .log_weight = 0.5,
                                           .log_q = 1,
                                           .action = -1.5,
                                           .observables = absl::MakeConstSpan(&plaquette, 1),
                                           .field = field});
        if (!status.ok()) return status;
      }
      return absl::OkStatus();
    };
    if (!haarflow::WriteHdf5(run, rows, Path()).ok()) std::abort();
    auto made = haarflow::ReadFile(Path(), 1 << 20);
    if (!made.ok()) std::abort();
    return new std::string(*std::move(made));
  }();
  return *bytes;
}

void Spill(const std::string& bytes) {
  std::FILE* file = std::fopen(Path().c_str(), "wbe");
  if (file == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() || std::fclose(file) != 0) {
    std::abort();
  }
}

absl::Status Read() {
  haarflow::SampleAssembler assembler(/*keep_fields=*/true, /*foreign=*/true);
  return haarflow::ReadHdf5(Path(), [&](const haarflow::v1::SampleResponse& message) {
    return assembler.Add(message, [](const haarflow::SampleRow&) { return absl::OkStatus(); });
  });
}

// Bytes of a good file replaced: three for a place, one for its value.
std::string Patched(const std::string& patches) {
  std::string bytes = GoodFile();
  for (size_t at = 0; at + 4 <= patches.size(); at += 4) {
    size_t place = 0;
    for (size_t i = 0; i < 3; ++i) place = place << 8 | static_cast<uint8_t>(patches[at + i]);
    bytes[place % bytes.size()] = patches[at + 3];
  }
  return bytes;
}

// The type and the number of values that `kind` says, their bytes from `content`, repeated where it is short.
void Exchange(uint8_t which, uint8_t kind, const std::string& content) {
  Spill(GoodFile());
  const hid_t file = H5Fopen(Path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  if (file < 0) std::abort();
  const hid_t opaque = H5Tcreate(H5T_OPAQUE, std::max<size_t>(1, content.size()));
  const hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, H5T_VARIABLE);
  const hid_t types[] = {opaque, text, H5T_STD_U64LE, H5T_IEEE_F64LE, H5T_STD_I8LE, H5T_IEEE_F32BE};
  const size_t type = kind % 6;
  const hsize_t extents[] = {static_cast<hsize_t>(kind / 6 % 6), static_cast<hsize_t>(1 + kind / 36 % 3)};
  const int rank = kind / 108 % 3;
  const hid_t space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, extents, nullptr);
  const size_t values = static_cast<size_t>(H5Sget_simple_extent_npoints(space));
  std::string bytes;
  const size_t wanted = std::max<size_t>(1, values * std::max<size_t>(1, H5Tget_size(types[type])));
  while (bytes.size() < wanted) bytes += content.empty() ? std::string(1, '\0') : content;
  std::vector<const char*> texts(std::max<size_t>(1, values), content.c_str());
  const void* const data = type == 1 ? static_cast<const void*>(texts.data()) : bytes.data();
  constexpr size_t kNames = std::size(kAttributes) + std::size(kColumns);
  const size_t number = which % kNames;
  if (number < std::size(kAttributes)) {
    H5Adelete(file, kAttributes[number]);
    const hid_t attribute = H5Acreate2(file, kAttributes[number], types[type], space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) {
      H5Awrite(attribute, types[type], data);
      H5Aclose(attribute);
    }
  } else {
    const char* const name = kColumns[number - std::size(kAttributes)];
    H5Ldelete(file, name, H5P_DEFAULT);
    const hid_t column = H5Dcreate2(file, name, types[type], space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (column >= 0) {
      H5Dwrite(column, types[type], H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
      H5Dclose(column);
    }
  }
  H5Sclose(space);
  H5Tclose(text);
  H5Tclose(opaque);
  H5Fclose(file);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  GoodFile();
  if (!Read().ok()) std::abort();  // the good file is good: else nothing below is reached
  std::atexit([] { ::unlink(Path().c_str()); });
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size < 4 || size > 1 << 16) return 0;
  static const bool raw = std::getenv("HAARFLOW_FUZZ_RAW") != nullptr;
  const int choice = raw ? data[0] % 8 : 2;
  if (choice == 0) {
    Spill(bytes.substr(1));
  } else if (choice == 1) {
    Spill(Patched(bytes.substr(1)));
  } else {
    Exchange(data[1], data[2], bytes.substr(3));
  }
  Read().IgnoreError();
  return 0;
}
