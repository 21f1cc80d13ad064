#include "core/io/hdf5_file.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/base/digest.h"
#include "core/base/status.h"
#include "core/io/hdf5_handles.h"
#include "core/io/run_attributes.h"
#include "core/io/temporary_file.h"

namespace haarflow {
namespace {

constexpr size_t kTargetChunkBytes = 1 << 20;
constexpr hsize_t kColumnChunkRows = 4096;

// ---------------------------------------------------------------------------------------------------------- attributes

H5Handle Utf8Type() {
  H5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

// The enumeration that h5py and PyTables read as a Boolean.
H5Handle BooleanType() {
  H5Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
  const int8_t no = 0;
  const int8_t yes = 1;
  H5Tenum_insert(type.get(), "FALSE", &no);
  H5Tenum_insert(type.get(), "TRUE", &yes);
  return type;
}

bool WriteAttribute(hid_t object, const std::string& name, hid_t file_type, hid_t memory_type, hid_t space,
                    const void* data) {
  const H5Handle attribute(H5Acreate2(object, name.c_str(), file_type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  return attribute.ok() && H5Awrite(attribute.get(), memory_type, data) >= 0;
}

bool WriteValue(hid_t object, const Attribute& attribute) {
  const H5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
  const auto& name = attribute.name;
  return std::visit(
      [&](const auto& value) -> bool {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          const H5Handle type = Utf8Type();
          const char* text = value.c_str();
          return WriteAttribute(object, name, type.get(), type.get(), scalar.get(), &text);
        } else if constexpr (std::is_same_v<T, OpaqueBytes>) {
          if (value.bytes.empty()) return true;  // HDF5 has no empty opaque type; absent means empty
          const H5Handle type(H5Tcreate(H5T_OPAQUE, value.bytes.size()), H5Tclose);  // h5py reads untagged ones only
          return WriteAttribute(object, name, type.get(), type.get(), scalar.get(), value.bytes.data());
        } else if constexpr (std::is_same_v<T, double>) {
          return WriteAttribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, scalar.get(), &value);
        } else if constexpr (std::is_same_v<T, uint64_t>) {
          return WriteAttribute(object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, scalar.get(), &value);
        } else if constexpr (std::is_same_v<T, bool>) {
          const H5Handle type = BooleanType();
          const int8_t byte = value ? 1 : 0;
          return WriteAttribute(object, name, type.get(), type.get(), scalar.get(), &byte);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          const hsize_t n = value.size();
          const H5Handle type = Utf8Type();
          const H5Handle space = H5Space(1, &n);
          std::vector<const char*> texts;
          for (const std::string& text : value) texts.push_back(text.c_str());
          return WriteAttribute(object, name, type.get(), type.get(), space.get(), texts.data());
        } else {
          const hsize_t n = value.size();
          const H5Handle space = H5Space(1, &n);
          return WriteAttribute(object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, space.get(), value.data());
        }
      },
      attribute.value);
}

// ------------------------------------------------------------------------------------------------------------ datasets

// One dataset whose first axis is the configuration, filled from the front.
class Column {
 public:
  // `row_shape` without the first axis.
  static absl::StatusOr<Column> Create(hid_t parent, const std::string& name, hid_t file_type, hid_t memory_type,
                                       hsize_t rows, const std::vector<hsize_t>& row_shape, hsize_t chunk_rows) {
    std::vector<hsize_t> extents{rows};
    extents.insert(extents.end(), row_shape.begin(), row_shape.end());
    std::vector<hsize_t> maximum = extents;
    maximum[0] = H5S_UNLIMITED;
    std::vector<hsize_t> chunk = extents;
    chunk[0] = std::min(rows, chunk_rows);
    const H5Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const int rank = static_cast<int>(extents.size());
    H5Pset_chunk(properties.get(), rank, chunk.data());
    H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
    const H5Handle space = H5Space(rank, extents.data(), maximum.data());
    H5Handle dataset(
        H5Dcreate2(parent, name.c_str(), file_type, space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT), H5Dclose);
    if (!dataset.ok()) return H5Status(absl::StrCat("dataset ", name));
    return Column(name, std::move(dataset), memory_type, std::move(extents));
  }

  absl::Status Append(const void* data, hsize_t rows) {
    std::vector<hsize_t> start(extents_.size(), 0);
    start[0] = written_;
    std::vector<hsize_t> count = extents_;
    count[0] = rows;
    const H5Handle memory = H5Space(static_cast<int>(count.size()), count.data());
    const H5Handle file(H5Dget_space(dataset_.get()), H5Sclose);
    if (H5Sselect_hyperslab(file.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
        H5Dwrite(dataset_.get(), memory_type_, memory.get(), file.get(), H5P_DEFAULT, data) < 0) {
      return H5Status(absl::StrCat("dataset ", name_));
    }
    written_ += rows;
    return absl::OkStatus();
  }

 private:
  Column(std::string name, H5Handle dataset, hid_t memory_type, std::vector<hsize_t> extents)
      : name_(std::move(name)), dataset_(std::move(dataset)), memory_type_(memory_type), extents_(std::move(extents)) {}
  std::string name_;
  H5Handle dataset_;
  hid_t memory_type_;
  std::vector<hsize_t> extents_;
  hsize_t written_ = 0;
};

// All datasets of a file, fed by rows.
class Tables {
 public:
  explicit Tables(const PartContents& run)
      : run_(run),
        block_(run.header.observables_size(), run.header.configuration_bytes()),
        field_type_(H5FieldType(ScalarBytes(run.header) == 4, IsComplex(run.header.target()), /*in_file=*/false)) {
    chunk_rows_ = std::clamp<hsize_t>(kTargetChunkBytes / run.header.configuration_bytes(), 1, kColumnChunkRows);
  }

  absl::Status Create(hid_t file) {
    const v1::SampleHeader& header = run_.header;
    const std::vector<uint64_t> file_shape = FileShape(header);
    const std::vector<hsize_t> shape(file_shape.begin(), file_shape.end());
    const H5Handle type = H5FieldType(ScalarBytes(header) == 4, IsComplex(header.target()), /*in_file=*/true);
    if (!type.ok() || !field_type_.ok()) return H5Status("type of the fields");
    RETURN_IF_ERROR(Add(file, FieldName(header.target()), type.get(), field_type_.get(), shape, chunk_rows_));
    RETURN_IF_ERROR(Add(file, "index", H5T_STD_U64LE, H5T_NATIVE_UINT64, {}, kColumnChunkRows));
    for (const char* name : {"log_weight", "log_q", "action"}) {
      RETURN_IF_ERROR(Add(file, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, {}, kColumnChunkRows));
    }
    if (IsMetropolis(header)) {
      RETURN_IF_ERROR(Add(file, "multiplicity", H5T_STD_U64LE, H5T_NATIVE_UINT64, {}, kColumnChunkRows));
    }
    const H5Handle group(H5Gcreate2(file, "observables", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
    if (!group.ok()) return H5Status("group observables");
    for (const std::string& name : header.observables()) {
      RETURN_IF_ERROR(Add(group.get(), name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, {}, kColumnChunkRows));
    }
    return absl::OkStatus();
  }

  absl::Status AddRow(const SampleRow& row) {
    block_.Add(row);
    return block_.size() > chunk_rows_ ? Flush(chunk_rows_) : absl::OkStatus();  // the last may yet grow
  }
  absl::Status Finish() {
    while (block_.size() > 0) RETURN_IF_ERROR(Flush(std::min<size_t>(block_.size(), chunk_rows_)));
    columns_.clear();
    return absl::OkStatus();
  }
  std::string Sha256Hex() { return sha_.Finish().Hex(); }

 private:
  absl::Status Add(hid_t parent, const std::string& name, hid_t file_type, hid_t memory_type,
                   const std::vector<hsize_t>& shape, hsize_t chunk_rows) {
    ASSIGN_OR_RETURN(auto column,
                     Column::Create(parent, name, file_type, memory_type, run_.configurations, shape, chunk_rows));
    columns_.push_back(std::move(column));
    return absl::OkStatus();
  }

  absl::Status Flush(size_t rows) {
    sha_.Update(block_.fields.data(), rows * run_.header.configuration_bytes());
    std::vector<const void*> data = {block_.fields.data(), block_.index.data(), block_.log_weight.data(),
                                     block_.log_q.data(), block_.action.data()};
    if (IsMetropolis(run_.header)) data.push_back(block_.multiplicity.data());
    for (const auto& column : block_.observables) data.push_back(column.data());
    for (size_t i = 0; i < columns_.size(); ++i) RETURN_IF_ERROR(columns_[i].Append(data[i], rows));
    block_.DropFirst(rows);
    return absl::OkStatus();
  }

  const PartContents& run_;
  RowBlock block_;
  const H5Handle field_type_;  // in memory; columns_ refer to it
  hsize_t chunk_rows_;
  std::vector<Column> columns_;
  Sha256 sha_;
};

absl::Status WriteContents(const PartContents& run, const RowSource& rows, const std::string& name) {
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST);
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
  H5Handle file(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
  if (!file.ok()) return H5Status("creating the file");
  Tables tables(run);
  RETURN_IF_ERROR(tables.Create(file.get()));
  RETURN_IF_ERROR(rows([&](const SampleRow& row) { return tables.AddRow(row); }));
  RETURN_IF_ERROR(tables.Finish());
  ASSIGN_OR_RETURN(const auto attributes, AttributesOf(run, tables.Sha256Hex()));
  for (const Attribute& attribute : attributes) {
    if (!WriteValue(file.get(), attribute)) return H5Status(absl::StrCat("attribute ", attribute.name));
  }
  if (H5Fflush(file.get(), H5F_SCOPE_GLOBAL) < 0) return H5Status("flushing the file");
  if (!file.Close()) return H5Status("closing the file");
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteHdf5(const PartContents& run, const RowSource& rows, const std::string& path) {
  const H5Silence silence;
  for (const std::string& name : run.header.observables()) {
    if (name.empty() || name.find('/') != std::string::npos || name == ".") {
      return absl::InvalidArgumentError(absl::StrCat("observable name ", name, " cannot be a dataset of ", path));
    }
  }
  // Columns, one unfilled chunk of each dataset, attributes.
  const uint64_t columns = 5 + run.header.observables_size();
  const uint64_t bytes = run.configurations * (run.header.configuration_bytes() + 8 * columns);
  RETURN_IF_ERROR(CheckSpace(path, bytes + bytes / 64 + (1 << 18)));
  TemporaryFile temporary(path);
  RETURN_IF_ERROR(Annotate(WriteContents(run, rows, temporary.name()), absl::StrCat("writing ", path)));
  return temporary.Publish();
}

}  // namespace haarflow
