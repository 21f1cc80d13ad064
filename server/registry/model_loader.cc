#include "server/registry/model_loader.h"

#include <cstring>
#include <map>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/guarded.h"
#include "core/base/status.h"
#include "core/model/model.h"

namespace haarflow {
namespace {

bool SameBits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// Copies draw the same bits: the parts of a stream may come from any of them.
absl::Status CheckSameBits(const Proposals& a, const Proposals& b, int device_a, int device_b) {
  if (SameBits(a.field, b.field) && SameBits(a.log_q, b.log_q) && SameBits(a.action, b.action)) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("devices ", device_a, " and ", device_b,
                                          " draw different bits of the same proposals; run a server for each"));
}

}  // namespace

ModelLoader::ModelLoader(ModelStore store, const hf_kernels& kernels, std::vector<int> devices, ModelReaper* reaper)
    : store_(std::move(store)),
      kernels_(kernels),
      devices_(std::move(devices)),
      copies_(static_cast<int64_t>(std::set<int>(devices_.begin(), devices_.end()).size())),
      reaper_(reaper) {}

void ModelLoader::Keep(StoredModel stored, ModelFacts* facts) const {
  facts->memory_bytes = TotalBytes(stored.manifest);
  facts->manifest = std::move(stored.manifest);
  facts->manifest_json = std::move(stored.manifest_json);
  facts->spec_text = std::move(stored.spec_text);
  facts->spec = std::move(stored.spec);
}

absl::StatusOr<StoredModel> ModelLoader::Read(const std::string& model, uint64_t version) const {
  return Guarded(absl::StrCat("reading ", model, "/", version), [&] { return store_.Load(model, version); });
}

int64_t ModelLoader::MemoryBytes(const Manifest& manifest) {
  constexpr int64_t kFixed = 64 << 10;
  return 2 * static_cast<int64_t>(manifest.spec_bytes + manifest.weights_bytes) + kFixed;
}

std::shared_ptr<const ModelFacts> ModelLoader::FactsOf(StoredModel stored) const {
  auto facts = std::make_shared<ModelFacts>();
  Keep(std::move(stored), facts.get());
  return facts;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> ModelLoader::Make(StoredModel stored) const {
  const std::string what = absl::StrCat("loading ", stored.manifest.model, "/", stored.manifest.version);
  return Guarded(what, [&]() -> absl::StatusOr<std::shared_ptr<const ServedModel>> {
    // One draw each, so that a model that cannot draw on a device is refused now, and the first stream finds it warm;
    // of a few proposals where copies are compared.
    const std::vector<uint64_t> seed(copies_ > 1 ? 16 : 1);
    std::vector<uint64_t> index(seed.size());
    std::iota(index.begin(), index.end(), 0);
    std::map<int, std::shared_ptr<const Model>> models;
    Proposals first;
    for (const int device : devices_) {
      if (models.count(device) != 0) continue;
      ASSIGN_OR_RETURN(std::shared_ptr<const Model> model,
                       Model::Create(stored.spec, stored.weights, kernels_, device));
      Proposals proposals;
      RETURN_IF_ERROR(model->Draw(model->target(), seed, index, &proposals));
      if (models.empty()) {
        first = std::move(proposals);
      } else {
        RETURN_IF_ERROR(CheckSameBits(first, proposals, devices_.front(), device));
      }
      models[device] = std::move(model);
    }
    auto served = std::make_unique<ServedModel>();
    Keep(std::move(stored), served.get());
    served->sampler = models.at(devices_.front());
    served->parameters = static_cast<uint64_t>(models.at(devices_.front())->parameters());
    if (models.size() > 1) {
      for (const int device : devices_) served->replicas.push_back(models.at(device));
    }
    return reaper_->Share(std::move(served));
  });
}

}  // namespace haarflow
