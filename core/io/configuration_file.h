// Files of configurations, by extension: .h5 and .hdf5 (one file), .npy (FILE.npy, FILE.table.npy, FILE.json).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/part_file.h"

namespace haarflow {

enum class FileFormat { kHdf5, kNpy };

// INVALID_ARGUMENT, naming the extensions, for anything else.
absl::StatusOr<FileFormat> FormatOf(const std::string& path);
// The journal of a file: FILE.part.
std::string PartPathOf(const std::string& path);
// Every file that writing `path` makes.
absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path);

// Writes the finished files from the journal, streaming; each appears whole or not at all, and replaces what was there.
// Fields must not have been omitted. RESOURCE_EXHAUSTED on a full disk; the journal is left alone always.
absl::Status WriteConfigurations(const std::string& part_path, const std::string& path);

// Makes a journal of a finished HDF5 file, so that it can be continued. UNIMPLEMENTED for npy; DATA_LOSS for a file
// that is not ours or whose fields do not have the SHA-256 that it says.
absl::Status ReopenConfigurations(const std::string& path, const std::string& part_path);

}  // namespace haarflow
