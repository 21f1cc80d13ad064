// The devices of one server, a worker thread for each.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/kernel/kernels.h"

namespace haarflow {

// "cpu:2,cpu:2" or "cuda:0,cuda:1". Any worker may draw any part of a stream, and a resume token names a numerics
// class: they are of one kind. INVALID_ARGUMENT for a mixture, CPU workers of different sizes, a CUDA device named
// twice.
absl::StatusOr<std::vector<Device>> ParseDevices(const std::string& text);

// What the kernel table calls them: the CPU is device 0, with however many threads.
std::vector<int> DeviceNumbers(const std::vector<Device>& devices);

}  // namespace haarflow
