#include "server/registry/model_reaper.h"

#include <malloc.h>
#include <pthread.h>

#include <utility>
#include <vector>

#include "core/base/mutex.h"

namespace haarflow {

struct ModelReaper::Shared {
  Mutex mutex;
  CondVar changed;
  std::vector<std::unique_ptr<const ServedModel>> dead ABSL_GUARDED_BY(mutex);
  bool stop ABSL_GUARDED_BY(mutex) = false;
};

ModelReaper::ModelReaper(Destroyed on_destroyed) : shared_(std::make_shared<Shared>()) {
  thread_ = std::thread([shared = shared_.get(), on_destroyed = std::move(on_destroyed)] {
    pthread_setname_np(pthread_self(), "hf-reaper");
    Run(shared, on_destroyed);
  });
}

ModelReaper::~ModelReaper() {
  {
    MutexLock lock(&shared_->mutex);
    shared_->stop = true;
    shared_->changed.NotifyAll();
  }
  thread_.join();
}

std::shared_ptr<const ServedModel> ModelReaper::Share(std::unique_ptr<ServedModel> model) {
  return std::shared_ptr<const ServedModel>(model.release(), [shared = shared_](const ServedModel* dead) {
    std::unique_ptr<const ServedModel> owned(dead);
    MutexLock lock(&shared->mutex);
    if (shared->stop) return;  // destroyed here, after the lock
    shared->dead.push_back(std::move(owned));
    shared->changed.NotifyAll();
  });
}

void ModelReaper::Run(Shared* shared, const Destroyed& on_destroyed) {
  while (true) {
    std::vector<std::unique_ptr<const ServedModel>> dead;
    {
      MutexLock lock(&shared->mutex);
      while (shared->dead.empty() && !shared->stop) shared->changed.Wait(&shared->mutex);
      if (shared->dead.empty()) return;
      dead.swap(shared->dead);
    }
    for (auto& model : dead) {
      const std::string name = model->name();
      const uint64_t version = model->manifest.version;
      model.reset();
      malloc_trim(0);  // or the allocator keeps what the model had
      if (on_destroyed) on_destroyed(name, version);
    }
  }
}

}  // namespace haarflow
