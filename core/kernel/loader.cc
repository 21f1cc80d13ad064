#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "core/base/status.h"
#include "core/kernel/kernels.h"

namespace haarflow {
namespace {

std::vector<std::string> ModulePaths() {
  if (const char* path = std::getenv("HAARFLOW_CUDA_MODULE"); path != nullptr) return {path};
  std::vector<std::string> paths;
  char executable[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", executable, sizeof(executable));
  if (n > 0) {
    const std::string path(executable, static_cast<size_t>(n));
    const std::string directory = path.substr(0, path.find_last_of('/'));
    paths.push_back(directory + "/libhaarflow_cuda.so");
    paths.push_back(directory + "/../lib/libhaarflow_cuda.so");
  }
  paths.push_back("libhaarflow_cuda.so");
  return paths;
}

absl::StatusOr<const hf_kernels*> Load() {
  std::string errors;
  for (const std::string& path : ModulePaths()) {
    void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) {
      absl::StrAppend(&errors, errors.empty() ? "" : "; ", ::dlerror());
      continue;
    }
    const auto entry = reinterpret_cast<haarflow_kernels_fn>(::dlsym(module, "haarflow_kernels"));
    if (entry == nullptr) return absl::FailedPreconditionError(absl::StrCat(path, " exports no haarflow_kernels"));
    const hf_kernels* table = entry();
    if (table == nullptr || table->abi != HAARFLOW_KERNELS_ABI || table->size != sizeof(hf_kernels)) {
      return absl::FailedPreconditionError(absl::StrCat(path, " has another table version than ", HAARFLOW_KERNELS_ABI,
                                                        ": install the module of this release"));
    }
    if (table->device_count() < 1) return absl::UnavailableError(absl::StrCat(path, " finds no CUDA device"));
    return table;
  }
  return absl::UnavailableError(
      absl::StrCat("no CUDA module: ", errors, ". Use --device cpu:N, or build with nvcc (HAARFLOW_CUDA=ON)"));
}

}  // namespace

absl::StatusOr<const hf_kernels*> LoadCudaKernels() {
  static const absl::StatusOr<const hf_kernels*> table = Load();
  return table;
}

std::string Device::ToString() const { return absl::StrCat(kind == Kind::kCpu ? "cpu:" : "cuda:", number); }

absl::StatusOr<Device> ParseDevice(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  Device device;
  if (kind == "cpu") {
    device.number = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  } else if (kind == "cuda") {
    device.kind = Device::Kind::kCuda;
    device.number = 0;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("device '", text, "' is neither cpu:N (N threads) nor cuda:N (device N)"));
  }
  if (colon == std::string::npos) return device;
  const int least = device.kind == Device::Kind::kCpu ? 1 : 0;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &device.number) || device.number < least || device.number > 1024) {
    return absl::InvalidArgumentError(absl::StrCat("device '", text, "': the number must be ", least, "..1024"));
  }
  return device;
}

absl::StatusOr<const hf_kernels*> KernelsFor(const Device& device) {
  if (device.kind == Device::Kind::kCpu) return &CpuKernels();
  ASSIGN_OR_RETURN(const hf_kernels* table, LoadCudaKernels());
  if (device.number >= table->device_count()) {
    return absl::UnavailableError(
        absl::StrCat(device.ToString(), " does not exist: there are ", table->device_count(), " CUDA devices"));
  }
  return table;
}

}  // namespace haarflow
