#include "server/registry/swap_policy.h"

#include <algorithm>

namespace haarflow {

uint64_t WantedVersion(const ModelIndex& index) {
  for (const char* alias : {kPinnedAlias, kChampionAlias}) {
    const auto found = index.aliases.find(alias);
    if (found != index.aliases.end()) return found->second;
  }
  return 0;
}

SwapAction NextSwap(const SwapSnapshot& snapshot, bool retry) {
  const uint64_t wanted = WantedVersion(snapshot.index);
  const auto found = snapshot.index.versions.find(wanted);
  if (wanted == 0 || found == snapshot.index.versions.end()) return {SwapAction::kNoChampion};
  const Digest& digest = found->second;
  if (snapshot.has_current && snapshot.current == digest) return {};
  if (snapshot.has_unloaded && snapshot.unloaded == digest) return {};
  const auto& refused = snapshot.refused;
  if (!retry && std::find(refused.begin(), refused.end(), digest) != refused.end()) return {};
  return {SwapAction::kLoad, wanted};
}

RoomAction MakeRoom(const std::vector<LoadedVersion>& loaded, int64_t bytes, int64_t budget,
                    const std::string& replaced) {
  if (budget == 0) return {true, {}};
  int64_t used = bytes;
  std::vector<const LoadedVersion*> movable;
  for (const LoadedVersion& version : loaded) {
    if (version.current && version.model == replaced) continue;
    used += version.bytes;
    if (version.current && !version.in_use) movable.push_back(&version);
  }
  std::sort(movable.begin(), movable.end(),
            [](const LoadedVersion* a, const LoadedVersion* b) { return a->last_used < b->last_used; });
  RoomAction action;
  for (const LoadedVersion* version : movable) {
    if (used <= budget) break;
    used -= version->bytes;
    action.unload.push_back(version->model);
  }
  action.fits = used <= budget;
  if (!action.fits) action.unload.clear();
  return action;
}

}  // namespace haarflow
