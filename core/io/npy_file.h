// NumPy files. FILE.npy: U(1) links [n, mu, ..., y, x], SU(N) links [n, mu, ..., y, x, row, column] (complex), or
// scalars [n, ..., y, x]. FILE.table.npy: one record per
// configuration (index u8, multiplicity u8, log_weight, log_q, action and every observable f8). FILE.json: the
// attributes, bytes as hexadecimal digits.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/io/byte_source.h"
#include "core/io/part_file.h"

namespace haarflow {

// Fields, table, attributes; `path` ends in .npy.
std::vector<std::string> NpyFilesOf(const std::string& path);

// `run` describes the rows.
absl::Status WriteNpy(const PartContents& run, const RowSource& rows, const std::string& path);

// The inverse: header, chunks, and the token in an unfinished summary. Lengths are bounded by the files' own before
// anything is allocated; the fields' SHA-256 is verified at the end. DATA_LOSS names the file.
absl::Status ReadNpy(const std::string& path, const MessageVisitor& visit);
// The same of bytes in any place.
absl::Status ReadNpyBytes(const std::string& json, const ByteSource& fields, const ByteSource& table,
                          const MessageVisitor& visit);

// NPY 1.0: magic, version, length, and a Python dictionary padded so that the data begin at a multiple of 64. `descr`
// is the type as numpy writes it, `shape` the extents with commas.
std::string NpyHeader(const std::string& descr, const std::string& shape);
std::string NpyFieldDescr(const v1::SampleHeader& header);
std::string NpyTableDescr(const v1::SampleHeader& header);

}  // namespace haarflow
