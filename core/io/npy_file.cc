#include "core/io/npy_file.h"

#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "core/base/digest.h"
#include "core/base/status.h"
#include "core/io/attribute_json.h"
#include "core/io/run_attributes.h"
#include "core/io/temporary_file.h"

namespace haarflow {
namespace {

static_assert(std::endian::native == std::endian::little, "columns are written as they lie in memory");

constexpr size_t kRowsAtOnce = 256;

// Writes what a block holds; gathers the fields' SHA-256.
class NpyWriter {
 public:
  NpyWriter(const v1::SampleHeader& header, OutputStream* fields, OutputStream* table)
      : header_(header),
        fields_(fields),
        table_(table),
        block_(header.observables_size(), header.configuration_bytes()) {}

  absl::Status Add(const SampleRow& row) {
    block_.Add(row);
    return block_.size() > kRowsAtOnce ? Flush(block_.size() - 1) : absl::OkStatus();  // the last may yet grow
  }
  absl::Status Finish() { return Flush(block_.size()); }
  std::string Sha256Hex() { return sha_.Finish().Hex(); }

 private:
  absl::Status Flush(size_t rows) {
    const size_t bytes = rows * header_.configuration_bytes();
    sha_.Update(block_.fields.data(), bytes);
    RETURN_IF_ERROR(fields_->Write(block_.fields.data(), bytes));
    std::string records;
    const auto put = [&records](const auto& value) {
      records.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    for (size_t i = 0; i < rows; ++i) {
      put(block_.index[i]);
      put(block_.multiplicity[i]);
      put(block_.log_weight[i]);
      put(block_.log_q[i]);
      put(block_.action[i]);
      for (int k = 0; k < header_.observables_size(); ++k) {
        if (header_.observables(k) != "action") put(block_.observables[k][i]);
      }
    }
    block_.DropFirst(rows);
    return table_->Write(records.data(), records.size());
  }

  const v1::SampleHeader& header_;
  OutputStream* fields_;
  OutputStream* table_;
  RowBlock block_;
  Sha256 sha_;
};

}  // namespace

std::string NpyHeader(const std::string& descr, const std::string& shape) {
  std::string text = absl::StrCat("{'descr': ", descr, ", 'fortran_order': False, 'shape': (", shape, "), }");
  text.append(64 - (10 + text.size() + 1) % 64, ' ');
  text += '\n';
  const auto length = static_cast<uint16_t>(text.size());  // at most 64 observables of bounded names
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(length & 0xFF);
  header += static_cast<char>(length >> 8);
  return header + text;
}

std::string NpyTableDescr(const v1::SampleHeader& header) {
  std::string descr =
      "[('index', '<u8'), ('multiplicity', '<u8'), ('log_weight', '<f8'), ('log_q', '<f8'), ('action', '<f8')";
  for (const std::string& name : header.observables()) {
    // A second column of one name would not open; `action` is there already.
    if (name != "action") absl::StrAppend(&descr, ", ('", name, "', '<f8')");
  }
  return descr + "]";
}

std::string NpyFieldDescr(const v1::SampleHeader& header) {
  const size_t bytes = ScalarBytes(header);
  return IsComplex(header.target()) ? absl::StrCat("'<c", 2 * bytes, "'") : absl::StrCat("'<f", bytes, "'");
}

std::vector<std::string> NpyFilesOf(const std::string& path) {
  const std::string stem = path.substr(0, path.size() - std::strlen(".npy"));
  return {path, stem + ".table.npy", stem + ".json"};
}

absl::Status WriteNpy(const PartContents& run, const RowSource& rows, const std::string& path) {
  const v1::SampleHeader& header = run.header;
  for (const std::string& name : header.observables()) {
    if (name.find_first_of("'\\\n") != std::string::npos || name.size() > 200) {
      return absl::InvalidArgumentError(absl::StrCat("observable name ", name, " cannot be a column of ", path));
    }
  }
  const std::vector<std::string> names = NpyFilesOf(path);
  TemporaryFile fields_file(names[0]);
  TemporaryFile table_file(names[1]);
  TemporaryFile json_file(names[2]);
  ASSIGN_OR_RETURN(OutputStream fields, OutputStream::Open(fields_file.name()));
  ASSIGN_OR_RETURN(OutputStream table, OutputStream::Open(table_file.name()));
  std::string shape = absl::StrCat(run.configurations);
  for (const uint64_t extent : FileShape(header)) absl::StrAppend(&shape, ", ", extent);
  const std::string fields_header = NpyHeader(NpyFieldDescr(header), shape);
  const std::string table_header = NpyHeader(NpyTableDescr(header), absl::StrCat(run.configurations, ","));
  RETURN_IF_ERROR(fields.Write(fields_header.data(), fields_header.size()));
  RETURN_IF_ERROR(table.Write(table_header.data(), table_header.size()));

  NpyWriter writer(header, &fields, &table);
  RETURN_IF_ERROR(rows([&](const SampleRow& row) { return writer.Add(row); }));
  RETURN_IF_ERROR(writer.Finish());
  RETURN_IF_ERROR(fields.Close());
  RETURN_IF_ERROR(table.Close());

  ASSIGN_OR_RETURN(const auto attributes, AttributesOf(run, writer.Sha256Hex()));
  ASSIGN_OR_RETURN(OutputStream json, OutputStream::Open(json_file.name()));
  const std::string text = TextOf(JsonOf(attributes));
  RETURN_IF_ERROR(json.Write(text.data(), text.size()));
  RETURN_IF_ERROR(json.Close());
  // Where the fields are, table and attributes are theirs, whatever happens here.
  ::unlink(names[0].c_str());
  RETURN_IF_ERROR(table_file.Publish());
  RETURN_IF_ERROR(json_file.Publish());
  return fields_file.Publish();
}

}  // namespace haarflow
