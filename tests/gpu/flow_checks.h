// Checks that every flow of the module must pass on the fake runtime, whatever its handle (FlowHandle, ScalarHandle).
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "core/kernel/table.h"
#include "fake/cuda_runtime.h"

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
