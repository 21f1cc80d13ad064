// One thread that owns one device: takes batches from the dispatcher, draws them, gives them back.
//
// A draw that fails fails the tasks in it, and nobody else; a device that is UNAVAILABLE is reported.
//
// Lifetime: the thread starts in the constructor and is joined in the destructor, after Dispatcher::Stop. The
// dispatcher must outlive it. Thread-safety: nothing to call.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "server/sampling/dispatcher.h"
#include "server/sampling/draw_pool.h"

namespace haarflow {

class DeviceWorker {
 public:
  struct Options {
    std::string name = "hf-device";
    size_t index = 0;  // among the workers: whose copy of a model it draws from
    int threads = 1;   // cpu:N: a batch is split over N threads
    // Called on the worker's thread when a draw says UNAVAILABLE.
    std::function<void(const absl::Status&)> on_device_failure;
  };
  DeviceWorker(Options options, Dispatcher* dispatcher);
  ~DeviceWorker();
  DeviceWorker(const DeviceWorker&) = delete;
  DeviceWorker& operator=(const DeviceWorker&) = delete;

 private:
  void Run();

  const Options options_;
  Dispatcher* const dispatcher_;
  DrawPool pool_;  // the thread's own
  std::thread thread_;
};

}  // namespace haarflow
