#include "core/io/configuration_file.h"

#include "core/base/status.h"
#include "core/io/hdf5_file.h"
#include "core/io/npy_file.h"

namespace haarflow {
namespace {

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

absl::StatusOr<FileFormat> FormatOf(const std::string& path) {
  if (EndsWith(path, ".h5") || EndsWith(path, ".hdf5")) return FileFormat::kHdf5;
  if (EndsWith(path, ".npy")) return FileFormat::kNpy;
  return absl::InvalidArgumentError(absl::StrCat("cannot tell the format of ", path, ": name it .h5, .hdf5 or .npy"));
}

std::string PartPathOf(const std::string& path) { return path + ".part"; }

absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path) {
  ASSIGN_OR_RETURN(const FileFormat format, FormatOf(path));
  if (format == FileFormat::kHdf5) return std::vector<std::string>{path};
  return NpyFilesOf(path);
}

absl::Status WriteConfigurations(const std::string& part_path, const std::string& path) {
  ASSIGN_OR_RETURN(const FileFormat format, FormatOf(path));
  ASSIGN_OR_RETURN(const PartContents run, ReadPart(part_path));
  if (run.configurations == 0)
    return absl::FailedPreconditionError(absl::StrCat(part_path, " holds no configurations"));
  if (run.header.configuration_bytes() == 0) {
    return absl::FailedPreconditionError(absl::StrCat(part_path, " was received without fields"));
  }
  return format == FileFormat::kHdf5 ? WriteHdf5(run, part_path, path) : WriteNpy(run, part_path, path);
}

absl::Status ReopenConfigurations(const std::string& path, const std::string& part_path) {
  ASSIGN_OR_RETURN(const FileFormat format, FormatOf(path));
  if (format != FileFormat::kHdf5) {
    return absl::UnimplementedError(
        absl::StrCat(path, " is finished; only HDF5 files can be extended: draw into a new file"));
  }
  return PartFromHdf5(path, part_path);
}

}  // namespace haarflow
