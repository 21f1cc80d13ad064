// Policies of the model manager: pure, table-tested. Each takes a snapshot and says one thing to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/digest.h"
#include "core/model/store.h"

namespace haarflow {

// ------------------------------------------------------------------------------------------------- which version
// serves

struct SwapSnapshot {
  ModelIndex index;
  bool has_current = false;
  Digest current;  // in memory and served
  bool has_unloaded = false;
  Digest unloaded;  // known, out of memory, brought back by a request
  std::vector<Digest> refused;
};

struct SwapAction {
  enum Kind {
    kNothing,
    kLoad,        // `version` is wanted and not there
    kNoChampion,  // the index names none
  };
  Kind kind = kNothing;
  uint64_t version = 0;
  friend bool operator==(const SwapAction&, const SwapAction&) = default;
};

// The version that the index wants served: the pinned one, else the champion; 0 for none.
uint64_t WantedVersion(const ModelIndex& index);

// A version is known by its digest alone: a generation that moves without another digest changes nothing. One that was
// refused is not tried again unless `retry`. A model that was unloaded stays so until a request, unless another version
// is wanted now.
SwapAction NextSwap(const SwapSnapshot& snapshot, bool retry);

// ------------------------------------------------------------------------------------------- what leaves the memory

struct LoadedVersion {
  std::string model;
  Digest digest;
  int64_t bytes = 0;
  bool current = false;  // else it goes when its last stream does
  bool in_use = false;   // by a stream
  std::chrono::steady_clock::time_point last_used;
};

struct RoomAction {
  bool fits = false;
  std::vector<std::string> unload;  // models, the least recently used first
};

// What must leave so that `bytes` more fit into `budget` (0: no bound). `replaced`: the model whose present version
// goes when the new one comes, so that it does not count; empty for none. Models in use never leave. fits = false:
// there is no way, and nothing is to be unloaded for it.
RoomAction MakeRoom(const std::vector<LoadedVersion>& loaded, int64_t bytes, int64_t budget,
                    const std::string& replaced);

}  // namespace haarflow
