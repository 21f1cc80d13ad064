#include "server/config/device_list.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/status.h"

namespace haarflow {

absl::StatusOr<std::vector<Device>> ParseDevices(const std::string& text) {
  std::vector<Device> devices;
  for (const absl::string_view name : absl::StrSplit(text, ',')) {
    ASSIGN_OR_RETURN(const Device device, ParseDevice(std::string(name)));
    devices.push_back(device);
  }
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("--device ", text, ": ", why));
  };
  const Device& first = devices.front();
  std::set<int> cuda;
  for (const Device& device : devices) {
    if (device.kind != first.kind) {
      return refuse(
          "CPU and CUDA draw different bits, and any worker may draw any part of a stream; run a server for each kind");
    }
    if (device.kind == Device::Kind::kCuda && !cuda.insert(device.number).second) {
      return refuse(absl::StrCat(device.ToString(), " is there twice; a CUDA device has one worker"));
    }
    if (device.kind == Device::Kind::kCpu && device.number != first.number) {
      return refuse("CPU workers have equally many threads; give each the same N");
    }
  }
  return devices;
}

std::vector<int> DeviceNumbers(const std::vector<Device>& devices) {
  std::vector<int> numbers;
  for (const Device& device : devices) numbers.push_back(device.kind == Device::Kind::kCpu ? 0 : device.number);
  return numbers;
}

}  // namespace haarflow
