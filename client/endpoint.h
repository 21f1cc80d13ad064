// Where a server is, when only its endpoint file is known: a server that a batch system starts has another address each
// time.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace haarflow {

// Whether `address` is "file:/path": the file that haarflow-server writes with --endpoint-file.
bool IsEndpointFile(const std::string& address);

// The address to dial: that of the file, or `address` itself. UNAVAILABLE while there is no such file (no server runs),
// DATA_LOSS when it holds no address.
absl::StatusOr<std::string> ResolveAddress(const std::string& address);

// "ipv4:a:1,b:2" with its addresses in a random order: clients begin with the replica that is connected first, mostly
// the first of the list. Anything else is itself.
std::string ShuffleReplicas(const std::string& address);

}  // namespace haarflow
