#include "core/io/configuration_file.h"

#include <filesystem>

#include "core/base/status.h"
#include "core/io/byte_source.h"
#include "core/io/gauge_run.h"
#include "core/io/hdf5_file.h"
#include "core/io/lime.h"
#include "core/io/nersc_file.h"
#include "core/io/npy_file.h"
#include "core/io/temporary_file.h"

namespace haarflow {
namespace {

constexpr char kHdf5Magic[] = "\x89HDF\r\n\x1a\n";
constexpr char kNpyMagic[] = "\x93NUMPY";

struct Extension {
  const char* text;
  FileFormat format;
};
constexpr Extension kExtensions[] = {{".h5", FileFormat::kHdf5},   {".hdf5", FileFormat::kHdf5},
                                     {".npy", FileFormat::kNpy},   {".lime", FileFormat::kIldg},
                                     {".ildg", FileFormat::kIldg}, {".nersc", FileFormat::kNersc}};

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool IsGaugeFormat(FileFormat format) { return format == FileFormat::kIldg || format == FileFormat::kNersc; }

// Of what is there, whatever its name.
absl::StatusOr<FileFormat> FormatOfContent(const std::string& path) {
  const auto source = FileSource::Open(path);
  if (absl::IsNotFound(source.status())) {
    const auto named = FormatOf(path);  // a run of several files has no file of its own name
    return named.ok() && IsGaugeFormat(*named) && std::filesystem::exists(GaugeRunFile(path)) ? named : source.status();
  }
  RETURN_IF_ERROR(source.status());
  if (IsLime(**source)) return FileFormat::kIldg;
  if (IsNersc(**source)) return FileFormat::kNersc;
  const auto begins = [&](const std::string& magic) {
    const auto head = (*source)->Text(0, magic.size(), magic.size());
    return head.ok() && *head == magic;
  };
  if (begins(kHdf5Magic)) return FileFormat::kHdf5;
  if (begins(kNpyMagic)) return FileFormat::kNpy;
  return absl::DataLossError(absl::StrCat(path, " is no file of configurations: HDF5, npy, ILDG and NERSC are read"));
}

absl::Status ReadMessages(const std::string& path, uint64_t position, const MessageVisitor& visit) {
  ASSIGN_OR_RETURN(const FileFormat format, FormatOfContent(path));
  if (format == FileFormat::kHdf5) return ReadHdf5(path, visit);
  if (format == FileFormat::kNpy) return ReadNpy(path, visit);
  return ReadGaugeRun(path, position, visit);
}

absl::Status Write(const PartContents& run, const RowSource& rows, const std::string& path,
                   const WriteOptions& options) {
  ASSIGN_OR_RETURN(const FileFormat format, FormatOf(path));
  if (format == FileFormat::kHdf5) return WriteHdf5(run, rows, path);
  if (format == FileFormat::kNpy) return WriteNpy(run, rows, path);
  return WriteGaugeRun(run, rows, format == FileFormat::kIldg ? GaugeFormat::kIldg : GaugeFormat::kNersc,
                       options.nersc_rows, path);
}

}  // namespace

absl::StatusOr<FileFormat> FormatOf(const std::string& path) {
  for (const Extension& extension : kExtensions) {
    if (EndsWith(path, extension.text)) return extension.format;
  }
  return absl::InvalidArgumentError(absl::StrCat("cannot tell the format of ", path,
                                                 ": name it .h5, .hdf5 or .npy; SU(3) in four dimensions also .lime, ",
                                                 ".ildg or .nersc"));
}

absl::Status CheckHolds(const std::string& path, const v1::Target& target) {
  ASSIGN_OR_RETURN(const FileFormat format, FormatOf(path));
  return IsGaugeFormat(format) ? Annotate(CheckGaugeTarget(target), path) : absl::OkStatus();
}

std::string PartPathOf(const std::string& path) { return path + ".part"; }

absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path) {
  ASSIGN_OR_RETURN(const FileFormat format, FormatOf(path));
  if (format == FileFormat::kNpy) return NpyFilesOf(path);
  if (format == FileFormat::kHdf5) return std::vector<std::string>{path};
  return std::vector<std::string>{path, GaugeRunFile(path)};
}

std::vector<std::string> WrittenFiles(const std::string& path) {
  std::vector<std::string> there;
  for (const std::string& file : FilesOf(path).value_or(std::vector<std::string>())) {
    if (std::filesystem::exists(file)) there.push_back(file);
  }
  const auto format = FormatOf(path);
  if (format.ok() && IsGaugeFormat(*format) && !std::filesystem::exists(path)) {
    const size_t dot = path.rfind('.');
    there.push_back(absl::StrCat(path.substr(0, dot), ".*", path.substr(dot)));
  }
  return there;
}

absl::Status WriteConfigurations(const std::string& part_path, const std::string& path, const WriteOptions& options) {
  ASSIGN_OR_RETURN(const PartContents run, ReadPart(part_path));
  if (run.configurations == 0)
    return absl::FailedPreconditionError(absl::StrCat(part_path, " holds no configurations"));
  if (run.header.configuration_bytes() == 0) {
    return absl::FailedPreconditionError(absl::StrCat(part_path, " was received without fields"));
  }
  return Write(
      run, [&](const RowVisitor& visit) { return ReadPart(part_path, visit).status(); }, path, options);
}

absl::StatusOr<PartContents> ReadConfigurations(const std::vector<std::string>& paths, const RowVisitor& visit) {
  SampleAssembler assembler(/*keep_fields=*/visit != nullptr, /*foreign=*/true);
  for (size_t i = 0; i < paths.size(); ++i) {
    RETURN_IF_ERROR(
        ReadMessages(paths[i], i, [&](const v1::SampleResponse& message) { return assembler.Add(message, visit); }));
  }
  PartContents run = ContentsOf(assembler);
  if (run.configurations == 0) {
    return absl::DataLossError(absl::StrCat(paths.empty() ? "no file" : paths[0], " holds no configurations"));
  }
  return run;
}

absl::StatusOr<PartContents> ConvertConfigurations(const std::vector<std::string>& from, const std::string& path,
                                                   const WriteOptions& options) {
  RETURN_IF_ERROR(FormatOf(path).status());
  ASSIGN_OR_RETURN(PartContents run, ReadConfigurations(from, nullptr));
  RETURN_IF_ERROR(CheckHolds(path, run.header.target()));
  RETURN_IF_ERROR(Write(
      run, [&](const RowVisitor& visit) { return ReadConfigurations(from, visit).status(); }, path, options));
  return run;
}

absl::Status ReopenConfigurations(const std::string& path, const std::string& part_path) {
  TemporaryFile temporary(part_path);
  {
    ASSIGN_OR_RETURN(const auto part, PartWriter::Create(temporary.name(), /*overwrite=*/true));
    SampleAssembler check(/*keep_fields=*/false);
    RETURN_IF_ERROR(ReadMessages(path, 0, [&](const v1::SampleResponse& message) -> absl::Status {
      if (message.has_header() && message.header().configuration_bytes() > kMaxPartRecordBytes / 2) {
        return absl::UnimplementedError("configurations are too large to be continued in place: draw into a new file");
      }
      if (message.has_summary() && message.summary().resume_token().empty()) {
        return absl::DataLossError("has no resume token of haarflow");
      }
      RETURN_IF_ERROR(check.Add(message));
      return part->Append(message);
    }));
  }
  return temporary.Publish();
}

}  // namespace haarflow
