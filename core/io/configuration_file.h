// Files of configurations, by extension: .h5 and .hdf5 (one file), .npy (FILE.npy, FILE.table.npy, FILE.json); SU(3) in
// four dimensions also .lime and .ildg (ILDG) and .nersc, a file for each configuration (core/io/gauge_run.h).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/part_file.h"

namespace haarflow {

enum class FileFormat { kHdf5, kNpy, kIldg, kNersc };

struct WriteOptions {
  int nersc_rows = 3;  // of each link in NERSC files; 2 leaves out the third, which readers rebuild to rounding
};

// INVALID_ARGUMENT, naming the extensions, for anything else.
absl::StatusOr<FileFormat> FormatOf(const std::string& path);
// INVALID_ARGUMENT where files of this format cannot hold fields of this target.
absl::Status CheckHolds(const std::string& path, const v1::Target& target);
// The journal of a file: FILE.part.
std::string PartPathOf(const std::string& path);
// The files that stand for a finished run of `path`.
absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path);

// Those of them that are there, for people; of several ILDG or NERSC files a pattern of their names.
std::vector<std::string> WrittenFiles(const std::string& path);

// Writes the finished files from the journal, streaming; each appears whole or not at all, and replaces what was there.
// Fields must not have been omitted. RESOURCE_EXHAUSTED on a full disk; the journal is left alone always.
absl::Status WriteConfigurations(const std::string& part_path, const std::string& path,
                                 const WriteOptions& options = {});

// Reads finished files from front to back, every row to `visit` with its field. The format is that of the content, or
// for a run of several ILDG or NERSC files that of its name. Several paths are parts of one run, in order; or foreign
// fields, which are numbered from 0. Whatever the files say about themselves is checked: DATA_LOSS names the first
// contradiction, perhaps after rows were visited.
absl::StatusOr<PartContents> ReadConfigurations(const std::vector<std::string>& paths, const RowVisitor& visit);

// From any formats to that of `path`.
absl::StatusOr<PartContents> ConvertConfigurations(const std::vector<std::string>& from, const std::string& path,
                                                   const WriteOptions& options);

// Makes a journal of a finished file, so that it can be continued. DATA_LOSS for a file that is not ours, has no resume
// token, or contradicts itself.
absl::Status ReopenConfigurations(const std::string& path, const std::string& part_path);

}  // namespace haarflow
