// NumPy files. FILE.npy: U(1) links [n, mu, ..., y, x], SU(N) links [n, mu, ..., y, x, row, column] (complex), or
// scalars [n, ..., y, x]. FILE.table.npy: one record per
// configuration (index u8, multiplicity u8, log_weight, log_q, action and every observable f8). FILE.json: the
// attributes, bytes as hexadecimal digits.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/io/part_file.h"

namespace haarflow {

// Fields, table, attributes; `path` ends in .npy.
std::vector<std::string> NpyFilesOf(const std::string& path);

// `run` is what ReadPart(part_path) said.
absl::Status WriteNpy(const PartContents& run, const std::string& part_path, const std::string& path);

}  // namespace haarflow
