// What the model manager tells whoever logs, counts and reports health.
//
// Lifetime: must outlive the manager. Thread-safety: called from the manager's and the reaper's threads;
// implementations must be thread-safe and must not block.
#pragma once

#include <cstdint>
#include <string>

namespace haarflow {

struct ModelEvent {
  enum Kind {
    kServing,     // this version answers from now on
    kRefused,     // it does not pass; what was served goes on
    kLoaded,      // into memory for streams that name it
    kUnloaded,    // out of service until a request needs it
    kLeaseEnded,  // its streams are being closed
    kDestroyed,   // its memory is free
    kStoreError,  // the store or an index cannot be read
  };
  Kind kind = kServing;
  std::string model;
  uint64_t version = 0;
  std::string digest;  // short
  std::string reason;
  double seconds = 0;  // that loading and checking took
};

class RegistryObserver {
 public:
  virtual ~RegistryObserver() = default;
  virtual void OnModelEvent(const ModelEvent& /*event*/) {}
};

}  // namespace haarflow
