// Destroys models that nobody holds any more, on a thread of its own: giving back a large model takes longer than a
// request or a batch may wait.
//
// Lifetime: models may outlive the reaper; they are then destroyed where their last holder is. The destructor destroys
// what waits and joins. Thread-safety: thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "server/registry/served_model.h"

namespace haarflow {

class ModelReaper {
 public:
  // `on_destroyed` (may be null) is called on the reaper's thread, after a model is gone.
  using Destroyed = std::function<void(const std::string& model, uint64_t version)>;
  explicit ModelReaper(Destroyed on_destroyed);
  ~ModelReaper();
  ModelReaper(const ModelReaper&) = delete;
  ModelReaper& operator=(const ModelReaper&) = delete;

  // The model, as its holders share it.
  std::shared_ptr<const ServedModel> Share(std::unique_ptr<ServedModel> model);

 private:
  struct Shared;
  static void Run(Shared* shared, const Destroyed& on_destroyed);
  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace haarflow
