#include "server/jobs/file_chunk.h"

#include "core/base/digest.h"

namespace haarflow {

v1::FileChunk ChunkAt(const std::string& file, const std::string& bytes, uint64_t offset) {
  v1::FileChunk chunk;
  chunk.set_file(file);
  chunk.set_payload(bytes.substr(offset, kChunkBytes));
  chunk.set_offset(offset);
  chunk.set_total(bytes.size());
  chunk.set_crc32c(Crc32c(chunk.payload().data(), chunk.payload().size()));
  return chunk;
}

}  // namespace haarflow
