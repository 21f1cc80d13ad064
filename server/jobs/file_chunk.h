// Files in chunks with their checksums, as they go over the wire in both directions: server and trainer cut them here.
#pragma once

#include <cstdint>
#include <string>

#include "haarflow/v1/worker.pb.h"

namespace haarflow {

constexpr uint64_t kChunkBytes = 256 << 10;

// The chunk of `bytes` at `offset`, at most kChunkBytes; an empty file is one empty chunk.
v1::FileChunk ChunkAt(const std::string& file, const std::string& bytes, uint64_t offset);

}  // namespace haarflow
