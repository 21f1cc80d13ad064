#include "server/trainer/mpi_ranks.h"

#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr char kModule[] = "libhaarflow_mpi.so";

bool IsSet(const char* variable) { return std::getenv(variable) != nullptr; }
int Number(const char* variable) {
  const char* text = std::getenv(variable);
  int value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : 0;
}

// What launchers tell their processes. Slurm's tasks are ranks where it was asked for (`srun --mpi=pmix`).
bool IsLaunched() {
  if (const int size = std::max(Number("OMPI_COMM_WORLD_SIZE"), Number("PMI_SIZE")); size > 0) return size > 1;
  return IsSet("PMIX_RANK") && Number("SLURM_STEP_NUM_TASKS") != 1;
}

std::vector<std::string> ModulePaths() {
  std::vector<std::string> paths;
  char executable[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", executable, sizeof(executable));
  if (n > 0) {
    const std::string path(executable, static_cast<size_t>(n));
    paths.push_back(absl::StrCat(path.substr(0, path.find_last_of('/')), "/../lib/", kModule));
  }
  paths.push_back(kModule);
  return paths;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ranks>> JoinRanks(int* argc, char*** argv) {
  if (!IsLaunched()) return std::make_unique<SingleRank>();
  std::string errors;
  for (const std::string& path : ModulePaths()) {
    // Global: MPI loads plugins that look for its symbols.
    void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (module == nullptr) {
      absl::StrAppend(&errors, errors.empty() ? "" : "; ", ::dlerror());
      continue;
    }
    const auto version = reinterpret_cast<const char* (*)()>(::dlsym(module, "haarflow_ranks_version"));
    const auto make = reinterpret_cast<Ranks* (*)(int*, char***)>(::dlsym(module, "haarflow_make_ranks"));
    if (version == nullptr || make == nullptr || std::string(version()) != HAARFLOW_VERSION) {
      return absl::FailedPreconditionError(absl::StrCat(path, " is not of version ", HAARFLOW_VERSION));
    }
    Ranks* ranks = make(argc, argv);
    if (ranks == nullptr) return absl::UnavailableError("MPI does not start");
    return std::unique_ptr<Ranks>(ranks);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("started as one of several processes, but without MPI each would train the same model: ", errors,
                   ". Build with HAARFLOW_MPI=ON and install its component mpi, or start one process"));
}

int DefaultThreads(const Ranks& ranks) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  cpu_set_t allowed;
  const int mine = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : cores;
  return std::max(1, std::min(mine, cores / ranks.local_size()));
}

}  // namespace haarflow
