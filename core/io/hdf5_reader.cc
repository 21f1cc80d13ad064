// Reading a finished file back.
#include <algorithm>
#include <numeric>
#include <vector>

#include "core/base/digest.h"
#include "core/base/status.h"
#include "core/io/hdf5_file.h"
#include "core/io/hdf5_handles.h"
#include "core/io/run_attributes.h"

namespace haarflow {
namespace {

constexpr size_t kMaxAttributeBytes = 1 << 20;
constexpr size_t kChunkBytes = 1 << 20;

// Opaque or string bytes of an attribute of the root; empty when there is none.
absl::StatusOr<std::string> ReadBytes(hid_t file, const char* name) {
  if (H5Aexists(file, name) <= 0) return std::string();
  const H5Handle attribute(H5Aopen(file, name, H5P_DEFAULT), H5Aclose);
  const H5Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const H5Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (!attribute.ok() || !type.ok() || H5Sget_simple_extent_npoints(space.get()) != 1) {
    return H5Status(absl::StrCat("attribute ", name), absl::StatusCode::kDataLoss);
  }
  if (H5Tis_variable_str(type.get()) > 0) {
    char* text = nullptr;
    if (H5Aread(attribute.get(), type.get(), &text) < 0 || text == nullptr) {
      return H5Status(absl::StrCat("attribute ", name), absl::StatusCode::kDataLoss);
    }
    std::string value(text);
    H5free_memory(text);
    return value;
  }
  const size_t size = H5Tget_size(type.get());
  if (H5Tget_class(type.get()) != H5T_OPAQUE || size > kMaxAttributeBytes) {
    return absl::DataLossError(absl::StrCat("attribute ", name, " is not of the kind expected"));
  }
  std::string bytes(size, '\0');
  if (H5Aread(attribute.get(), type.get(), bytes.data()) < 0) {
    return H5Status(absl::StrCat("attribute ", name), absl::StatusCode::kDataLoss);
  }
  return bytes;
}

// Rows [first, first + rows) of a dataset whose rows have `row_shape`.
absl::Status ReadRows(hid_t file, const std::string& name, hid_t memory_type, const std::vector<hsize_t>& row_shape,
                      hsize_t first, hsize_t rows, void* out) {
  const auto failed = [&] { return H5Status(absl::StrCat("dataset ", name), absl::StatusCode::kDataLoss); };
  const H5Handle dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) return failed();
  const H5Handle space(H5Dget_space(dataset.get()), H5Sclose);
  std::vector<hsize_t> extents(row_shape.size() + 1);
  if (H5Sget_simple_extent_ndims(space.get()) != static_cast<int>(extents.size())) return failed();
  H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  if (!std::equal(row_shape.begin(), row_shape.end(), extents.begin() + 1) || extents[0] < first + rows)
    return failed();
  std::vector<hsize_t> start(extents.size(), 0);
  start[0] = first;
  std::vector<hsize_t> count = extents;
  count[0] = rows;
  const H5Handle memory = H5Space(static_cast<int>(count.size()), count.data());
  if (H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
      H5Dread(dataset.get(), memory_type, memory.get(), space.get(), H5P_DEFAULT, out) < 0) {
    return failed();
  }
  return absl::OkStatus();
}

absl::StatusOr<hsize_t> RowsOf(hid_t file) {
  const H5Handle dataset(H5Dopen2(file, "index", H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) return H5Status("dataset index", absl::StatusCode::kDataLoss);
  const H5Handle space(H5Dget_space(dataset.get()), H5Sclose);
  hsize_t n = 0;
  if (H5Sget_simple_extent_ndims(space.get()) != 1 || H5Sget_simple_extent_dims(space.get(), &n, nullptr) < 0) {
    return absl::DataLossError("dataset index is not one-dimensional");
  }
  return n;
}

class Replay {
 public:
  Replay(hid_t file, const v1::SampleHeader& header)
      : file_(file),
        header_(header),
        field_type_(H5FieldType(ScalarBytes(header) == 4, IsComplex(header.target()), /*in_file=*/false)) {
    const std::vector<uint64_t> shape = FileShape(header);
    shape_.assign(shape.begin(), shape.end());
  }

  absl::StatusOr<v1::SampleResponse> Rows(hsize_t first, hsize_t rows) {
    v1::SampleResponse message;
    v1::SampleChunk* chunk = message.mutable_chunk();
    RETURN_IF_ERROR(Unsigned("index", first, rows, chunk->mutable_index()));
    if (IsMetropolis(header_)) RETURN_IF_ERROR(Unsigned("multiplicity", first, rows, chunk->mutable_multiplicity()));
    RETURN_IF_ERROR(Doubles("log_weight", first, rows, chunk->mutable_log_weight()));
    RETURN_IF_ERROR(Doubles("log_q", first, rows, chunk->mutable_log_q()));
    RETURN_IF_ERROR(Doubles("action", first, rows, chunk->mutable_action()));
    for (const std::string& name : header_.observables()) {
      RETURN_IF_ERROR(Doubles("observables/" + name, first, rows, chunk->add_observables()->mutable_value()));
    }
    std::string* payload = chunk->mutable_payload();
    payload->resize(rows * header_.configuration_bytes());
    RETURN_IF_ERROR(
        ReadRows(file_, FieldName(header_.target()), field_type_.get(), shape_, first, rows, payload->data()));
    sha_.Update(*payload);
    chunk->set_payload_total(payload->size());
    chunk->set_crc32c(Crc32c(payload->data(), payload->size()));
    return message;
  }
  std::string Sha256Hex() { return sha_.Finish().Hex(); }

 private:
  absl::Status Unsigned(const std::string& name, hsize_t first, hsize_t rows,
                        google::protobuf::RepeatedField<uint64_t>* out) {
    out->Resize(static_cast<int>(rows), 0);
    return ReadRows(file_, name, H5T_NATIVE_UINT64, {}, first, rows, out->mutable_data());
  }
  absl::Status Doubles(const std::string& name, hsize_t first, hsize_t rows,
                       google::protobuf::RepeatedField<double>* out) {
    out->Resize(static_cast<int>(rows), 0);
    return ReadRows(file_, name, H5T_NATIVE_DOUBLE, {}, first, rows, out->mutable_data());
  }

  hid_t file_;
  const v1::SampleHeader& header_;
  const H5Handle field_type_;
  std::vector<hsize_t> shape_;
  Sha256 sha_;
};

// Whether the attribute, where there is one, has this value.
bool SameAttribute(hid_t file, const Attribute& expected) {
  const char* name = expected.name.c_str();
  if (H5Aexists(file, name) <= 0) return true;
  const H5Handle attribute(H5Aopen(file, name, H5P_DEFAULT), H5Aclose);
  const H5Handle space(H5Aget_space(attribute.get()), H5Sclose);
  const hssize_t n = H5Sget_simple_extent_npoints(space.get());
  if (const auto* text = std::get_if<std::string>(&expected.value)) {
    const auto read = ReadBytes(file, name);
    return read.ok() && *read == *text;
  }
  if (const auto* number = std::get_if<double>(&expected.value)) {
    double read = 0;
    return n == 1 && H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, &read) >= 0 && read == *number;
  }
  if (const auto* number = std::get_if<uint64_t>(&expected.value)) {
    uint64_t read = 0;
    return n == 1 && H5Aread(attribute.get(), H5T_NATIVE_UINT64, &read) >= 0 && read == *number;
  }
  if (const auto* numbers = std::get_if<std::vector<uint64_t>>(&expected.value)) {
    std::vector<uint64_t> read(numbers->size());
    return n == static_cast<hssize_t>(read.size()) && H5Aread(attribute.get(), H5T_NATIVE_UINT64, read.data()) >= 0 &&
           read == *numbers;
  }
  return true;  // lists of names and opaque bytes are the header message's own
}

struct RootTexts {
  std::string header;
  std::string statistics;
  std::string token;
  std::string sha256;
};

absl::StatusOr<RootTexts> ReadRoot(hid_t file) {
  RootTexts texts;
  ASSIGN_OR_RETURN(texts.header, ReadBytes(file, "header_message"));
  ASSIGN_OR_RETURN(texts.statistics, ReadBytes(file, "statistics_message"));
  ASSIGN_OR_RETURN(texts.token, ReadBytes(file, "resume_token"));
  ASSIGN_OR_RETURN(texts.sha256, ReadBytes(file, "sha256"));
  return texts;
}

absl::Status Read(const std::string& path, const MessageVisitor& visit) {
  const H5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file.ok()) return absl::DataLossError("not an HDF5 file");
  ASSIGN_OR_RETURN(const RootTexts texts, ReadRoot(file.get()));
  v1::SampleResponse header;
  v1::SampleResponse summary;
  if (texts.header.empty() || !header.mutable_header()->ParseFromString(texts.header) ||
      !summary.mutable_summary()->mutable_statistics()->ParseFromString(texts.statistics)) {
    return absl::DataLossError("has no header message: haarflow did not write it");
  }
  summary.mutable_summary()->set_resume_token(texts.token);
  if (header.header().configuration_bytes() == 0) return absl::DataLossError("says that it has no fields");
  SampleAssembler check(/*keep_fields=*/false, /*foreign=*/true);  // before any size in the header is believed
  RETURN_IF_ERROR(check.Add(header));
  for (const Attribute& attribute : HeaderAttributes(header.header())) {
    if (SameAttribute(file.get(), attribute)) continue;
    return absl::DataLossError(
        absl::StrCat("the attribute ", attribute.name, " is not what the file was written with: it was altered"));
  }
  RETURN_IF_ERROR(visit(header));
  ASSIGN_OR_RETURN(const hsize_t n, RowsOf(file.get()));
  const hsize_t per_chunk = std::clamp<hsize_t>(kChunkBytes / header.header().configuration_bytes(), 1, 1024);
  Replay replay(file.get(), header.header());
  for (hsize_t first = 0; first < n; first += per_chunk) {
    ASSIGN_OR_RETURN(const v1::SampleResponse message, replay.Rows(first, std::min(per_chunk, n - first)));
    RETURN_IF_ERROR(visit(message));
  }
  if (replay.Sha256Hex() != texts.sha256) {
    return absl::DataLossError("the fields do not have the SHA-256 that the file says: it was altered");
  }
  return visit(summary);
}

}  // namespace

absl::Status ReadHdf5(const std::string& path, const MessageVisitor& visit) {
  const H5Silence silence;
  return Annotate(Read(path, visit), path);
}

}  // namespace haarflow
