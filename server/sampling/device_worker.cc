#include "server/sampling/device_worker.h"

#include <chrono>
#include <utility>

#include "core/base/guarded.h"

namespace haarflow {

DeviceWorker::DeviceWorker(Options options, Dispatcher* dispatcher)
    : options_(std::move(options)), dispatcher_(dispatcher), pool_(options_.name, options_.threads) {
  thread_ = std::thread([this] { Run(); });
}

DeviceWorker::~DeviceWorker() { thread_.join(); }

void DeviceWorker::Run() {
  NameThisThread(options_.name);
  for (Dispatcher::Batch batch; dispatcher_->Take(&batch);) {
    const auto start = std::chrono::steady_clock::now();
    const absl::Status status = Guarded("a batch", [&] {
      return pool_.Draw(batch.model().ForWorker(options_.index), batch.target(), batch.seeds, batch.indices);
    });
    if (status.ok()) {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      dispatcher_->Deliver(batch, pool_.pieces(), seconds);
    } else {
      // First, so that whoever hears of the failure finds it latched.
      if (absl::IsUnavailable(status) && options_.on_device_failure) options_.on_device_failure(status);
      dispatcher_->Fail(batch, status);
    }
    batch.parts.clear();  // holds no task while it waits
  }
}

}  // namespace haarflow
