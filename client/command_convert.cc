// haarflow convert: files of configurations in another format.
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands.h"
#include "core/base/status.h"
#include "core/io/configuration_file.h"

namespace haarflow {

absl::StatusOr<ExitCode> RunConvert(const Globals& globals, const ConvertOptions& options) {
  if (options.files.size() < 2) {
    return WithExitCode(absl::InvalidArgumentError("convert wants what to read and what to write: IN... OUT"),
                        kExitUsage);
  }
  const std::string out = options.files.back();
  const std::vector<std::string> in(options.files.begin(), options.files.end() - 1);
  const auto files = FilesOf(out);
  if (!files.ok()) return WithExitCode(files.status(), kExitUsage);
  for (const std::string& file : *files) {
    std::error_code ignored;
    if (!options.force && std::filesystem::exists(file, ignored)) {
      return WithExitCode(absl::AlreadyExistsError(absl::StrCat(file, " exists: --force replaces it")), kExitLocalFile);
    }
    for (const std::string& source : in) {
      if (std::filesystem::equivalent(file, source, ignored)) {
        return WithExitCode(absl::InvalidArgumentError(absl::StrCat(file, " is read and written: take another name")),
                            kExitUsage);
      }
    }
  }
  const auto run = ConvertConfigurations(in, out, {.nersc_rows = options.nersc_rows});
  if (!run.ok()) return FileTrouble(run.status());
  if (globals.json) {
    PrintJson({{"configurations", run->configurations}, {"files", WrittenFiles(out)}});
  } else {
    Print(absl::StrCat(Grouped(run->configurations), " configurations",
                       IsForeign(run->header) ? std::string(" of another program") : ", " + DescribeRun(run->header),
                       "\nwritten     ", absl::StrJoin(WrittenFiles(out), ", "), "\n"));
  }
  return kExitOk;
}

}  // namespace haarflow
