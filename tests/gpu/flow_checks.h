// Checks that every flow of the module must pass on the fake runtime, whatever its handle (FlowHandle, ScalarHandle).
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "core/kernel/table.h"
#include "fake/cuda_runtime.h"
#include "flow_handle.h"

namespace haarflow {

// Threads that draw from one flow all get what one gets.
template <class Handle>
void ExpectThreadsShare(const Handle& flow, int64_t samples, int threads, int times) {
  const auto expected = flow.Draw(0, samples);
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&] {
      for (int i = 0; i < times; ++i) ExpectSameBits(flow.Draw(0, samples), expected);
    });
  }
  for (std::thread& t : running) t.join();
}

// A flow made on device 1 lives there, draws the bits of device 0, also while that one draws, and leaves the caller's
// device current. make(device) gives it.
template <class Make>
void ExpectDevicesAgree(const hf_kernels& kernels, int64_t samples, const Make& make) {
  const auto used = [&](int32_t device) {
    uint64_t free = 0, total = 0;
    EXPECT_EQ(kernels.device_memory(device, &free, &total), HF_OK) << kernels.last_error();
    return total - free;
  };
  const auto current = [] {
    int device = -1;
    cudaGetDevice(&device);
    return device;
  };
  fake_cuda::control.devices = 2;
  ASSERT_EQ(kernels.device_count(), 2);
  const int live = fake_cuda::control.live;
  const uint64_t before[2] = {used(0), used(1)};
  {
    const auto second = make(1);
    EXPECT_EQ(used(0), before[0]);
    EXPECT_GT(used(1), before[1]);
    const auto first = make(0);
    EXPECT_GT(used(0), before[0]);
    const auto expected = first->Draw(0, samples);
    const auto density = first->Density(expected.field);
    std::vector<std::thread> running;
    for (const auto* flow : {first.get(), second.get()}) {
      running.emplace_back([&, flow] {
        for (int i = 0; i < 3; ++i) {  // plainly, captured, as a graph
          ExpectSameBits(flow->Draw(0, samples), expected);
          ExpectSameBits(flow->Density(expected.field), density);
          EXPECT_EQ(current(), 0);
        }
      });
    }
    for (std::thread& t : running) t.join();
    cudaSetDevice(1);
    ExpectSameBits(first->Draw(0, samples), expected);
    EXPECT_EQ(current(), 1);
    cudaSetDevice(0);
  }
  EXPECT_EQ(used(0), before[0]);
  EXPECT_EQ(used(1), before[1]);
  EXPECT_EQ(fake_cuda::control.live, live);
  fake_cuda::control.devices = 1;
}

// A lost device is told from a launch that failed; after either the flow works again.
template <class Handle>
void ExpectFaultsAreToldApart(const Handle& flow, int64_t samples) {
  const auto expected = flow.Draw(0, samples);
  const auto code_of = [&](bool density) {
    int32_t code = HF_OK;
    density ? flow.Density(expected.field, &code) : flow.Draw(0, samples, &code);
    return code;
  };
  for (const bool density : {false, true}) {
    fake_cuda::control.wait_error = cudaErrorIllegalAddress;
    EXPECT_EQ(code_of(density), HF_DEVICE_LOST);
    fake_cuda::control.wait_error = 0;
    fake_cuda::control.launch_error = cudaErrorInvalidValue;
    EXPECT_EQ(code_of(density), HF_DEVICE_ERROR);
    fake_cuda::control.launch_error = 0;
  }
  ExpectSameBits(flow.Draw(0, samples), expected);
}

}  // namespace haarflow
