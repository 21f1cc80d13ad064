// Files the careful way: bounded reads, atomic and durable writes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace haarflow {

// The whole file. NOT_FOUND when absent, RESOURCE_EXHAUSTED when larger than `max_bytes` (checked before allocating).
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes);

// Writes `path` so that a reader, or a crash at any point, finds either the old content or the new: temporary name in
// the same directory, fsync, rename, fsync of the directory. RESOURCE_EXHAUSTED on a full disk; the temporary file is
// removed on failure.
absl::Status WriteFileAtomically(const std::string& path, const std::string& content);

// fsync of a directory's own entries, or of a file's content.
absl::Status SyncDirectory(const std::string& path);
absl::Status SyncFile(const std::string& path);

// errno as a Status about `what`: ENOENT is NOT_FOUND, ENOSPC/EDQUOT RESOURCE_EXHAUSTED, EACCES PERMISSION_DENIED,
// EEXIST ALREADY_EXISTS, the rest UNAVAILABLE.
absl::Status ErrnoStatus(int error, const std::string& what);

}  // namespace haarflow
