#include "server/registry/model_loader.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/guarded.h"
#include "core/base/status.h"
#include "core/model/model.h"

namespace haarflow {
namespace {

void Keep(StoredModel stored, ModelFacts* facts) {
  facts->memory_bytes = ModelLoader::MemoryBytes(stored.manifest);
  facts->manifest = std::move(stored.manifest);
  facts->manifest_json = std::move(stored.manifest_json);
  facts->spec_text = std::move(stored.spec_text);
  facts->spec = std::move(stored.spec);
}

}  // namespace

absl::StatusOr<StoredModel> ModelLoader::Read(const std::string& model, uint64_t version) const {
  return Guarded(absl::StrCat("reading ", model, "/", version), [&] { return store_.Load(model, version); });
}

int64_t ModelLoader::MemoryBytes(const Manifest& manifest) {
  constexpr int64_t kFixed = 64 << 10;
  return 2 * static_cast<int64_t>(manifest.spec_bytes + manifest.weights_bytes) + kFixed;
}

std::shared_ptr<const ModelFacts> ModelLoader::FactsOf(StoredModel stored) {
  auto facts = std::make_shared<ModelFacts>();
  Keep(std::move(stored), facts.get());
  return facts;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> ModelLoader::Make(StoredModel stored) const {
  const std::string what = absl::StrCat("loading ", stored.manifest.model, "/", stored.manifest.version);
  return Guarded(what, [&]() -> absl::StatusOr<std::shared_ptr<const ServedModel>> {
    ASSIGN_OR_RETURN(std::shared_ptr<const Model> model, Model::Create(stored.spec, stored.weights, kernels_, device_));
    // One draw, so that a model that cannot draw on this device is refused now, and the first stream finds it warm.
    const std::vector<uint64_t> seed = {0};
    const std::vector<uint64_t> index = {0};
    Proposals proposals;
    RETURN_IF_ERROR(model->Draw(model->target(), seed, index, &proposals));
    auto served = std::make_unique<ServedModel>();
    Keep(std::move(stored), served.get());
    served->parameters = static_cast<uint64_t>(model->parameters());
    served->sampler = std::move(model);
    return reaper_->Share(std::move(served));
  });
}

}  // namespace haarflow
